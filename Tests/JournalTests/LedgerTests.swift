import Testing

@testable import Journal

private func entry(
    _ index: UInt64,
    _ base: Int64,
    end: Int64? = nil,
    sealed: Bool = false,
    durable: Bool = false
) -> SegmentEntry {
    SegmentEntry(
        index: index,
        base: base,
        end: end ?? base,
        fileBytes: SegmentHeader.size + Int((end ?? base) - base),
        isSealed: sealed,
        isDurable: durable
    )
}

extension JournalLedger {
    /// Appends `count` records of 100 bytes and 10 rows.
    fileprivate mutating func append(_ count: Int) {
        for _ in 0..<count { _ = append(length: 100, rows: 10, receivedAt: end) }
    }

    /// Three segments of two records each, all durable, the last one open.
    fileprivate static func filled() -> JournalLedger {
        var ledger = JournalLedger()
        for index in 1...3 as ClosedRange<UInt64> {
            ledger.append(2)
            ledger.open(entry(index, Int64(index - 1) * 200))
            ledger.wrote(200)
            ledger.synced(upTo: Int64(index) * 200, bytes: 200)
        }
        return ledger
    }

    fileprivate var numbers: [UInt64] { segments.map(\.index) }
    fileprivate var removableNumbers: [UInt64] { removableSegments().map(\.index) }
}

/// The ledger as a state machine: event in, state out.
@Suite struct LedgerTests {
    @Test func aRecordsWay() {
        var ledger = JournalLedger()
        #expect(ledger.append(length: 100, rows: 10, receivedAt: 5) == 0)
        #expect(ledger.append(length: 50, rows: 1, receivedAt: 6) == 100)
        #expect((ledger.end, ledger.durable, ledger.pendingBytes, ledger.unwrittenBytes) == (150, 0, 150, 150))
        // In no file yet, and there all the same: a database that has nothing of them lacks nothing.
        #expect((ledger.backlogRows, ledger.oldestUnforgottenReceivedAt, ledger.oldest) == (11, 5, 0))

        ledger.open(entry(1, 0))
        ledger.wrote(100)
        #expect((ledger.unwrittenBytes, ledger.pendingBytes, ledger.durable) == (50, 150, 0))
        #expect(ledger.bytesOnDisk == SegmentHeader.size + 100)
        #expect((ledger.backlogRows, ledger.durableBacklogRows) == (11, 0), "no flush can take them yet")
        ledger.synced(upTo: 100, bytes: 100)
        #expect((ledger.backlogRows, ledger.durableBacklogRows) == (11, 10))
        ledger.wrote(50)
        ledger.synced(upTo: 150, bytes: 50)
        #expect(ledger.durableBacklogRows == 11)
        #expect((ledger.unwrittenBytes, ledger.pendingBytes, ledger.durable) == (0, 0, 150))
        #expect(ledger.segments == [entry(1, 0, end: 150, durable: true)])

        ledger.forget(upTo: 100)
        #expect((ledger.forgotten, ledger.backlogRows, ledger.oldestUnforgottenReceivedAt) == (100, 1, 6))
        #expect(ledger.durableBacklogRows == 1)
        ledger.forget(upTo: 50)
        #expect(ledger.forgotten == 100, "never goes back")
        ledger.forget(upTo: 1000)
        #expect((ledger.forgotten, ledger.backlogRows, ledger.oldestUnforgottenReceivedAt) == (150, 0, nil))
    }

    @Test func whatADatabaseLacksAgainIsKeptAgain() {
        var ledger = JournalLedger.filled()
        ledger.forget(upTo: 600)
        ledger.rewind(to: 250)
        #expect(ledger.forgotten == 250)
        #expect(ledger.removableNumbers == [1])
        #expect(ledger.flushBoundary(from: 250, maximumRows: 5).end == 600, "all of it is to be stored again")
        #expect(ledger.segmentToDrop()?.index == 1)
        ledger.rewind(to: 300)
        #expect(ledger.forgotten == 250, "never forward")
        ledger.forget(upTo: 600)
        #expect(ledger.takeRemovable().map(\.index) == [1, 2])
        #expect(ledger.oldest == 400, "what is being removed is not there any more")
        ledger.rewind(to: 0)
        #expect(ledger.forgotten == 400)
        #expect(ledger.segment(holding: 0)?.index == 3)
    }

    @Test func whatIsNotDurableIsNotForgotten() {
        var ledger = JournalLedger()
        ledger.append(3)
        ledger.open(entry(1, 0))
        ledger.wrote(300)
        ledger.synced(upTo: 200, bytes: 200)
        ledger.forget(upTo: 300)
        #expect(ledger.forgotten == 200)
        #expect(ledger.pendingBytes == 100)
    }

