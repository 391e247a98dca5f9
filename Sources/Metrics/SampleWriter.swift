/// Writes the samples of one metric as text.
package struct SampleWriter {
    var output: [UInt8] = []
    private let name: MetricName
    private let type: MetricType
    private let openMetrics: Bool
    /// The name in HELP and TYPE: OpenMetrics names a counter without `_total`, an info without `_info`.
    private let familyName: String
    private var hasHeader = false

    init(name: MetricName, type: MetricType, openMetrics: Bool) {
        self.name = name
        self.type = type
        self.openMetrics = openMetrics
        var family = name.name
        if openMetrics, type == .counter, family.hasSuffix("_total") { family.removeLast("_total".count) }
        if openMetrics, type == .info, family.hasSuffix("_info") { family.removeLast("_info".count) }
        familyName = family
    }

    /// - Parameter values: in the order of the metric's labels.
    package mutating func sample(_ values: [String], _ value: Double) {
        begin(name.name)
        labels(values)
        number(value)
    }

    package mutating func sample(_ values: [String], _ value: UInt64) {
        begin(name.name)
        labels(values)
        output.append(0x20)
        output.append(contentsOf: String(value).utf8)
        output.append(0x0A)
    }

    /// A sample whose labels were rendered before: `{a="b"}`. For very many series.
    package mutating func sample(renderedLabels: [UInt8], _ value: UInt64) {
        begin(name.name)
        output.append(contentsOf: renderedLabels)
        output.append(0x20)
        output.append(contentsOf: String(value).utf8)
        output.append(0x0A)
    }

    package mutating func histogram(_ values: [String], _ bounds: [Double], _ snapshot: Histogram.Snapshot) {
        var cumulative: UInt64 = 0
        for (index, count) in snapshot.counts.enumerated() {
            cumulative += count
            begin(name.name + "_bucket")
            labels(values, bound: index < bounds.count ? Self.text(bounds[index], openMetrics) : "+Inf")
            number(Double(cumulative))
        }
        begin(name.name + "_sum")
        labels(values)
        number(snapshot.sum)
        begin(name.name + "_count")
        labels(values)
        number(Double(cumulative))
    }

    /// Labels ready to be put behind a metric's name.
    package static func renderLabels(_ names: [String], _ values: [String], bound: String? = nil) -> [UInt8] {
        guard !names.isEmpty || bound != nil else { return [] }
        var text: [UInt8] = [0x7B]
        for (index, name) in names.enumerated() {
            if index > 0 { text.append(0x2C) }
            text.append(contentsOf: name.utf8)
            text.append(contentsOf: "=\"".utf8)
            for byte in values[index].utf8 {
                switch byte {
                case UInt8(ascii: "\\"): text.append(contentsOf: "\\\\".utf8)
                case UInt8(ascii: "\""): text.append(contentsOf: "\\\"".utf8)
                case 0x0A: text.append(contentsOf: "\\n".utf8)
                default: text.append(byte)
                }
            }
            text.append(0x22)
        }
        if let bound {
            if !names.isEmpty { text.append(0x2C) }
            text.append(contentsOf: "le=\"\(bound)\"".utf8)
        }
        text.append(0x7D)
        return text
    }

    private mutating func labels(_ values: [String], bound: String? = nil) {
        output.append(contentsOf: Self.renderLabels(name.labels, values, bound: bound))
    }

    private mutating func begin(_ sampleName: String) {
        if !hasHeader {
            hasHeader = true
            let help = name.help.replacing("\\", with: "\\\\").replacing("\n", with: "\\n")
            let type = self.type == .info && !openMetrics ? "gauge" : self.type.rawValue
            output.append(contentsOf: "# HELP \(familyName) \(help)\n# TYPE \(familyName) \(type)\n".utf8)
        }
        output.append(contentsOf: sampleName.utf8)
    }

    private mutating func number(_ value: Double) {
        output.append(0x20)
        output.append(contentsOf: Self.text(value, false).utf8)
        output.append(0x0A)
    }

    /// Shortest form that reads back the same; whole numbers without a fraction. OpenMetrics wants bounds as floats.
    static func text(_ value: Double, _ wantsFraction: Bool) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        if !wantsFraction, value == value.rounded(), value.magnitude < 1e15 { return String(Int64(value)) }
        return value.description
    }
}
