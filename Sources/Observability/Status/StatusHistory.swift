import Metrics

/// The last ten minutes in samples of two seconds: a bounded ring, without a clock of its own.
package struct StatusHistory: Sendable {
    package struct Sample: Sendable, Equatable {
        /// Wall clock, microseconds since 1970.
        package var at: Int64
        package var receivedPerSecond: Double
        package var storedPerSecond: Double
        package var backlog: Int64
        /// Of the readings committed since the sample before; nil when there were none.
        package var delayMedian: Double?
        package var delayP95: Double?
    }

    /// Time between two samples.
    package static let interval = Duration.seconds(2)
    package static let capacity = 300

    private var ring: [Sample] = []
    private var start = 0
    private var last: (totals: StatusTotals, monotonic: Duration)?

    package init() {}

    /// Oldest first, at most `capacity`.
    package var samples: [Sample] { Array(ring[start...] + ring[..<start]) }

    package var latest: Sample? { ring.isEmpty ? nil : ring[(start + ring.count - 1) % ring.count] }

    /// Takes the totals of now; the first ones only set the mark that rates are counted from.
    /// - Parameters:
    ///   - at: wall clock, microseconds since 1970, to show.
    ///   - monotonic: to compute with.
    package mutating func add(_ totals: StatusTotals, at: Int64, monotonic: Duration) {
        defer { last = (totals, monotonic) }
        guard let last else { return }
        let seconds = (monotonic - last.monotonic) / Duration.seconds(1)
        guard seconds > 0 else { return }
        let delay = Self.difference(totals.delay, last.totals.delay)
        let sample = Sample(
            at: at,
            receivedPerSecond: Self.growth(totals.received, last.totals.received) / seconds,
            storedPerSecond: Self.growth(totals.stored, last.totals.stored) / seconds,
            backlog: totals.backlog,
            delayMedian: delay?.quantile(0.5, bounds: totals.delayBounds),
            delayP95: delay?.quantile(0.95, bounds: totals.delayBounds)
        )
        if ring.count < Self.capacity {
            ring.append(sample)
        } else {
            ring[start] = sample
            start = (start + 1) % Self.capacity
        }
    }

    /// The mean rates of the last few samples: a single one shows the flush interval more than the load.
    package func rates(over count: Int = 5) -> (received: Double, stored: Double)? {
        let recent = samples.suffix(count)
        guard !recent.isEmpty else { return nil }
        let number = Double(recent.count)
        return (
            recent.reduce(0) { $0 + $1.receivedPerSecond } / number,
            recent.reduce(0) { $0 + $1.storedPerSecond } / number
        )
    }

    /// Sums over tenants fall when a tenant goes: no growth then.
    private static func growth(_ now: UInt64, _ before: UInt64) -> Double {
        now > before ? Double(now - before) : 0
    }

    private static func difference(
        _ now: Histogram.Snapshot,
        _ before: Histogram.Snapshot
    ) -> Histogram.Snapshot? {
        guard !before.counts.isEmpty else { return now }
        guard now.counts.count == before.counts.count else { return nil }
        let counts = zip(now.counts, before.counts).map { $0 > $1 ? $0 - $1 : 0 }
        return Histogram.Snapshot(counts: counts, sum: now.sum - before.sum)
    }

    func write(to json: inout JSONWriter) {
        json.object { json in
            json.field("interval_ms", Self.interval.milliseconds)
            json.list("samples", samples) { json, sample in
                json.object { json in
                    json.field("at_micros", sample.at)
                    json.field("received_per_second", sample.receivedPerSecond)
                    json.field("stored_per_second", sample.storedPerSecond)
                    json.field("backlog_readings", sample.backlog)
                    json.field("delay_median_seconds", sample.delayMedian)
                    json.field("delay_p95_seconds", sample.delayP95)
                }
            }
        }
    }
}
