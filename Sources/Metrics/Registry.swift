import Synchronization

/// What Prometheus is told a metric is.
package enum MetricType: String, Sendable { case counter, gauge, histogram, info }

/// All metrics of the process, rendered on demand. Any thread.
package final class Registry: Sendable {
    /// Writes the samples of one metric.
    package typealias Collector = @Sendable (inout SampleWriter) -> Void

    private struct Entry: Sendable {
        var name: MetricName
        var type: MetricType
        var collect: Collector
    }

    private let entries = Mutex<[Entry]>([])
    /// Room for the next exposition.
    private let lastSize = Atomic(64 * 1024)

    package init() {}

    package func counter(_ name: MetricName) -> Family<Counter> {
        let family = Family<Counter>(name) { Counter() }
        register(name, .counter) { writer in
            for series in family.series { writer.sample(renderedLabels: series.labels, series.instrument.current) }
        }
        return family
    }

    package func gauge(_ name: MetricName) -> Family<Gauge> {
        let family = Family<Gauge>(name) { Gauge() }
        register(name, .gauge) { writer in
            for series in family.series { writer.sample(renderedLabels: series.labels, series.instrument.current) }
        }
        return family
    }

    package func histogram(_ name: MetricName, bounds: [Double]) -> Family<Histogram> {
        let family = Family<Histogram>(name) { Histogram(bounds: bounds) }
        register(name, .histogram) { writer in
            for series in family.series {
                writer.histogram(renderedLabels: series.labels, series.instrument.bounds, series.instrument.snapshot)
            }
        }
        return family
    }

    /// A metric whose samples are computed when somebody asks: for figures that live elsewhere.
    package func collector(_ name: MetricName, _ type: MetricType, _ collect: @escaping Collector) {
        register(name, type, collect)
    }

    private func register(_ name: MetricName, _ type: MetricType, _ collect: @escaping Collector) {
        entries.withLock { $0.append(Entry(name: name, type: type, collect: collect)) }
    }

    package var names: [MetricName] { entries.withLock { $0.map(\.name) } }

    /// The exposition in text format 0.0.4, or OpenMetrics 1.0, sorted by name. Metrics without samples are left out.
    package func render(openMetrics: Bool = false) -> [UInt8] {
        var output: [UInt8] = []
        // Growing by doubling copies everything a dozen times; scrapes are alike.
        output.reserveCapacity(lastSize.load(ordering: .relaxed))
        defer { lastSize.store(output.count + output.count / 8, ordering: .relaxed) }
        for entry in entries.withLock({ $0 }).sorted(by: { $0.name.name < $1.name.name }) {
            var writer = SampleWriter(name: entry.name, type: entry.type, openMetrics: openMetrics)
            swap(&writer.output, &output)
            entry.collect(&writer)
            swap(&writer.output, &output)
        }
        if openMetrics { output.append(contentsOf: "# EOF\n".utf8) }
        return output
    }
}
