import FoundationEssentials
import SystemPackage
import Testing

@testable import Journal

/// Append → sync → durable → read → forget → removal, on real files.
@Suite struct TenantJournalTests {
    @Test func aRecordIsDurableAfterASyncAndNotBefore() async throws {
        let bench = try Bench()
        try await bench.run { directory, journal, report in
            #expect(report.isNew && report.issues.isEmpty && report.records == 0)
            let appended = try journal.fill(1...3)
            #expect(appended == [Seen(1, 0, 100), Seen(2, 100, 200), Seen(3, 200, 300)])
            #expect(journal.durablePosition == .start)
            #expect(journal.endPosition.rawValue == 300)
            #expect(journal.pendingBytes == 300 && directory.pendingBytes == 300)
            #expect(try journal.readAll().records.isEmpty, "nothing that is not durable is read")
            #expect(bench.probe.durable.isEmpty)

            await directory.syncNow()
            #expect(journal.durablePosition.rawValue == 300)
            #expect(journal.pendingBytes == 0 && directory.pendingBytes == 0)
            #expect(bench.probe.durable == [Bench.tenant: [300]])
            let read = try journal.readAll()
            #expect(read.records == appended && read.genuine && read.next.rawValue == 300)
            #expect(journal.backlogRows == 9)
            #expect(journal.oldestUnforgottenReceivedAt == 1000)
            #expect(directory.buffers.count == 3, "the buffers come back")
            #expect(directory.bytesOnDisk == journal.bytesOnDisk)
            #expect(journal.bytesOnDisk == SegmentHeader.size + 300)
        }
    }

    @Test func durablePositionsComeInOrder() async throws {
        let bench = try Bench()
        try await bench.run { directory, journal, _ in
            for round in 0..<20 as Range<UInt32> {
                try journal.fill(round * 10...round * 10 + 9)
                await directory.syncNow()
            }
            #expect(bench.probe.durable[Bench.tenant] == (1...20).map { $0 * 1000 })
        }
    }

