/// Writes one JSON text (RFC 8259) as UTF-8, without a space too many. The caller keeps keys unique; the writer keeps the
/// commas.
package struct JSONWriter {
    package private(set) var bytes: [UInt8] = []
    private var needsComma = false

    package init() {}

    package mutating func object(_ body: (inout JSONWriter) -> Void) {
        nested(UInt8(ascii: "{"), UInt8(ascii: "}"), body)
    }

    package mutating func array(_ body: (inout JSONWriter) -> Void) {
        nested(UInt8(ascii: "["), UInt8(ascii: "]"), body)
    }

    /// A name inside an object; a value has to follow.
    package mutating func key(_ name: String) {
        separate()
        quote(name, limit: .max)
        bytes.append(UInt8(ascii: ":"))
        needsComma = false
    }

    /// - Parameter limit: the longest text in bytes; what is longer ends in an ellipsis.
    package mutating func string(_ text: String, limit: Int = .max) {
        separate()
        quote(text, limit: limit)
    }

    package mutating func number(_ value: some BinaryInteger) {
        separate()
        bytes.append(contentsOf: String(value).utf8)
    }

    /// JSON has no NaN and no infinities: they are written as null.
    package mutating func number(_ value: Double) {
        separate()
        guard value.isFinite else { return bytes.append(contentsOf: "null".utf8) }
        if value == value.rounded(), value.magnitude < 1e15 {
            bytes.append(contentsOf: String(Int64(value)).utf8)
        } else {
            bytes.append(contentsOf: value.description.utf8)
        }
    }

    package mutating func bool(_ value: Bool) {
        separate()
        bytes.append(contentsOf: (value ? "true" : "false").utf8)
    }

    package mutating func null() {
        separate()
        bytes.append(contentsOf: "null".utf8)
    }

    private mutating func nested(_ open: UInt8, _ close: UInt8, _ body: (inout JSONWriter) -> Void) {
        separate()
        bytes.append(open)
        needsComma = false
        body(&self)
        bytes.append(close)
        needsComma = true
    }

    private mutating func separate() {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        needsComma = true
    }

    private mutating func quote(_ text: String, limit: Int) {
        bytes.append(UInt8(ascii: "\""))
        var used = 0
        for scalar in text.unicodeScalars {
            // By scalars, so that the cut never splits one.
            used += UTF8.width(scalar)
            guard used <= limit else {
                bytes.append(contentsOf: "…".utf8)
                break
            }
            append(scalar)
        }
        bytes.append(UInt8(ascii: "\""))
    }

    private mutating func append(_ scalar: Unicode.Scalar) {
        switch scalar {
        case "\"": bytes.append(contentsOf: #"\""#.utf8)
        case "\\": bytes.append(contentsOf: #"\\"#.utf8)
        case "\n": bytes.append(contentsOf: #"\n"#.utf8)
        case "\r": bytes.append(contentsOf: #"\r"#.utf8)
        case "\t": bytes.append(contentsOf: #"\t"#.utf8)
        // C0, DEL and C1: a log line ends up on terminals, and some of them obey C1 controls.
        case "\u{0}"..<" ", "\u{7F}"..<"\u{A0}":
            let hex = "0123456789abcdef".utf8.map { $0 }
            bytes.append(contentsOf: #"\u00"#.utf8)
            bytes.append(hex[Int(scalar.value >> 4)])
            bytes.append(hex[Int(scalar.value & 15)])
        // Line and paragraph separator end a line for some readers of line-wise JSON.
        case "\u{2028}": bytes.append(contentsOf: #"\u2028"#.utf8)
        case "\u{2029}": bytes.append(contentsOf: #"\u2029"#.utf8)
        default: bytes.append(contentsOf: UTF8.encode(scalar)!)
        }
    }
}
