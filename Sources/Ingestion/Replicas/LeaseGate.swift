import Synchronization

/// Until when this replica's leases hold for certain, by its own monotonic clock. Any thread; asking costs a clock reading.
///
/// The deadline is counted from before a renewal was sent, and ends a margin before the lease does, so it has passed before
/// the database can give the lease to another replica: whatever the wall clocks say, and also when this process stood still
/// meanwhile.
package final class LeaseGate: Sendable {
    private let origin = ContinuousClock.now
    /// Nanoseconds since `origin`.
    private let deadline = Atomic<Int64>(.min)
    private let lapseCount = Atomic<Int>(0)

    package init() {}

    /// Whether the leases hold now.
    package var isOpen: Bool { (ContinuousClock.now - origin).wholeNanoseconds < deadline.load(ordering: .acquiring) }

    /// How often the gate was opened after it had been closed. Whoever saw another number before has missed a time in which
    /// others may have had the connections.
    package var lapses: Int { lapseCount.load(ordering: .acquiring) }

    func open(until instant: ContinuousClock.Instant) {
        if !isOpen { lapseCount.add(1, ordering: .acquiringAndReleasing) }
        deadline.store((instant - origin).wholeNanoseconds, ordering: .releasing)
    }

    func close() { deadline.store(.min, ordering: .releasing) }

    /// For what begins now and must not outlive this opening.
    var pass: LeasePass { LeasePass(gate: self, lapse: lapses) }

    /// Thrown where something may not be done any more because the leases have run out.
    struct Closed: Error, CustomStringConvertible {
        var description: String { "this replica's leases have run out" }
    }
}

/// Lets one run of a connection through the gate. Any thread.
///
/// Once the gate has been closed it never does again, though the gate may have opened since: another replica may have had the
/// connection meanwhile, and what then still waited in a socket's buffer is that one's.
struct LeasePass: Sendable, Equatable {
    fileprivate let gate: LeaseGate
    fileprivate let lapse: Int

    var isValid: Bool { gate.isOpen && gate.lapses == lapse }

    static func == (left: Self, right: Self) -> Bool { left.gate === right.gate && left.lapse == right.lapse }
}

extension Duration {
    fileprivate var wholeNanoseconds: Int64 {
        let (seconds, attoseconds) = components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        return overflow ? (seconds < 0 ? .min : .max) : product &+ attoseconds / 1_000_000_000
    }
}
