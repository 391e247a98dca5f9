import Testing

@testable import Metrics

@Suite("Exposition formats")
struct RenderTests {
    func text(_ registry: Registry, openMetrics: Bool = false) -> String {
        String(decoding: registry.render(openMetrics: openMetrics), as: UTF8.self)
    }

    @Test func counters() {
        let registry = Registry()
        let family = registry.counter(MetricName("a_total", "Help \\ with\nbreaks.", labels: ["x"]))
        family.with("b").add(2)
        family.with("a\"\\\n").add()
        #expect(
            text(registry) == """
                # HELP a_total Help \\\\ with\\nbreaks.
                # TYPE a_total counter
                a_total{x="a\\"\\\\\\n"} 1
                a_total{x="b"} 2

                """
        )
        #expect(
            text(registry, openMetrics: true) == """
                # HELP a Help \\\\ with\\nbreaks.
                # TYPE a counter
                a_total{x="a\\"\\\\\\n"} 1
                a_total{x="b"} 2
                # EOF

                """
        )
    }

    @Test func histograms() {
        let registry = Registry()
        let histogram = registry.histogram(MetricName("h", "H."), bounds: [1, 2.5]).with()
        histogram.observe(1)
        histogram.observe(2, times: 3)
        histogram.observe(7)
        #expect(
            text(registry) == """
                # HELP h H.
                # TYPE h histogram
                h_bucket{le="1"} 1
                h_bucket{le="2.5"} 4
                h_bucket{le="+Inf"} 5
                h_sum 14
                h_count 5

                """
        )
        #expect(text(registry, openMetrics: true).contains("h_bucket{le=\"1.0\"} 1\n"))
        #expect(histogram.snapshot.quantile(0.5, bounds: histogram.bounds) == 1.75)
        #expect(histogram.snapshot.quantile(1, bounds: histogram.bounds) == 2.5)
    }

    @Test func gaugesAndSpecialNumbers() {
        let registry = Registry()
        let family = registry.gauge(MetricName("g", "G.", labels: ["k"]))
        for (key, value) in [("a", Double.nan), ("b", .infinity), ("c", -.infinity), ("d", 0.1), ("e", 3)] {
            family.with(key).set(value)
        }
        for line in [#"g{k="a"} NaN"#, #"g{k="b"} +Inf"#, #"g{k="c"} -Inf"#, #"g{k="d"} 0.1"#, #"g{k="e"} 3"#] {
            #expect(text(registry).contains(line + "\n"))
        }
    }

    @Test func collectorsAreAskedEachTime() {
        let registry = Registry()
        let counter = Counter()
        registry.collector(MetricName("c_total", "C."), .counter) { writer in
            counter.add()
            writer.sample([], counter.current)
        }
        #expect(text(registry).hasSuffix("c_total 1\n"))
        #expect(text(registry).hasSuffix("c_total 2\n"))
    }

    @Test func metricsWithoutSeriesSayNothing() {
        let registry = Registry()
        _ = registry.counter(MetricName("a_total", "A.", labels: ["x"]))
        #expect(text(registry).isEmpty)
    }

    @Test func seriesOfOneTenantCanGo() {
        let registry = Registry()
        let family = registry.counter(MetricName("a_total", "A.", labels: ["tenant", "x"]))
        family.with("t", "1").add()
        family.with("u", "1").add()
        family.remove(first: "t")
        #expect(!text(registry).contains("tenant=\"t\""))
        #expect(text(registry).contains("tenant=\"u\""))
    }

    @Test func infoIsAGaugeToOldScrapers() {
        let registry = Registry()
        registry.collector(MetricName("b_info", "B.", labels: ["v"]), .info) { $0.sample(["1"], UInt64(1)) }
        #expect(text(registry).contains("# TYPE b_info gauge\nb_info{v=\"1\"} 1\n"))
        #expect(text(registry, openMetrics: true).contains("# TYPE b info\nb_info{v=\"1\"} 1\n"))
    }

    @Test func processFiguresAreThere() {
        let all = text(ScadaMetrics().registry)
        for name in ["cpu_seconds_total", "resident_memory_bytes", "open_fds", "max_fds", "start_time_seconds"] {
            #expect(all.contains("\nprocess_\(name) "))
        }
    }
}
