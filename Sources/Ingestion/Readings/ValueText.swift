import FoundationEssentials
import OPCUACodec

/// How values that are no plain number are stored (the rarer kinds: strings, dates, arrays, structures).
enum ValueText {
    /// The columns `value` and `value_text` of a value. The text is UTF-8 without NUL, as PostgreSQL demands.
    /// - Parameter structures: how structures are decoded; nil: as base64.
    static func stored(_ value: Variant, _ structures: StructureText? = nil) -> (number: Double?, text: String?) {
        switch value {
        case .null: (nil, nil)
        case .boolean(let value): (value ? 1 : 0, nil)
        case .sbyte(let value): (Double(value), nil)
        case .byte(let value): (Double(value), nil)
        case .int16(let value): (Double(value), nil)
        case .uint16(let value): (Double(value), nil)
        case .int32(let value): (Double(value), nil)
        case .uint32(let value): (Double(value), nil)
        case .int64(let value): (Double(value), value.magnitude > 1 << 53 ? String(value) : nil)
        case .uint64(let value): (Double(value), value > 1 << 53 ? String(value) : nil)
        case .float(let value): (Double(value), nil)
        case .double(let value): (value, nil)
        case .statusCode(let value): (Double(value.rawValue), nil)
        case .string(let text): (nil, text.map(withoutNUL))
        case .xmlElement(let text): (nil, text.map(withoutNUL))
        case .localizedText(let value): (nil, value.text.map(withoutNUL))
        case .qualifiedName(let value): (nil, withoutNUL(value.description))
        case .dateTime(let value): (nil, text(of: value))
        case .guid(let value): (nil, value.description)
        case .nodeId(let value): (nil, withoutNUL(value.description))
        case .expandedNodeId(let value): (nil, withoutNUL(value.description))
        case .byteString(let bytes): (nil, bytes.map(Base64.encode))
        case .extensionObject(let object): (nil, structures?.json(of: object) ?? text(of: object))
        case .variant(let inner): stored(inner, structures)
        case .dataValue(let inner): stored(inner.value, structures)
        case .diagnosticInfo, .array: (nil, json(value, structures))
        }
    }

    /// A NUL cannot be in a PostgreSQL text.
    static func withoutNUL(_ text: String) -> String {
        text.utf8.contains(0) ? text.replacing("\0", with: "\u{FFFD}") : text
    }

    private static func text(of object: ExtensionObject) -> String? {
        switch object.body {
        case .none: nil
        case .binary(let bytes): Base64.encode(bytes)
        case .xml(let bytes): withoutNUL(String(decoding: bytes, as: UTF8.self))
        }
    }

    // MARK: JSON

    /// Numbers as numbers where JSON has them, NaN and infinities as strings; nested arrays by their dimensions.
    static func json(_ value: Variant, _ structures: StructureText? = nil) -> String {
        switch value {
        case .null: "null"
        case .boolean(let value): value ? "true" : "false"
        case .sbyte(let value): String(value)
        case .byte(let value): String(value)
        case .int16(let value): String(value)
        case .uint16(let value): String(value)
        case .int32(let value): String(value)
        case .uint32(let value): String(value)
        case .int64(let value): String(value)
        case .uint64(let value): String(value)
        case .float(let value): value.isFinite ? value.description : quoted(value.description)
        case .double(let value): value.isFinite ? value.description : quoted(value.description)
        case .statusCode(let value): String(value.rawValue)
        case .variant(let inner): json(inner, structures)
        case .dataValue(let inner): json(inner.value, structures)
        case .array(_, let elements, let dimensions): array(elements, dimensions, structures)
        case .extensionObject(let object):
            structures?.json(of: object) ?? text(of: object).map(quoted) ?? "null"
        case .diagnosticInfo: "null"
        default: stored(value).text.map(quoted) ?? "null"
        }
    }

    /// Part 6, 5.2.2.16: the last dimension varies fastest. Dimensions that do not multiply to the count are ignored.
    private static func array(_ elements: [Variant], _ dimensions: [Int32], _ structures: StructureText?) -> String {
        var product = 1
        for dimension in dimensions {
            let (next, overflow) = product.multipliedReportingOverflow(by: Int(dimension))
            guard dimension > 0, !overflow, next <= elements.count else { return list(elements[...], structures) }
            product = next
        }
        guard dimensions.count > 1, product == elements.count else { return list(elements[...], structures) }
        return nested(elements[...], dimensions[...], structures)
    }

    private static func nested(
        _ elements: ArraySlice<Variant>,
        _ dimensions: ArraySlice<Int32>,
        _ structures: StructureText?
    ) -> String {
        guard dimensions.count > 1, let first = dimensions.first else { return list(elements, structures) }
        let size = elements.count / Int(first)
        let parts = (0..<Int(first)).map { index in
            let start = elements.startIndex + index * size
            return nested(elements[start..<start + size], dimensions.dropFirst(), structures)
        }
        return "[" + parts.joined(separator: ",") + "]"
    }

    private static func list(_ elements: ArraySlice<Variant>, _ structures: StructureText?) -> String {
        "[" + elements.map { json($0, structures) }.joined(separator: ",") + "]"
    }

    static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in withoutNUL(text).unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }

    // MARK: Dates

    /// RFC 3339 in UTC with seven decimals where there are any: OPC UA's resolution.
    static func text(of time: DateTime) -> String {
        // Ticks are at most 2^63: years 1601 to 30828.
        let ticks = max(0, time.ticks)
        let (seconds, fraction) = ticks.quotientAndRemainder(dividingBy: 10_000_000)
        let (days, second) = seconds.quotientAndRemainder(dividingBy: 86_400)
        let (year, month, day) = civil(daysSince1601: days)
        func padded(_ value: Int64, _ width: Int) -> String {
            let digits = String(value)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        var text = "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))"
        text += "T\(padded(second / 3600, 2)):\(padded(second / 60 % 60, 2)):\(padded(second % 60, 2))"
        if fraction > 0 {
            text += "." + padded(fraction, 7)
            while text.last == "0" { text.removeLast() }
        }
        return text + "Z"
    }

    /// The Gregorian date of a day (Hinnant's days-to-civil, shifted to OPC UA's epoch).
    private static func civil(daysSince1601 days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        // 1601-01-01 is day 584,694 of the era that begins on 0000-03-01.
        let shifted = days + 584_694
        let era = shifted / 146_097
        let dayOfEra = shifted % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
    }
}
