/// Writes the samples of one metric as text.
package struct SampleWriter {
    var output: [UInt8] = []
    private let name: MetricName
    private let nameBytes: [UInt8]
    private let type: MetricType
    private let openMetrics: Bool
    private var hasHeader = false

    init(name: MetricName, type: MetricType, openMetrics: Bool) {
        self.name = name
        self.type = type
        self.openMetrics = openMetrics
        nameBytes = Array(name.name.utf8)
    }

    /// - Parameter values: in the order of the metric's labels.
    package mutating func sample(_ values: [String], _ value: Double) {
        sample(renderedLabels: Self.renderLabels(name.labels, values), value)
    }

    package mutating func sample(_ values: [String], _ value: UInt64) {
        sample(renderedLabels: Self.renderLabels(name.labels, values), value)
    }

    /// A sample whose labels were rendered before: `{a="b"}`. For very many series.
    package mutating func sample(renderedLabels: [UInt8], _ value: UInt64) {
        begin()
        output.append(contentsOf: renderedLabels)
        number(value)
    }

    package mutating func sample(renderedLabels: ArraySlice<UInt8>, _ value: UInt64) {
        begin()
        output.append(contentsOf: renderedLabels)
        number(value)
    }

    package mutating func sample(renderedLabels: [UInt8], _ value: Double) {
        begin()
        output.append(contentsOf: renderedLabels)
        number(value)
    }

    package mutating func histogram(_ values: [String], _ bounds: [Double], _ snapshot: Histogram.Snapshot) {
        histogram(renderedLabels: Self.renderLabels(name.labels, values), bounds, snapshot)
    }

    package mutating func histogram(renderedLabels: [UInt8], _ bounds: [Double], _ snapshot: Histogram.Snapshot) {
        var cumulative: UInt64 = 0
        for (index, count) in snapshot.counts.enumerated() {
            cumulative += count
            begin("_bucket")
            // `le` goes in before the closing brace, or into braces of its own.
            output.append(contentsOf: renderedLabels.dropLast())
            output.append(renderedLabels.isEmpty ? UInt8(ascii: "{") : UInt8(ascii: ","))
            output.append(contentsOf: "le=\"".utf8)
            output.append(contentsOf: (index < bounds.count ? Self.text(bounds[index], openMetrics) : "+Inf").utf8)
            output.append(contentsOf: "\"}".utf8)
            number(cumulative)
        }
        begin("_sum")
        output.append(contentsOf: renderedLabels)
        number(snapshot.sum)
        begin("_count")
        output.append(contentsOf: renderedLabels)
        number(cumulative)
    }

    /// Labels ready to be put behind a metric's name; empty without labels.
    package static func renderLabels(_ names: [String], _ values: [String]) -> [UInt8] {
        assert(names.count == values.count, "labels \(names), values \(values)")
        guard !names.isEmpty else { return [] }
        var text: [UInt8] = [UInt8(ascii: "{")]
        for (name, value) in zip(names, values) {
            if text.count > 1 { text.append(UInt8(ascii: ",")) }
            text.append(contentsOf: name.utf8)
            text.append(contentsOf: "=\"".utf8)
            for byte in value.utf8 {
                switch byte {
                case UInt8(ascii: "\\"): text.append(contentsOf: "\\\\".utf8)
                case UInt8(ascii: "\""): text.append(contentsOf: "\\\"".utf8)
                case UInt8(ascii: "\n"): text.append(contentsOf: "\\n".utf8)
                default: text.append(byte)
                }
            }
            text.append(UInt8(ascii: "\""))
        }
        text.append(UInt8(ascii: "}"))
        return text
    }

    private mutating func begin(_ suffix: StaticString? = nil) {
        if !hasHeader {
            hasHeader = true
            writeHeader()
        }
        output.append(contentsOf: nameBytes)
        if let suffix {
            output.append(contentsOf: UnsafeBufferPointer(start: suffix.utf8Start, count: suffix.utf8CodeUnitCount))
        }
    }

    /// HELP and TYPE, before the first sample: a metric without samples says nothing, as in the reference client library.
    private mutating func writeHeader() {
        var family = name.name
        var type = type.rawValue
        var help = name.help.replacing("\\", with: "\\\\").replacing("\n", with: "\\n")
        if openMetrics {
            // OpenMetrics names a counter without `_total`, an info without `_info`, and wants quotes escaped.
            if self.type == .counter, family.hasSuffix("_total") { family.removeLast("_total".count) }
            if self.type == .info, family.hasSuffix("_info") { family.removeLast("_info".count) }
            help = help.replacing("\"", with: "\\\"")
        } else if self.type == .info {
            type = MetricType.gauge.rawValue
        }
        output.append(contentsOf: "# HELP \(family) \(help)\n# TYPE \(family) \(type)\n".utf8)
    }

    private mutating func number(_ value: Double) {
        output.append(UInt8(ascii: " "))
        output.append(contentsOf: Self.text(value, false).utf8)
        output.append(UInt8(ascii: "\n"))
    }

    private mutating func number(_ value: UInt64) {
        output.append(UInt8(ascii: " "))
        let start = output.count
        var rest = value
        repeat {
            output.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10))
            rest /= 10
        } while rest > 0
        output[start...].reverse()
        output.append(UInt8(ascii: "\n"))
    }

    /// Shortest form that reads back the same; whole numbers without a fraction. OpenMetrics wants bounds as floats.
    static func text(_ value: Double, _ wantsFraction: Bool) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        if !wantsFraction, value == value.rounded(), value.magnitude < 1e15 { return String(Int64(value)) }
        return value.description
    }
}
