import Testing

@testable import Observability

@Suite("UTC times as text")
struct UTCTimeTests {
    @Test(
        arguments: [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (4_107_456_000_000, "2100-02-28T00:00:00.000Z"),
            (1_795_823_999_007, "2026-11-27T23:59:59.007Z"),
            (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] as [(Int64, String)]
    )
    func known(milliseconds: Int64, text: String) {
        #expect(UTCTime.rfc3339(milliseconds: milliseconds) == text)
    }

    /// 400 years and one, day by day, against a calendar counted up by hand: a whole era, all leap rules.
    @Test func everyDay() {
        var (year, month, day) = (Int64(1970), Int64(1), Int64(1))
        for days in Int64(0)..<146_463 {
            let civil = UTCTime.civil(days: days)
            guard civil == (year, month, day) else {
                Issue.record("day \(days): \(civil), expected \(year)-\(month)-\(day)")
                return
            }
            let isLeap = (year.isMultiple(of: 4) && !year.isMultiple(of: 100)) || year.isMultiple(of: 400)
            let lengths: [Int64] = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
            day += 1
            if day > lengths[Int(month - 1)] { (month, day) = (month + 1, 1) }
            if month > 12 { (year, month) = (year + 1, 1) }
        }
    }

    @Test func extremesDoNotTrap() {
        #expect(UTCTime.rfc3339(milliseconds: .max).hasPrefix("9999-"))
        #expect(UTCTime.rfc3339(milliseconds: .min).hasPrefix("0000-"))
    }
}
