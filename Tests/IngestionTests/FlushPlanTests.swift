import Journal
import Testing

@testable import Ingestion

@Suite struct FlushPlanTests {
    /// Records of so many rows each, a hundred positions long, from position 0 on.
    private struct Records {
        var rows: [Int]

        func plan(streams: Int, maximumRows: Int = 200_000, from start: Int = 0) -> FlushPlan {
            FlushPlan(
                from: JournalPosition(rawValue: Int64(start * 100)),
                rows: rows[start...].reduce(0, +),
                streams: streams,
                maximumRows: maximumRows
            ) { position, maximum in
                var (index, taken) = (Int(position.rawValue / 100), 0)
                while index < rows.count, taken == 0 || taken + rows[index] <= maximum {
                    taken += rows[index]
                    index += 1
                }
                return (JournalPosition(rawValue: Int64(index * 100)), taken)
            }
        }
    }

    private func ends(_ plan: FlushPlan) -> [Int] { plan.parts.map { Int($0.end.rawValue / 100) } }

    @Test func oneStreamTakesAllUpToItsBound() {
        let records = Records(rows: Array(repeating: 1_000, count: 300))
        #expect(ends(records.plan(streams: 1)) == [200])
        #expect(records.plan(streams: 1).rows == 200_000)
        #expect(ends(records.plan(streams: 1, from: 250)) == [300])
    }

    @Test(arguments: [(2, [5, 10]), (3, [3, 6, 10]), (4, [2, 5, 7, 10]), (9, [2, 5, 7, 10])])
    func severalStreamsShareWhatWaits(_ streams: Int, _ expected: [Int]) {
        #expect(ends(Records(rows: Array(repeating: 1_000, count: 10)).plan(streams: streams)) == expected)
    }

    @Test func partsFollowEachOtherWithoutHoles() {
        let plan = Records(rows: [700, 4_000, 1, 0, 2_999, 5_000, 3]).plan(streams: 3)
        #expect(plan.parts.first?.from == JournalPosition(rawValue: 0))
        for (left, right) in zip(plan.parts, plan.parts.dropFirst()) { #expect(left.end == right.from) }
        #expect(plan.end == JournalPosition(rawValue: 700))
        #expect(plan.rows == 12_703)
    }

    @Test func partsAreAsEqualAsRecordsAllow() {
        #expect(ends(Records(rows: [2_400, 2_700, 2_500, 2_400]).plan(streams: 2)) == [2, 4], "not 2,400 and 7,600")
        #expect(ends(Records(rows: [2_400, 6_000, 1_600]).plan(streams: 2)) == [1, 3])
        #expect(ends(Records(rows: [3_000, 3_000, 3_000, 3_000]).plan(streams: 2, maximumRows: 6_000)) == [2, 4])
        #expect(ends(Records(rows: [2_500, 2_600, 1_000, 4_000]).plan(streams: 2, maximumRows: 5_000)) == [1, 3])
        #expect(ends(Records(rows: [1_000, 9_000]).plan(streams: 2)) == [1, 2], "another stream for the rest")
    }

    @Test func aBacklogIsTakenInFullParts() {
        let plan = Records(rows: Array(repeating: 1_000, count: 5_000)).plan(streams: 3)
        #expect(plan.parts.map(\.rows) == [200_000, 200_000, 200_000])
    }

    @Test func aRecordIsNotDivided() {
        let plan = Records(rows: [10_000]).plan(streams: 2)
        #expect(plan.parts.map(\.rows) == [10_000])
    }

    @Test func littleGoesInOne() {
        #expect(ends(Records(rows: Array(repeating: 499, count: 10)).plan(streams: 8)) == [10])
    }

    @Test func recordsWithoutRowsAreTakenToo() {
        #expect(ends(Records(rows: [0, 0, 0]).plan(streams: 2)) == [3])
    }

    @Test func nothingMakesNoPart() {
        #expect(Records(rows: []).plan(streams: 2).parts.isEmpty)
        #expect(Records(rows: []).plan(streams: 2).end == nil)
    }
}