    @Test func segmentsGoOnlyWhenForgottenNotRetainedAndFollowedByADurableOne() {
        var ledger = JournalLedger.filled()
        #expect(ledger.removableNumbers == [])
        ledger.forget(upTo: 399)
        #expect(ledger.removableNumbers == [1])
        ledger.forget(upTo: 600)
        // The last one keeps the position.
        #expect(ledger.removableNumbers == [1, 2])
        ledger.retain(from: 200)
        #expect(ledger.removableNumbers == [1])
        ledger.retain(from: 100)
        #expect(ledger.retained == 200, "never goes back")
        ledger.retain(from: 700)
        #expect(ledger.removableNumbers == [1, 2])

        #expect(ledger.lastSegmentIsSpent(minimum: 0))
        #expect(!ledger.lastSegmentIsSpent(minimum: 1000))
        ledger.open(entry(4, 600))
        // The new segment may be gone after power loss, and the position with it.
        #expect(ledger.removableNumbers == [1, 2])
        ledger.synced(upTo: nil, bytes: 0)
        #expect(ledger.removableNumbers == [1, 2, 3])
        for index in ledger.removableNumbers { ledger.remove(index) }
        #expect(ledger.numbers == [4])
        #expect(ledger.bytesOnDisk == SegmentHeader.size)
        #expect(ledger.oldest == 600)
        #expect(!ledger.lastSegmentIsSpent(minimum: 0), "an empty one is not worth replacing")
    }

    @Test func aFailedSyncTakesBackWhatWasNotDurable() {
        var ledger = JournalLedger()
        ledger.append(1)
        ledger.open(entry(1, 0))
        ledger.wrote(100)
        ledger.synced(upTo: 100, bytes: 100)
        ledger.append(3)
        ledger.wrote(100)
        ledger.open(entry(2, 200))
        ledger.wrote(100)
        #expect((ledger.pendingBytes, ledger.unwrittenBytes) == (300, 100))
        #expect(ledger.loseUnsynced().map(\.index) == [2])
        #expect(ledger.numbers == [1])
        #expect(ledger.segments[0].end == 100 && ledger.segments[0].isSealed)
        #expect((ledger.end, ledger.durable, ledger.pendingBytes, ledger.unwrittenBytes) == (400, 100, 300, 300))
        #expect(ledger.backlogRows == 40, "the rows are still there, in memory")
        ledger.setFileBytes(SegmentHeader.size + 100, of: 1)
        #expect(ledger.bytesOnDisk == SegmentHeader.size + 100)

        ledger.open(entry(3, 100))
        ledger.wrote(300)
        ledger.synced(upTo: 400, bytes: 300)
        #expect((ledger.durable, ledger.pendingBytes, ledger.unwrittenBytes) == (400, 0, 0))
        #expect(ledger.segment(holding: 100)?.index == 3)
        #expect(ledger.segment(holding: 99)?.index == 1)
        #expect(ledger.segment(holding: 400) == nil)
    }

    @Test func anEmptyDurableSegmentSurvivesAFailedSync() {
        var ledger = JournalLedger()
        ledger.open(entry(1, 0))
        ledger.synced(upTo: nil, bytes: 0)
        ledger.append(1)
        ledger.wrote(100)
        #expect(ledger.loseUnsynced().isEmpty)
        #expect(ledger.segments.map(\.end) == [0])
        ledger.open(entry(2, 0))
        ledger.wrote(100)
        ledger.synced(upTo: 100, bytes: 100)
        #expect(ledger.segment(holding: 0)?.index == 2)
        #expect(ledger.oldest == 0)
    }

    @Test func advancing() {
        var ledger = JournalLedger()
        ledger.advance(to: 500)
        #expect((ledger.end, ledger.durable) == (500, 500))
        ledger.advance(to: 10)
        #expect(ledger.end == 500, "never goes back")
        #expect(ledger.append(length: 100, rows: 1, receivedAt: 0) == 500)
        ledger.advance(to: 1000)
        #expect((ledger.end, ledger.durable) == (1000, 500), "what is pending is not durable")
        #expect(ledger.append(length: 100, rows: 1, receivedAt: 0) == 1000)
        ledger.open(entry(1, 500))
        ledger.wrote(100)
        ledger.open(entry(2, 1000))
        ledger.wrote(100)
        ledger.synced(upTo: 1100, bytes: 200)
        #expect(ledger.durable == 1100)
        #expect(ledger.segment(holding: 600)?.index == 2, "nothing is between the two")
    }

    @Test func givingUp() {
        var ledger = JournalLedger.filled()
        ledger.forget(upTo: 100)
        ledger.pin(200)
        // The first is being read by a transaction, the last is being written.
        #expect(ledger.giveUpOldest()?.index == 2)
        #expect(ledger.backlogRows == 30)
        #expect(ledger.segment(holding: 200)?.index == 3, "nobody reads it from now on")
        #expect(ledger.numbers == [1, 2, 3], "until the file is gone")
        // It is named again while it is there, so that its file can be tried again, and says that it is known.
        #expect(ledger.giveUpOldest()?.isGivenUp == true)
        #expect(ledger.backlogRows == 30)
        ledger.remove(2)
        #expect(ledger.giveUpOldest() == nil)
        ledger.unpin()
        #expect(ledger.giveUpOldest()?.index == 1)
        #expect(ledger.backlogRows == 20)
        #expect(ledger.oldest == 400)
        ledger.remove(1)
        #expect(ledger.giveUpOldest() == nil)
        #expect(ledger.bytesOnDisk == SegmentHeader.size + 200)
    }

