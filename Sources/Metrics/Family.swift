import Synchronization

/// What a metric is called and means.
package struct MetricName: Sendable, Equatable {
    /// As exposed in text format 0.0.4; counters end in `_total`.
    package let name: String
    /// One sentence for who reads the dashboard.
    package let help: String
    package let labels: [String]

    package init(_ name: String, _ help: String, labels: [String] = []) {
        self.name = name
        self.help = help
        self.labels = labels
    }
}

/// A metric with one instrument per combination of label values. Any thread.
package final class Family<Instrument: AnyObject & Sendable>: Sendable {
    struct Series: Sendable {
        var values: [String]
        /// `{a="b"}`, made once: a scrape of 100,000 series has no time for it.
        var labels: [UInt8]
        var instrument: Instrument
    }

    private struct State {
        var children: [[String]: Series] = [:]
        /// By label values; nil = to be sorted at the next scrape.
        var sorted: [Series]?
        /// Counts additions and removals.
        var generation = 0
    }

    package let name: MetricName
    private let make: @Sendable () -> Instrument
    private let state = Mutex(State())

    package init(_ name: MetricName, make: @escaping @Sendable () -> Instrument) {
        self.name = name
        self.make = make
    }

    /// The instrument of these label values, made at the first call. Keep it: looking it up costs a lock and a hash.
    package func with(_ values: String...) -> Instrument {
        precondition(values.count == name.labels.count, "\(name.name) has the labels \(name.labels)")
        return state.withLock { state in
            if let child = state.children[values] { return child.instrument }
            let labels = SampleWriter.renderLabels(name.labels, values)
            let child = Series(values: values, labels: labels, instrument: make())
            state.children[values] = child
            state.sorted = nil
            state.generation += 1
            return child.instrument
        }
    }

    /// Forgets all series with this value of the first label: a tenant that is gone. Whoever kept an instrument may go on
    /// using it, unseen.
    package func remove(first value: String) {
        remove { $0.first == value }
    }

    /// Forgets all series whose label values satisfy the condition: a connection that is gone.
    package func remove(where isGone: (_ values: [String]) -> Bool) {
        state.withLock { state in
            state.children = state.children.filter { !isGone($0.key) }
            state.sorted = nil
            state.generation += 1
        }
    }

    /// All series, in the order of their label values.
    var series: [Series] {
        let (sorted, unsorted, generation) = state.withLock { ($0.sorted, $0.children, $0.generation) }
        if let sorted { return sorted }
        // Not under the lock: ordering very many takes longer than who adds one may wait.
        let fresh = unsorted.values.sorted { $0.labels.lexicographicallyPrecedes($1.labels) }
        state.withLock { state in
            if state.generation == generation { state.sorted = fresh }
        }
        return fresh
    }

    /// The instruments there are now, with their label values.
    package var all: [(values: [String], instrument: Instrument)] {
        series.map { ($0.values, $0.instrument) }
    }
}
