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

    @Test func seriesOfOneConnectionCanGo() {
        let registry = Registry()
        let family = registry.counter(MetricName("a_total", "A.", labels: ["tenant", "x"]))
        for values in [("t", "2"), ("t", "1"), ("u", "1")] { family.with(values.0, values.1).add() }
        #expect(family.all.map(\.values) == [["t", "1"], ["t", "2"], ["u", "1"]])
        family.remove { $0[1] == "1" }
        #expect(text(registry).hasSuffix("counter\na_total{tenant=\"t\",x=\"2\"} 1\n"))
        family.with("s", "9").add(3)
        #expect(family.all.map(\.values) == [["s", "9"], ["t", "2"]])
    }

    @Test func quotesInHelp() {
        let registry = Registry()
        registry.counter(MetricName("a_total", "An \"A\".")).with().add()
        #expect(text(registry).contains("# HELP a_total An \"A\".\n"))
        #expect(text(registry, openMetrics: true).contains(#"# HELP a An \"A\"."# + "\n"))
    }

    @Test(arguments: [0, 9, 10, 1_234_567_890, UInt64.max])
    func wholeNumbers(value: UInt64) {
        let registry = Registry()
        registry.collector(MetricName("n", "N."), .gauge) { $0.sample([], value) }
        #expect(text(registry).hasSuffix("\nn \(value)\n"))
    }

    /// Names that Prometheus accepts, one meaning each, and the suffix every tool expects of a counter.
    @Test func declarations() {
        let collected = ScadaMetrics.Collected.all
        let names = ScadaMetrics().registry.names + collected.map(\.name)
        #expect(Set(names.map(\.name)).count == names.count)
        for name in names {
            #expect(name.name.allSatisfy { $0 == "_" || ("a"..."z").contains($0) }, "\(name.name)")
            #expect(name.help.hasSuffix(".") && !name.help.contains("\n"), "\(name.name)")
            #expect(Set(name.labels).count == name.labels.count && !name.labels.contains("le"), "\(name.name)")
        }
        for (name, type) in collected {
            #expect(name.name.hasSuffix("_total") == (type == .counter), "\(name.name)")
            #expect(name.name.hasSuffix("_info") == (type == .info), "\(name.name)")
        }
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
