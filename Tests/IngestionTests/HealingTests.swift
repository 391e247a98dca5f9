import FoundationEssentials
import OPCUAClient
import OPCUACodec
import Testing
import TimescaleStore

@testable import Ingestion

@Suite struct HealingTests {
    private let well = UUID()

    private func hole(_ name: String, _ after: Int64, _ until: Int64) -> TagHole {
        TagHole(key: TagKey(wellID: well, nodeID: "ns=2;s=\(name)"), after: after, until: until)
    }

    private func healing(_ holes: [TagHole], from start: Int64 = .max) -> Healing {
        Healing(
            gap: GapRecord(connectionID: UUID(), startedAtMicros: start, endedAtMicros: 1, cause: "subscription_lost"),
            holes: holes
        )
    }

    private func value(_ number: Double, _ microseconds: Int64) -> DataValue {
        DataValue(.double(number), sourceTimestamp: DateTime(unixMicroseconds: microseconds))
    }

    @Test func onlyWhatLiesStrictlyWithinTheHoleFits() {
        let healing = healing([hole("a", 100, 200)])
        let values = [99, 100, 101, 150, 150, 199, 200, 201].enumerated().map {
            value(Double($0.offset), Int64($0.element))
        }
        let fitting = healing.fitting(values, hole: 0)
        #expect(fitting.map(\.microseconds) == [101, 150, 151, 199])
        #expect(fitting.map { $0.value.value } == [.double(2), .double(3), .double(4), .double(5)])
        #expect(healing.fitting([DataValue(.double(1))], hole: 0).isEmpty, "a value without any time has no place")
    }

    @Test func theIntervalFollowsTheServersClock() {
        let healing = healing([hole("slow", 5, 900_000_000), hole("fast", 500_000_000, 800_000_000)])
        #expect(healing.interval.start == 500_000_000 - Healing.lateness)
        #expect(healing.interval.end == 900_000_000)
    }

    @Test func theIntervalHasAllOfTheBreaksThatBecameOneGap() {
        let holes = [
            hole("a", 100_000_000, 110_000_000), hole("a", 300_000_000, 310_000_000), hole("slow", 5, 400_000_000),
        ]
        #expect(healing(holes, from: 100_000_000).interval.start == 100_000_000 - Healing.lateness)
    }

    @Test func allHealed() {
        let healing = healing([hole("a", 1, 9), hole("b", 1, 9)])
        let rows = healing.settled([.complete(values: 3), .complete(values: 0)], recovered: 3, now: 55)
        #expect(rows.count == 1)
        #expect(rows[0].healedAtMicros == 55 && rows[0].readingsRecovered == 3)
    }

    @Test func withoutHistoryTheGapStaysOpen() {
        let healing = healing([hole("a", 1, 9), hole("b", 1, 9)])
        let refused = HistoryOutcome.refused(.badHistoryOperationUnsupported, values: 0)
        let rows = healing.settled([refused, refused], recovered: 0, now: 55)
        #expect(rows.count == 1 && rows[0].healedAtMicros == nil)
    }

    @Test func noValuesWhereReadingsAreKnownIsNoHistory() {
        let healing = healing([hole("beside", 500, 900), hole("long silent", 5, 1000), hole("read", 500, 900)])
        let outcomes: [HistoryOutcome] = [.complete(values: 0), .complete(values: 0), .complete(values: 7)]
        #expect(
            healing.credible(outcomes, asked: (100, 1000)) == [
                .refused(.goodNoData, values: 0), .complete(values: 0), .complete(values: 7),
            ]
        )
        #expect(healing.credible([.complete(values: 0)], asked: (501, 900)) == [.complete(values: 0)])
    }

    @Test func tagsWithoutHistoryKeepGapsOfTheirOwn() {
        let healing = healing([hole("a", 1, 9), hole("b", 2, 8)])
        let rows = healing.settled(
            [.complete(values: 3), .refused(.badHistoryOperationUnsupported, values: 0)],
            recovered: 3,
            now: 55
        )
        #expect(rows.count == 2)
        #expect(rows[0].healedAtMicros == 55)
        #expect(rows[1].tagNodeID == "ns=2;s=b" && rows[1].healedAtMicros == nil)
        #expect(rows[1].startedAtMicros == 2 && rows[1].endedAtMicros == 8)
    }
}
