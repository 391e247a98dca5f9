package import Metrics

/// Figures of the whole daemon, for the charts of the last ten minutes. Cheap to make: taken every two seconds.
package struct StatusTotals: Sendable, Equatable {
    /// Readings received and committed since the start.
    package var received: UInt64
    package var stored: UInt64
    /// Readings in the journals that are not in a database now.
    package var backlog: Int64
    /// Delay from source timestamp to COMMIT since the start, over all tenants, and the histogram's bounds in seconds.
    package var delay: Histogram.Snapshot
    package var delayBounds: [Double]

    package init(
        received: UInt64 = 0,
        stored: UInt64 = 0,
        backlog: Int64 = 0,
        delay: Histogram.Snapshot = Histogram.Snapshot(counts: [], sum: 0),
        delayBounds: [Double] = []
    ) {
        self.received = received
        self.stored = stored
        self.backlog = backlog
        self.delay = delay
        self.delayBounds = delayBounds
    }

    /// What the metrics know: `stored` and `delay` summed over the tenants.
    package init(metrics: ScadaMetrics, received: UInt64, backlog: Int64) {
        self.init(received: received, backlog: backlog)
        for (_, counter) in metrics.readingsStored.all { stored &+= counter.current }
        for (_, histogram) in metrics.ingestDelay.all {
            let snapshot = histogram.snapshot
            if delayBounds.isEmpty {
                (delayBounds, delay) = (histogram.bounds, snapshot)
            } else {
                for (index, count) in snapshot.counts.enumerated() { delay.counts[index] &+= count }
                delay.sum += snapshot.sum
            }
        }
    }
}
