import FoundationEssentials
import NIOCore
import NIOPosix
import Testing
import TimescaleStore

@testable import Ingestion

@Suite struct GapBookTests {
    private let connection = UUID()

    private func overflow(_ tag: String, _ start: Int64, _ end: Int64) -> GapRecord {
        GapRecord(
            connectionID: connection,
            tagNodeID: tag,
            startedAtMicros: start,
            endedAtMicros: end,
            cause: IntakeGap.Cause.queueOverflow.rawValue
        )
    }

    @Test func overflowsOfOneTagAreOneGapUntilWritten() {
        let book = GapBook()
        #expect(book.note(overflow("a", 10, 20)).isNew)
        let merged = book.note(overflow("a", 20, 30))
        #expect(!merged.isNew && merged.gap.startedAtMicros == 10 && merged.gap.endedAtMicros == 30)
        #expect(book.note(overflow("b", 5, 6)).isNew)
        let taken = book.take().map(\.gap).sorted { ($0.tagNodeID ?? "") < ($1.tagNodeID ?? "") }
        #expect(taken.map(\.startedAtMicros) == [10, 5] && taken.map(\.endedAtMicros) == [30, 6])
        #expect(book.isEmpty)
        #expect(book.note(overflow("a", 40, 50)).isNew)
    }

    @Test func aGapThatIsBeingFilledTakesNothingIn() {
        let book = GapBook()
        let filling = overflow("a", 10, 20)
        #expect(book.note(filling, merges: false).isNew)
        #expect(book.note(overflow("a", 20, 30)).isNew)
        #expect(!book.note(overflow("a", 30, 40)).isNew)
        var healed = filling
        healed.healedAtMicros = 99
        #expect(book.note(healed).isNew)
        let taken = book.take().map(\.gap).sorted { $0.startedAtMicros < $1.startedAtMicros }
        #expect(taken.map(\.startedAtMicros) == [10, 20] && taken.map(\.endedAtMicros) == [20, 40])
        #expect(taken.map(\.healedAtMicros) == [99, nil])
    }

    @Test func whatAFullJournalGaveUpIsCountedTogether() {
        let book = GapBook()
        func abandoned(_ start: Int64, _ lost: Int64) -> GapRecord {
            GapRecord(
                connectionID: connection,
                startedAtMicros: start,
                endedAtMicros: start + 5,
                cause: IntakeGap.Cause.journalFull.rawValue,
                readingsLost: lost
            )
        }
        book.note(abandoned(10, 3))
        let first = book.take()
        // The database is away for long: however often it is tried, one gap grows.
        for round in 1...100 as ClosedRange<Int64> {
            book.note(abandoned(10 + round * 5, 2))
            if round == 50 { book.putBack(first) }
        }
        let taken = book.take().map(\.gap)
        #expect(taken.count == 1 && taken.first?.id == first.first?.gap.id)
        #expect(taken.first?.readingsLost == 203)
        #expect(taken.first?.startedAtMicros == 10 && taken.first?.endedAtMicros == 515)
    }

    @Test func whatCouldNotBeWrittenComesBack() {
        let book = GapBook()
        var gap = GapRecord(connectionID: connection, startedAtMicros: 1, cause: "subscription_lost")
        _ = book.note(gap)
        let taken = book.take()
        gap.healedAtMicros = 9
        _ = book.note(gap)
        book.putBack(taken)
        #expect(book.take().map(\.gap.healedAtMicros) == [9], "the newer state of a gap wins")
    }
}

@Suite struct DoorbellTests {
    @Test(.timeLimit(.minutes(1))) func aRingBeforeTheWaitIsKept() async {
        let bell = Doorbell(eventLoop: MultiThreadedEventLoopGroup.singleton.next())
        bell.ring()
        bell.ring()
        await bell.wait(until: nil)
    }

    @Test(.timeLimit(.minutes(1))) func wakesAtTheDeadlineByARingAndWhenCancelled() async {
        let bell = Doorbell(eventLoop: MultiThreadedEventLoopGroup.singleton.next())
        await bell.wait(until: NIODeadline.now() + TimeAmount.milliseconds(1))
        let waiting = Task { await bell.wait(until: nil) }
        bell.ring()
        await waiting.value
        let cancelled = Task { await bell.wait(until: nil) }
        cancelled.cancel()
        await cancelled.value
    }
}
