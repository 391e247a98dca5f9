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
        #expect(book.note(overflow("a", 10, 20)))
        #expect(!book.note(overflow("a", 20, 30)))
        #expect(book.note(overflow("b", 5, 6)))
        let taken = book.take().sorted { ($0.tagNodeID ?? "") < ($1.tagNodeID ?? "") }
        #expect(taken.map(\.startedAtMicros) == [10, 5] && taken.map(\.endedAtMicros) == [30, 6])
        #expect(book.isEmpty)
        #expect(book.note(overflow("a", 40, 50)))
    }

    @Test func whatCouldNotBeWrittenComesBack() {
        let book = GapBook()
        var gap = GapRecord(connectionID: connection, startedAtMicros: 1, cause: "subscription_lost")
        _ = book.note(gap)
        let taken = book.take()
        gap.healedAtMicros = 9
        _ = book.note(gap)
        book.putBack(taken)
        #expect(book.take().map(\.healedAtMicros) == [9], "the newer state of a gap wins")
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
