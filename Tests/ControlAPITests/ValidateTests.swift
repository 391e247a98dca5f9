import FoundationEssentials
import Testing

@testable import ControlAPI

struct ValidateTests {
    @Test(arguments: [
        "123e4567-e89b-12d3-a456-426614174000", "123E4567-E89B-12D3-A456-426614174000",
        "00000000-0000-0000-0000-000000000000",
    ])
    func takesUUIDs(text: String) throws {
        #expect(try Validate.uuid("tenant_id", text).uuidString == text.uppercased())
    }

    @Test(arguments: [
        "1", "123e4567e89b12d3a456426614174000", "{123e4567-e89b-12d3-a456-426614174000}",
        "123e4567-e89b-12d3-a456-42661417400", "123e4567-e89b-12d3-a456-4266141740000",
        "123e4567-e89b-12d3-a456_426614174000", "123e4567-e89b-12d3-a456-42661417400g",
        " 23e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-4266141740é",
        "' OR 1=1 --",
    ])
    func refusesWhatIsNoUUID(text: String) {
        let error = refusal { () throws(ControlError) in try Validate.uuid("tenant_id", text) }
        #expect(error?.code == .invalidArgument)
        #expect(error?.field == "tenant_id")
        #expect(error?.message.hasPrefix("tenant_id: ") == true)
    }

    @Test func tellsAbsentFromMalformed() throws {
        #expect(refusal { () throws(ControlError) in try Validate.uuid("x", "") }?.message == "x: is required")
        #expect(try Validate.optionalUUID("x", "") == nil)
        #expect(refusal { () throws(ControlError) in try Validate.optionalUUID("x", "y") }?.code == .invalidArgument)
    }

    @Test func countsBytesNotCharacters() throws {
        #expect(try Validate.length("name", "éé", atMost: 4) == "éé")
        #expect(refusal { () throws(ControlError) in try Validate.length("name", "éé", atMost: 3) }?.field == "name")
    }

    @Test(arguments: [(Int32(0), 7), (1, 1), (10, 10)])
    func takesLimits(value: Int32, expected: Int) throws {
        #expect(try Validate.limit("limit", value, cap: 10, default: 7) == expected)
    }

    @Test(arguments: [Int32(-1), 11, .min, .max])
    func refusesLimits(value: Int32) {
        let error = refusal { () throws(ControlError) in try Validate.limit("limit", value, cap: 10, default: 7) }
        #expect(error?.message == "limit: \(value) is not between 1 and 10 (0 = 7)")
    }

    struct Range: Sendable {
        var start: Int64 = 0
        var end: Int64 = 0
        var startMicros: Int64 = 0
        var endMicros: Int64 = 0
        var first: Int64?
        var last: Int64?
    }

    @Test(arguments: [
        Range(),
        Range(start: 10, end: 10, first: 10_000_000, last: 10_999_999),
        Range(start: -5, end: -1, first: -5_000_000, last: -1),
        Range(end: 1, last: 1_999_999),
        Range(start: 1, end: 2, startMicros: 5, endMicros: 7, first: 5, last: 7),
        Range(start: 1, endMicros: 1_000_000, first: 1_000_000, last: 1_000_000),
        Range(startMicros: -1, endMicros: -1, first: -1, last: -1),
        Range(start: Bounds.unixSeconds.lowerBound, first: Bounds.unixSeconds.lowerBound * 1_000_000),
        Range(end: Bounds.unixSeconds.upperBound, last: Bounds.unixSeconds.upperBound * 1_000_000 + 999_999),
    ])
    func takesRanges(range: Range) throws {
        let result = try Validate.range(
            start: range.start,
            end: range.end,
            startMicros: range.startMicros,
            endMicros: range.endMicros
        )
        #expect(result == TimeRange(startMicros: range.first, endMicros: range.last))
    }

    @Test(arguments: [
        (Range(start: 11, end: 10), "end_time"),
        (Range(startMicros: 8, endMicros: 7), "end_time_micros"),
        (Range(start: 1, endMicros: 999_999), "end_time_micros"),
        (Range(start: 1_700_000_000_000), "start_time"),
        (Range(end: .max), "end_time"),
        (Range(start: .min), "start_time"),
        (Range(startMicros: .min), "start_time_micros"),
        (Range(endMicros: .max), "end_time_micros"),
    ])
    func refusesRanges(range: Range, field: String) {
        let error = refusal { () throws(ControlError) in
            try Validate.range(
                start: range.start,
                end: range.end,
                startMicros: range.startMicros,
                endMicros: range.endMicros
            )
        }
        #expect(error?.code == .invalidArgument)
        #expect(error?.field == field)
    }

    @Test func pageTokensArePrintableAndBounded() throws {
        #expect(try Validate.pageToken("") == nil)
        #expect(try Validate.pageToken("abc_-=~!") == "abc_-=~!")
        let longest = String(repeating: "x", count: Bounds.pageTokenBytes)
        #expect(try Validate.pageToken(longest) == longest)
        for text in [longest + "x", "a b", "a\n", "é", "\u{7F}"] {
            #expect(refusal { () throws(ControlError) in try Validate.pageToken(text) }?.field == "page_token")
        }
    }

    @Test func timeoutsHaveADefaultAndABound() throws {
        #expect(try Validate.timeout(0) == .seconds(10))
        #expect(try Validate.timeout(1) == .milliseconds(1))
        #expect(try Validate.timeout(60_000) == .seconds(60))
        #expect(refusal { () throws(ControlError) in try Validate.timeout(60_001) }?.field == "timeout_ms")
        #expect(refusal { () throws(ControlError) in try Validate.timeout(-1) }?.field == "timeout_ms")
    }

    @Test func quotesShortAndClean() {
        #expect(Validate.quoted("a\u{1B}[31m\n\u{7F}") == "\"a?[31m??\"")
        #expect(Validate.quoted(String(repeating: "x", count: 64)) == "\"\(String(repeating: "x", count: 64))\"")
        #expect(Validate.quoted(String(repeating: "é", count: 65)) == "\"\(String(repeating: "é", count: 64))…\"")
    }
}