    @Test(arguments: [0, 5000, 1 << 20]) func readingInPieces(_ recentBytes: Int) async throws {
        var bench = try Bench()
        bench.configuration.maximumRecentBytes = recentBytes
        bench.configuration.segmentBytes = 4096
        try await bench.run { directory, journal, _ in
            let appended = try journal.fill(1...200)
            await directory.syncNow()
            #expect(try bench.segmentFiles.count > 3)
            var position = JournalPosition.start
            var records: [Seen] = []
            while position < journal.durablePosition {
                let read = try journal.readAll(from: position, maximumBytes: 36 * 7)
                #expect(read.genuine && read.records.count <= 7 && read.next > position)
                guard read.next > position else { return }
                records += read.records
                position = read.next
            }
            #expect(records == appended)

            let upTo = JournalPosition(rawValue: appended[49].end + 1)
            let read = try journal.readAll(from: JournalPosition(rawValue: appended[40].start), upTo: upTo)
            #expect(read.records == Array(appended[40...49]))
            #expect(read.next.rawValue == appended[49].end, "no record that ends behind upTo")
            #expect(try journal.readAll(maximumBytes: 1).records == [appended[0]], "one in any case")
            #expect(try journal.readAll(from: journal.durablePosition).records.isEmpty)
            #expect(throws: Stop.self) {
                _ = try journal.makeReader().read(from: .start) { _, _ in throw Stop() }
            }
        }
    }

    private struct Stop: Error {}

    @Test func theFlushBoundaryIsWhereAReadEnds() async throws {
        var bench = try Bench()
        bench.configuration.segmentBytes = 4096
        bench.configuration.maximumPendingBytesPerTenant = 1 << 20
        try await bench.run { directory, journal, _ in
            // More records than the index has marks.
            try journal.fill(1...3000)
            await directory.syncNow()
            try journal.fill(3001...3010)
            var position = JournalPosition.start
            var rows = 0
            while position < journal.durablePosition {
                let boundary = journal.flushBoundary(from: position, maximumRows: 100)
                #expect(boundary.end > position && boundary.end <= journal.durablePosition)
                guard boundary.end > position else { return }
                var found = 0
                let next = try journal.makeReader().read(from: position, upTo: boundary.end) { header, _ in
                    found += Int(header.rowCount)
                }
                #expect(next == boundary.end, "the boundary is a record's end")
                #expect(found == boundary.rows)
                #expect(found <= 100)
                rows += found
                journal.forget(upTo: next)
                position = next
            }
            #expect(rows == 9000)
            #expect(journal.flushBoundary(from: position, maximumRows: 100).end == position)
        }
    }

    @Test func whatWasForgottenIsReadAgainAsFarAsItIsThere() async throws {
        var bench = try Bench()
        bench.configuration.segmentBytes = 4096
        try await bench.run { directory, journal, _ in
            let appended = try journal.fill(1...200)
            await directory.syncNow()
            journal.forget(upTo: JournalPosition(rawValue: appended[149].end))
            await directory.syncNow()
            let oldest = journal.oldestPosition
            #expect(oldest > .start)
            #expect(journal.rewind(to: .start) == oldest, "what is gone is gone")
            let middle = JournalPosition(rawValue: appended[120].start)
            #expect(journal.committedPosition == oldest)
            #expect(try journal.readAll(from: oldest).records.last == appended[199])
            journal.forget(upTo: JournalPosition(rawValue: appended[199].end))
            #expect(journal.rewind(to: middle) == max(middle, oldest))
            await directory.syncNow()
            let read = try journal.readAll(from: middle)
            #expect(read.records == Array(appended[120...]), "it stays until it is stored again")
        }
    }

    @Test func forgottenSegmentsGo() async throws {
        var bench = try Bench()
        bench.configuration.segmentBytes = 4096
        try await bench.run { directory, journal, _ in
            let appended = try journal.fill(1...200)
            await directory.syncNow()
            let before = try bench.segmentFiles
            journal.forget(upTo: JournalPosition(rawValue: appended[99].end))
            await directory.syncNow()
            let after = try bench.segmentFiles
            #expect(after.count < before.count && Array(before.suffix(after.count)) == after)
            #expect(try journal.readAll(from: journal.committedPosition).records == Array(appended[100...]))
            #expect(journal.oldestPosition <= journal.committedPosition)
            #expect(journal.backlogRows == 300)
            #expect(
                journal.bytesOnDisk == after.count * SegmentHeader.size
                    + Int(appended[199].end - journal.oldestPosition.rawValue)
            )
            #expect(directory.statistics.segmentsRemoved == before.count - after.count)
        }
    }

    @Test func retainedSegmentsStay() async throws {
        var bench = try Bench()
        bench.configuration.segmentBytes = 4096
        try await bench.run { directory, journal, _ in
            let appended = try journal.fill(1...200)
            await directory.syncNow()
            let before = try bench.segmentFiles
            journal.retain(from: .start)
            journal.forget(upTo: journal.durablePosition)
            await directory.syncNow()
            #expect(try bench.segmentFiles == before)
            #expect(try journal.readAll().records == appended)
            #expect(journal.backlogRows == 0)
            journal.retain(from: JournalPosition(rawValue: appended[150].start))
            await directory.syncNow()
            #expect(try bench.segmentFiles.count < before.count)
            #expect(
                try journal.readAll(from: JournalPosition(rawValue: appended[150].start)).records
                    == Array(appended[150...])
            )
        }
    }

    /// A segment that holds nothing of use any more is replaced by an empty one when it is large enough to matter.
    @Test func aSpentSegmentIsReplaced() async throws {
        var bench = try Bench()
        bench.configuration.forgottenSegmentBytes = 2000
        try await bench.run { directory, journal, _ in
            try journal.fill(1...10)
            await directory.syncNow()
            journal.forget(upTo: journal.durablePosition)
            await directory.syncNow()
            #expect(journal.bytesOnDisk == SegmentHeader.size + 1000, "not yet worth it")
            try journal.fill(11...20)
            await directory.syncNow()
            journal.forget(upTo: journal.durablePosition)
            await directory.syncNow()
            await directory.syncNow()
            #expect(journal.bytesOnDisk == SegmentHeader.size)
            #expect(journal.endPosition.rawValue == 2000)
        }
        try await bench.run { _, journal, report in
            #expect(report.issues.isEmpty)
            #expect(journal.endPosition.rawValue == 2000, "the position outlives the records")
        }
    }

    @Test func reopeningContinues() async throws {
        let bench = try Bench()
        var appended: [Seen] = []
        var ids: Set<UUID> = []
        for round in 0..<4 as Range<UInt32> {
            try await bench.run { directory, journal, report in
                #expect(report.isNew == (round == 0))
                #expect(report.issues.isEmpty)
                #expect(report.records == appended.count && report.rows == appended.count * 3)
                #expect(journal.durablePosition == journal.endPosition)
                #expect(journal.backlogRows == appended.count * 3)
                ids.insert(journal.journalID)
                #expect(try journal.readAll().records == appended)
                appended += try journal.fill(round * 5...round * 5 + 4)
                await directory.syncNow()
                #expect(try journal.readAll().records == appended)
            }
        }
        #expect(ids.count == 1)
        #expect(appended.last?.end == 2000)
    }

    @Test func openingVisitsEveryRecord() async throws {
        let bench = try Bench()
        var appended: [Seen] = []
        try await bench.run { _, journal, _ in appended = try journal.fill(1...20) }
        let directory = try bench.open()
        var visited: [Seen] = []
        let (journal, _) = try directory.openJournal(tenant: Bench.tenant) { header, payload in
            #expect(Sample.isGenuine(header, payload))
            visited.append(Seen(header))
        }
        #expect(visited == appended, "and closing had made them durable")
        var recovered: [Seen] = []
        #expect(
            journal.recover(from: JournalPosition(rawValue: 500)) { header, _ in recovered.append(Seen(header)) }
                .isEmpty
        )
        #expect(recovered == Array(appended[5...]))
        try await directory.close()
    }

    @Test(arguments: [0, 1 << 20]) func advancingSkipsPositions(_ recentBytes: Int) async throws {
        var bench = try Bench()
        bench.configuration.maximumRecentBytes = recentBytes
        var appended: [Seen] = []
        try await bench.run { directory, journal, _ in
            appended = try journal.fill(1...2)
            journal.advance(to: JournalPosition(rawValue: 1000))
            appended += try journal.fill(3...3)
            await directory.syncNow()
            #expect(appended.last == Seen(3, 1000, 1100))
            #expect(journal.durablePosition.rawValue == 1100)
            #expect(try journal.readAll().records == appended)
            #expect(try journal.readAll(from: JournalPosition(rawValue: 700)).records == [appended[2]])
            journal.advance(to: JournalPosition(rawValue: 5))
            #expect(journal.endPosition.rawValue == 1100)
        }
        try await bench.run { _, journal, report in
            #expect(report.issues.isEmpty, "a position skipped on purpose is no loss")
            let records = try journal.readAll().records
            #expect(records == appended)
            #expect(journal.backlogRows == 9)
        }
    }

    @Test func aRecordThatCanNeverFitIsRefused() async throws {
        var bench = try Bench()
        bench.configuration.maximumBytesPerTenant = 10_000
        try await bench.run { directory, journal, _ in
            let record = Sample.record(1, bytes: 10_000)
            let error = await #expect(throws: JournalError.self) { _ = try await journal.append(record) }
            #expect(error?.code == .recordTooLarge)
            #expect(record.rows.count == 10_000, "the buffer is still the caller's")
            let largest = Sample.record(2, bytes: 10_000 - 2 * SegmentHeader.size - RecordFormat.headerSize)
            _ = try await journal.append(largest)
            await directory.syncNow()
            #expect(journal.durablePosition.rawValue == Int64(10_000 - 2 * SegmentHeader.size))
        }
    }

    @Test func recordsLargerThanTheReadBuffer() async throws {
        let bench = try Bench()
        try await bench.run { directory, journal, _ in
            let appended = try [0, 3 << 20, 1 << 20, 5].enumerated().map { index, bytes in
                let record = Sample.record(UInt32(index), bytes: bytes)
                let length = Int64(record.encodedLength)
                guard let end = try journal.appendIfPossible(record) else { throw WouldWait(number: UInt32(index)) }
                return Seen(UInt32(index), end.rawValue - length, end.rawValue)
            }
            await directory.syncNow()
            let read = try journal.readAll()
            #expect(read.records == appended && read.genuine)
        }
        try await bench.run { _, _, report in #expect(report.records == 4 && report.issues.isEmpty) }
    }

    @Test func afterClosingNothingIsTaken() async throws {
        let bench = try Bench()
        let directory = try bench.open()
        let (journal, _) = try directory.openJournal(tenant: Bench.tenant, events: bench.probe.events)
        let appended = try journal.fill(1...3)
        try await journal.close()
        try await journal.close()
        #expect(journal.currentState == .closed)
        // Told after those who wait for the end have been.
        try await eventually("the state is told") { bench.probe.states[Bench.tenant] == [.closed] }
        #expect(bench.probe.durable[Bench.tenant] == [300], "closing makes durable what was appended")
        let refused = #expect(throws: JournalError.self) { try journal.appendIfPossible(Sample.record(4)) }
        #expect(refused?.code == .closed)
        let error = await #expect(throws: JournalError.self) { try await journal.append(Sample.record(4)) }
        #expect(error?.code == .closed)
        journal.forget(upTo: journal.durablePosition)
        await directory.syncNow()
        #expect(try journal.readAll().records == appended, "reading goes on")

        let (again, report) = try directory.openJournal(tenant: Bench.tenant)
        #expect(report.records == 3 && again.journalID == journal.journalID)
        try await directory.close()
        try await directory.close()
        let late = #expect(throws: JournalError.self) { try directory.openJournal(tenant: UUID(number: 9)) }
        #expect(late?.code == .closed)
        await directory.syncNow()
    }
}
