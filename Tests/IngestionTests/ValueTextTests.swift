import OPCUACodec
import Testing

@testable import Ingestion

@Suite struct ValueTextTests {
    static let dates: [(ticks: Int64, text: String)] = [
        (0, "1601-01-01T00:00:00Z"),
        (116_444_736_000_000_000, "1970-01-01T00:00:00Z"),
        (125_962_560_000_000_000, "2000-02-29T00:00:00Z"),
        (116_444_736_000_000_001, "1970-01-01T00:00:00.0000001Z"),
        (134_116_991_999_000_000, "2025-12-31T23:59:59.9Z"),
        (9_223_372_036_854_775_807, "30828-09-14T02:48:05.4775807Z"),
    ]

    @Test(arguments: dates) func datesAreRFC3339(ticks: Int64, text: String) {
        #expect(ValueText.text(of: DateTime(ticks: ticks)) == text)
    }

    @Test func controlCharactersAreEscapedInJSON() {
        #expect(ValueText.quoted("a\u{1}\t\\\"\u{7F}") == "\"a\\u0001\\t\\\\\\\"\u{7F}\"")
    }

    @Test func dimensionsThatDoNotMultiplyToTheCountAreIgnored() {
        let elements: [Variant] = [.int32(1), .int32(2), .int32(3)]
        for dimensions: [Int32] in [[2, 2], [0, 3], [-1, -3], [.max, .max], [3]] {
            #expect(ValueText.json(.array(type: .int32, elements: elements, dimensions: dimensions)) == "[1,2,3]")
        }
        #expect(ValueText.json(.array(type: .int32, elements: elements, dimensions: [3, 1])) == "[[1],[2],[3]]")
    }
}
