package import NIOCore

/// How long to wait before the next attempt to connect: nothing after a drop, then `initial` doubling up to `maximum`,
/// each ±20 % so that a thousand clients of a restarted server do not come at once.
package struct ReconnectBackoff: Sendable {
    package let initial: TimeAmount
    package let maximum: TimeAmount
    /// Failures in a row.
    package private(set) var failures = 0
    private var generator: SplitMix64

    package init(initial: TimeAmount, maximum: TimeAmount, seed: UInt64) {
        self.initial = max(.milliseconds(1), initial)
        self.maximum = max(self.initial, maximum)
        generator = SplitMix64(seed: seed)
    }

    /// The connection works.
    package mutating func succeeded() { failures = 0 }

    /// A working connection dropped: the first attempt is made at once.
    package func delayAfterDrop() -> TimeAmount { .nanoseconds(0) }

    /// An attempt failed.
    /// - Parameter longest: do not hammer: wait the maximum at once (wrong password).
    package mutating func delayAfterFailure(longest: Bool = false) -> TimeAmount {
        failures += 1
        var base = initial.nanoseconds
        if longest {
            base = maximum.nanoseconds
        } else {
            for _ in 1..<max(2, min(failures, 40)) where failures > 1 && base < maximum.nanoseconds {
                base = min(maximum.nanoseconds, base.multipliedReportingOverflow(by: 2).partialValue)
            }
        }
        // 0.8 … 1.2
        let factor = 0.8 + 0.4 * Double(generator.next() >> 11) / Double(UInt64(1) << 53)
        return .nanoseconds(Int64(Double(min(base, maximum.nanoseconds)) * factor))
    }
}

/// A small generator for jitter; not for secrets.
struct SplitMix64: RandomNumberGenerator, Sendable {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
