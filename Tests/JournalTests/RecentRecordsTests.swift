import FoundationEssentials
import Testing

@testable import Journal

@Suite struct RecentRecordsTests {
    /// A record of a hundred bytes.
    private static func record(at position: Int64) -> PendingRecord {
        PendingRecord(position: position, buffer: RowBuffer(capacity: 64), length: 100)
    }

    @Test func runsAreWithoutGaps() {
        var recent = RecentRecords()
        for position in [100, 200, 500, 600, 700] as [Int64] { recent.append(Self.record(at: position)) }
        func positions(_ start: Int64, _ count: Int = 10) -> [Int64] {
            recent.run(from: start, maximumCount: count).map(\.position)
        }
        #expect(positions(100) == [100, 200])
        #expect(positions(200) == [200])
        #expect(positions(500, 2) == [500, 600])
        #expect(positions(300).isEmpty && positions(550).isEmpty && positions(800).isEmpty && positions(0).isEmpty)
        #expect(recent.start(from: 0) == 100)
        #expect(recent.start(from: 201) == 500)
        #expect(recent.start(from: 701) == nil)
    }

    @Test func whatIsStoredGoes() {
        var recent = RecentRecords()
        for position in [0, 100, 200] as [Int64] { recent.append(Self.record(at: position)) }
        let bytes = recent.bytes
        #expect(bytes == 3 * (RowBuffer.headroom + 64))
        #expect(recent.remove(upTo: 199).map(\.position) == [0], "not a record that ends behind it")
        #expect(recent.bytes == bytes / 3 * 2)
        #expect(recent.remove(upTo: .max).count == 2 && recent.bytes == 0)
        #expect(recent.run(from: 100, maximumCount: 1).isEmpty)
    }

    @Test func aLargeBufferWithLittleInItIsNotWorthItsMemory() {
        let record = PendingRecord(position: 0, buffer: RowBuffer(capacity: 10_000), length: 1000)
        #expect(RecentRecords.isWasteful(record))
        #expect(!RecentRecords.isWasteful(Self.record(at: 0)))
    }

    // MARK: In a journal

    private static func bench(_ recentBytes: Int = 1 << 20) throws -> Bench {
        var bench = try Bench()
        bench.configuration.maximumRecentBytes = recentBytes
        return bench
    }

    @Test func whatIsInMemoryIsReadWithoutItsFile() async throws {
        let bench = try Self.bench()
        try await bench.run { directory, journal, _ in
            let appended = try journal.fill(1...10)
            #expect(try journal.readAll().records.isEmpty, "nothing that is not durable is read")
            await directory.syncNow()
            #expect(directory.buffers.count == 0)
            for name in try bench.segmentFiles {
                try FileManager.default.removeItem(atPath: bench.folder.tenant(Bench.tenant) + "/" + name)
            }
            let read = try journal.readAll()
            #expect(read.records == appended && read.genuine && read.next == journal.durablePosition)
            journal.forget(upTo: JournalPosition(rawValue: 400))
            #expect(directory.buffers.count == 4, "the buffers come back")
            #expect(throws: JournalError.self) { try journal.readAll() }
            #expect(try journal.readAll(from: JournalPosition(rawValue: 400)).records == Array(appended[4...]))
        }
    }

    /// It is read from memory too, but takes no more of it than it needs.
    @Test func whatLiesInALargeBufferIsMovedIntoASmallOne() async throws {
        let bench = try Self.bench()
        try await bench.run { directory, journal, _ in
            let large = RowBuffer(capacity: 100_000)
            Sample.payload(7, bytes: 900).withUnsafeBytes { large.append($0, rows: 9) }
            _ = try journal.appendIfPossible(JournalRecord(header: Sample.header(7, rows: 9), rows: large))
            await directory.syncNow()
            #expect(directory.buffers.count == 1, "the large one, for the next burst")
            #expect(directory.core.recent.total < 3000)
            for name in try bench.segmentFiles {
                try FileManager.default.removeItem(atPath: bench.folder.tenant(Bench.tenant) + "/" + name)
            }
            let read = try journal.readAll()
            #expect(read.genuine && read.records.map(\.number) == [7])
        }
    }

    @Test func whatSomebodyReadsIsNotUsedAgain() async throws {
        let bench = try Self.bench()
        try await bench.run { directory, journal, _ in
            try journal.fill(1...2)
            await directory.syncNow()
            var genuine = 0
            _ = try journal.makeReader().read(from: .start) { header, payload in
                journal.forget(upTo: journal.durablePosition)
                #expect(directory.buffers.count == 0)
                try journal.fill(100 + header.sequenceNumber...100 + header.sequenceNumber)
                genuine += Sample.isGenuine(header, payload) ? 1 : 0
            }
            #expect(genuine == 2)
        }
    }

    /// Appended, synced, read in pieces and forgotten, with memory for some of it.
    @Test(arguments: 1...12) func memoryAndFilesTogetherGiveEverything(_ seed: UInt64) async throws {
        var random = SeededGenerator(seed: seed)
        var bench = try Self.bench(Int.random(in: 0...8000, using: &random))
        bench.configuration.segmentBytes = 4096
        try await bench.run { directory, journal, _ in
            var appended: [Seen] = []
            var number: UInt32 = 0
            for step in 0..<150 {
                let count = UInt32.random(in: 1...6, using: &random)
                appended += try journal.fill(
                    number...number + count - 1,
                    bytes: Int.random(in: 0...900, using: &random)
                )
                number += count
                if step.isMultiple(of: 40) {
                    journal.advance(to: JournalPosition(rawValue: journal.endPosition.rawValue + 500))
                }
                await directory.syncNow()
                let from = Int.random(in: 0..<appended.count, using: &random)
                let expected = appended[from...].filter { $0.start >= journal.oldestPosition.rawValue }
                var position = JournalPosition(rawValue: appended[from].start)
                var records: [Seen] = []
                let pieces = Int.random(in: 1...4000, using: &random)
                while position < journal.durablePosition {
                    let read = try journal.readAll(from: position, maximumBytes: pieces)
                    #expect(read.genuine && read.next > position, "seed \(seed), step \(step)")
                    guard read.next > position else { return }
                    records += read.records
                    position = read.next
                }
                #expect(records == expected, "seed \(seed), step \(step)")
                if let stored = appended.randomElement(using: &random), Bool.random(using: &random) {
                    journal.forget(upTo: JournalPosition(rawValue: stored.end))
                }
            }
        }
    }

    @Test func aLongBacklogTakesNoMemory() async throws {
        let bench = try Self.bench(1000)
        try await bench.run { directory, journal, _ in
            try journal.fill(1...4)
            await directory.syncNow()
            #expect(directory.core.recent.total > 0)
            try journal.fill(5...50)
            await directory.syncNow()
            #expect(directory.core.recent.total == 0)
            #expect(try journal.readAll().records.count == 50)
            journal.forget(upTo: journal.durablePosition)
            try journal.fill(51...54)
            await directory.syncNow()
            #expect(directory.core.recent.total > 0, "again, when the backlog is short")
        }
    }

    @Test func aClosedJournalGivesItsMemoryBack() async throws {
        let bench = try Self.bench()
        try await bench.run { directory, journal, _ in
            try journal.fill(1...4)
            await directory.syncNow()
            try await journal.close()
            #expect(directory.core.recent.total == 0)
            #expect(try journal.readAll().records.count == 4, "from the files")
        }
    }
}