    @Test func whatIsForgottenGoesFirstAndCostsNoRows() {
        var ledger = JournalLedger.filled()
        ledger.forget(upTo: 200)
        ledger.retain(from: 0)
        ledger.pin(400)
        #expect(ledger.removableNumbers == [])
        #expect(ledger.giveUpOldest()?.index == 1)
        #expect(ledger.backlogRows == 40)
    }

    @Test func recovery() {
        var ledger = JournalLedger()
        for (index, base) in [(3, 200), (4, 400)] as [(UInt64, Int64)] {
            ledger.recovered(entry(index, base, end: base + 100, sealed: true, durable: true))
            var header = Sample.header(UInt32(index), rows: 4)
            header.position = JournalPosition(rawValue: base)
            header.endPosition = JournalPosition(rawValue: base + 100)
            ledger.recovered(header)
        }
        ledger.finishRecovery(end: 550)
        #expect((ledger.end, ledger.durable, ledger.forgotten, ledger.oldest) == (550, 550, 200, 200))
        #expect(ledger.backlogRows == 8)
        #expect(ledger.oldestUnforgottenReceivedAt == 3000)
        ledger.forget(upTo: 300)
        #expect(ledger.backlogRows == 4)
        #expect(ledger.oldestUnforgottenReceivedAt == 4000)

        var empty = JournalLedger()
        empty.finishRecovery(end: 0)
        #expect((empty.end, empty.durable, empty.forgotten) == (0, 0, 0))
    }

    // MARK: Flush boundaries

    @Test(
        arguments: [
            // from, at most so many rows: the end, the rows, received at
            (0, 1000, 600, 60, 0), (0, 60, 600, 60, 0), (0, 59, 500, 50, 0), (0, 20, 200, 20, 0), (0, 19, 100, 10, 0),
            // One record in any case.
            (0, 9, 100, 10, 0), (0, 0, 100, 10, 0), (0, -5, 100, 10, 0), (300, 1, 400, 10, 300),
            (300, 25, 500, 20, 300), (500, 1, 600, 10, 500), (500, Int.max, 600, 10, 500),
        ] as [(Int64, Int, Int64, Int64, Int64)]
    )
    func boundary(_ from: Int64, _ maximum: Int, _ end: Int64, _ rows: Int64, _ receivedAt: Int64) {
        let found = JournalLedger.filled().flushBoundary(from: from, maximumRows: maximum)
        #expect(found.end == end)
        #expect(found.rows == rows)
        #expect(found.oldestReceivedAt == receivedAt)
    }

    @Test func noBoundaryBehindWhatIsDurable() {
        var ledger = JournalLedger.filled()
        ledger.append(2)
        #expect(ledger.flushBoundary(from: 0, maximumRows: 1000).end == 600)
        #expect(ledger.flushBoundary(from: 600, maximumRows: 1000) == (600, 0, nil))
        #expect(ledger.flushBoundary(from: 5000, maximumRows: 1000) == (5000, 0, nil))
        #expect(JournalLedger().flushBoundary(from: 0, maximumRows: 1) == (0, 0, nil))
    }

    @Test func boundariesBeginWhereForgettingEnded() {
        var ledger = JournalLedger.filled()
        ledger.forget(upTo: 300)
        #expect(ledger.flushBoundary(from: 0, maximumRows: 20) == (500, 20, 300))
        ledger.forget(upTo: 600)
        #expect(ledger.flushBoundary(from: 0, maximumRows: 20) == (600, 0, nil))
    }

    @Test func boundariesPassSkippedPositionsAndGivenUpSegments() {
        var ledger = JournalLedger.filled()
        ledger.advance(to: 1000)
        #expect(ledger.flushBoundary(from: 0, maximumRows: 1000) == (600, 60, 0))
        #expect(ledger.flushBoundary(from: 600, maximumRows: 1000) == (600, 0, nil))
        ledger.append(1)
        ledger.open(entry(4, 1000))
        ledger.wrote(100)
        ledger.synced(upTo: 1100, bytes: 100)
        #expect(ledger.flushBoundary(from: 600, maximumRows: 1) == (1100, 10, 1000), "at least one record")
        #expect(ledger.flushBoundary(from: 500, maximumRows: 1) == (600, 10, 500))
        _ = ledger.giveUpOldest()
        #expect(ledger.flushBoundary(from: 0, maximumRows: 20) == (400, 20, 200))
    }

    @Test func recordsWithoutRowsAreARunToo() {
        var ledger = JournalLedger()
        _ = ledger.append(length: 100, rows: 0, receivedAt: 1)
        _ = ledger.append(length: 100, rows: 7, receivedAt: 2)
        ledger.open(entry(1, 0))
        ledger.wrote(200)
        ledger.synced(upTo: 200, bytes: 200)
        #expect(ledger.flushBoundary(from: 0, maximumRows: 1) == (100, 0, 1))
        #expect(ledger.flushBoundary(from: 100, maximumRows: 1) == (200, 7, 2))
    }
}
