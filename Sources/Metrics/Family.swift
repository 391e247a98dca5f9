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

/// A metric with one instrument per combination of label values.
package final class Family<Instrument: AnyObject & Sendable>: Sendable {
    package let name: MetricName
    private let make: @Sendable () -> Instrument
    private let children = Mutex<[[String]: Instrument]>([:])

    package init(_ name: MetricName, make: @escaping @Sendable () -> Instrument) {
        self.name = name
        self.make = make
    }

    /// The instrument of these label values, made at the first call. Keep it: looking it up costs a lock and a hash.
    package func with(_ values: String...) -> Instrument {
        precondition(values.count == name.labels.count, "\(name.name) has the labels \(name.labels)")
        return children.withLock { children in
            if let child = children[values] { return child }
            let child = make()
            children[values] = child
            return child
        }
    }

    /// Forgets all series with this value of the first label: a tenant or connection that is gone.
    package func remove(first value: String) {
        children.withLock { $0 = $0.filter { $0.key.first != value } }
    }

    /// Forgets all series with these values of the first two labels.
    package func remove(first: String, _ second: String) {
        children.withLock { children in
            children = children.filter { $0.key.first != first || $0.key.dropFirst().first != second }
        }
    }

    var series: [(values: [String], instrument: Instrument)] {
        children.withLock { children in
            children.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map { ($0.key, $0.value) }
        }
    }
}
