import Synchronization

/// A number that only grows. Any thread.
package final class Counter: Sendable {
    private let value = Atomic<UInt64>(0)

    package init() {}
    package func add(_ amount: Int = 1) { value.add(UInt64(max(0, amount)), ordering: .relaxed) }
    package var current: UInt64 { value.load(ordering: .relaxed) }
}

/// A number that goes up and down. Any thread.
package final class Gauge: Sendable {
    private let bits = Atomic<UInt64>(0)

    package init() {}
    package func set(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }
    package var current: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }
}

/// How often values fell into which range. Any thread; the counts of one scrape may be a few observations apart.
package final class Histogram: Sendable {
    /// Upper bounds, inclusive, ascending; the bucket without an upper bound is not among them.
    package let bounds: [Double]
    private let state: Mutex<State>

    private struct State {
        var counts: [UInt64]
        var sum = 0.0
    }

    package struct Snapshot: Sendable, Equatable {
        /// Observations per bucket, not cumulative; one more than there are bounds.
        package var counts: [UInt64]
        package var sum: Double

        package init(counts: [UInt64], sum: Double) {
            self.counts = counts
            self.sum = sum
        }

        package var count: UInt64 { counts.reduce(0, +) }

        /// The value below which a share of the observations lies, by linear interpolation in its bucket; nil without
        /// observations.
        package func quantile(_ share: Double, bounds: [Double]) -> Double? {
            let total = count
            guard total > 0 else { return nil }
            let rank = share * Double(total)
            var seen = 0.0
            for (index, bucket) in counts.enumerated() {
                let next = seen + Double(bucket)
                if next >= rank, bucket > 0 {
                    guard index < bounds.count else { return bounds.last }
                    let lower = index == 0 ? 0 : bounds[index - 1]
                    return lower + (bounds[index] - lower) * (rank - seen) / Double(bucket)
                }
                seen = next
            }
            return bounds.last
        }
    }

    package init(bounds: [Double]) {
        self.bounds = bounds
        state = Mutex(State(counts: Array(repeating: 0, count: bounds.count + 1)))
    }

    /// - Parameter times: how many equal observations this stands for.
    package func observe(_ value: Double, times: Int = 1) {
        guard times > 0 else { return }
        let bucket = bounds.firstIndex { value <= $0 } ?? bounds.count
        state.withLock { state in
            state.counts[bucket] += UInt64(times)
            state.sum += value * Double(times)
        }
    }

    package var snapshot: Snapshot { state.withLock { Snapshot(counts: $0.counts, sum: $0.sum) } }
}
