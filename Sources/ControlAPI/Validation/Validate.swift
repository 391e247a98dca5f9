import FoundationEssentials

/// The bounds of scada.proto, where clients read them.
package enum Bounds {
    package static let endpointURLBytes = 2_048
    package static let credentialBytes = 1_024
    package static let nodeIDBytes = 4_096
    package static let nameBytes = 256
    package static let unitBytes = 64
    package static let dataTypeBytes = 128
    /// Tokens hold the last reading's node id.
    package static let pageTokenBytes = 16_384
    package static let filterBytes = 256
    package static let tags = 50_000
    package static let tagFilters = 1_000
    package static let readingsPerPage = 10_000
    package static let readingsPerStreamedPage = 5_000
    /// Of readings in one answer, as `Reading.encodedSize` counts them; clients take messages of 4 MiB by default.
    package static let pageBytes = 3_500_000
    package static let streamedPageBytes = 1_000_000
    package static let itemsPerPage = 1_000
    package static let nodesPerPage = 10_000
    package static let browseDepth = 32
    package static let intervalMillis = 3_600_000
    package static let minPublishingIntervalMillis = 10
    package static let queueSize: UInt32 = 100_000
    package static let timeoutMillis = 60_000
    package static let defaultTimeoutMillis = 10_000
    /// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
    package static let unixSeconds: ClosedRange<Int64> = -62_135_596_800...253_402_300_799
}

/// Checks of single fields. Each throws `INVALID_ARGUMENT` with the field's name; none has an effect or a memory.
enum Validate {
    /// 8-4-4-4-12 hexadecimal digits.
    static func uuid(_ field: String, _ text: String) throws(ControlError) -> UUID {
        guard !text.isEmpty else { throw .invalid(field, "is required") }
        let isShaped =
            text.utf8.count == 36
            && text.utf8.enumerated().allSatisfy { index, byte in
                [8, 13, 18, 23].contains(index) ? byte == 0x2D : byte.isHexDigit
            }
        guard isShaped, let uuid = UUID(uuidString: text) else {
            throw .invalid(field, "\(quoted(text)) is not a UUID such as 123e4567-e89b-12d3-a456-426614174000")
        }
        return uuid
    }

    /// A UUID, or nil for an empty field.
    static func optionalUUID(_ field: String, _ text: String) throws(ControlError) -> UUID? {
        text.isEmpty ? nil : try uuid(field, text)
    }

    static func length(_ field: String, _ text: String, atMost bound: Int) throws(ControlError) -> String {
        let count = text.utf8.count
        guard count <= bound else { throw .invalid(field, "is \(count) bytes long, at most \(bound) are allowed") }
        return text
    }

    /// A count with a default for 0.
    static func limit(_ field: String, _ value: Int32, cap: Int, default defaultValue: Int) throws(ControlError) -> Int
    {
        guard value >= 0, Int(value) <= cap else {
            throw .invalid(field, "\(value) is not between 1 and \(cap) (0 = \(defaultValue))")
        }
        return value == 0 ? defaultValue : Int(value)
    }

    /// Printable ASCII, as the backend makes them; nil for an empty field.
    static func pageToken(_ text: String) throws(ControlError) -> String? {
        guard !text.isEmpty else { return nil }
        _ = try length("page_token", text, atMost: Bounds.pageTokenBytes)
        guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw .invalid("page_token", "is not a token of this server; start again without one")
        }
        return text
    }

    /// Seconds and microseconds of a range, both ends inclusive; 0 = absent, and a microsecond field replaces its second
    /// field. `end` covers its whole second.
    static func range(
        start: Int64,
        end: Int64,
        startMicros: Int64,
        endMicros: Int64
    ) throws(ControlError) -> TimeRange {
        let first = try bound("start_time", start, startMicros, lastOfSecond: false)
        let last = try bound("end_time", end, endMicros, lastOfSecond: true)
        if let first, let last, first > last {
            throw .invalid(endMicros == 0 ? "end_time" : "end_time_micros", "lies before the start of the range")
        }
        return TimeRange(startMicros: first, endMicros: last)
    }

    private static func bound(
        _ field: String,
        _ seconds: Int64,
        _ micros: Int64,
        lastOfSecond: Bool
    ) throws(ControlError) -> Int64? {
        if micros != 0 {
            let (whole, _) = micros.quotientAndRemainder(dividingBy: 1_000_000)
            guard Bounds.unixSeconds.contains(whole) else {
                throw .invalid(field + "_micros", "\(micros) µs is not a time between the years 1 and 9999")
            }
            return micros
        }
        guard seconds != 0 else { return nil }
        guard Bounds.unixSeconds.contains(seconds) else {
            throw .invalid(field, "\(seconds) s is not a time between the years 1 and 9999 (seconds, not milliseconds)")
        }
        return seconds * 1_000_000 + (lastOfSecond ? 999_999 : 0)
    }

    static func timeout(_ millis: Int32) throws(ControlError) -> Duration {
        .milliseconds(
            try limit("timeout_ms", millis, cap: Bounds.timeoutMillis, default: Bounds.defaultTimeoutMillis)
        )
    }

    /// Text of a request inside a message: short, without control characters.
    static func quoted(_ text: String) -> String {
        let clean = text.unicodeScalars.prefix(64).map { $0.value < 0x20 || $0.value == 0x7F ? "?" : String($0) }
        return "\"\(clean.joined())\(text.unicodeScalars.count > 64 ? "…" : "")\""
    }
}

extension UInt8 {
    var isDigit: Bool { self >= 0x30 && self <= 0x39 }
    var isHexDigit: Bool { isDigit || (self | 0x20 >= 0x61 && self | 0x20 <= 0x66) }
}
