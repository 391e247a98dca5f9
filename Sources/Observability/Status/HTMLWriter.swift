/// Writes HTML. Only what stands in this program's source goes out as it is; everything else is escaped.
struct HTMLWriter {
    private(set) var bytes: [UInt8] = []

    /// Markup.
    mutating func raw(_ markup: StaticString) {
        bytes.append(contentsOf: UnsafeBufferPointer(start: markup.utf8Start, count: markup.utf8CodeUnitCount))
    }

    /// Text, or the inside of a quoted attribute.
    /// - Parameter limit: the longest text in bytes; what is longer ends in an ellipsis.
    mutating func text(_ text: String, limit: Int = 2000) {
        var used = 0
        for scalar in text.unicodeScalars {
            used += UTF8.width(scalar)
            guard used <= limit else { return bytes.append(contentsOf: "…".utf8) }
            switch scalar {
            case "&": raw("&amp;")
            case "<": raw("&lt;")
            case ">": raw("&gt;")
            case "\"": raw("&quot;")
            case "'": raw("&#39;")
            // What a database says may have several lines.
            case "\n", "\t", "\r": raw(" ")
            // NUL and other controls are not allowed in HTML; overrides of the text direction could make a name look like
            // another.
            case "\u{0}"..<" ", "\u{7F}"..<"\u{A0}", "\u{202A}"..."\u{202E}", "\u{2066}"..."\u{2069}": raw("\u{FFFD}")
            default: bytes.append(contentsOf: String(scalar).utf8)
            }
        }
    }

    mutating func number(_ value: some BinaryInteger) {
        bytes.append(contentsOf: String(value).utf8)
    }

    /// A coordinate of a drawing, to a tenth.
    mutating func coordinate(_ value: Double) {
        guard value.isFinite else { return raw("0") }
        let tenths = Int((min(max(value, -1e6), 1e6) * 10).rounded())
        if tenths < 0 { raw("-") }
        number(tenths.magnitude / 10)
        if tenths % 10 != 0 {
            raw(".")
            number(tenths.magnitude % 10)
        }
    }
}
