import FoundationEssentials
import Journal
import Synchronization
import Testing

@testable import Ingestion

@Suite struct FlushSourceTests {
    /// Runs `body` with a journal on a disk.
    private func withJournal(
        _ body: (TenantJournal, JournalDirectory) async throws -> Void
    ) async throws {
        let folder = FileManager.default.temporaryDirectory.path + "/flush-source-test-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let directory = try JournalDirectory(JournalConfiguration(path: folder))
        try await body(try directory.openJournal(tenant: UUID()).journal, directory)
        try await directory.close()
    }

    /// A durable record of three rows, each a byte.
    private func append(_ byte: UInt8, to journal: TenantJournal, in directory: JournalDirectory) async throws {
        let buffer = RowBuffer(capacity: 3)
        [byte, byte, byte].withUnsafeBytes { buffer.append($0, rows: 3) }
        let header = RecordHeader(
            rowCount: 3,
            source: UUID(),
            subscriptionID: 0,
            sequenceNumber: 0,
            receivedAtMicroseconds: 1,
            earliestMicroseconds: 1,
            latestMicroseconds: 1
        )
        _ = try await journal.append(JournalRecord(header: header, rows: buffer))
        await directory.syncNow()
    }

    private func bytes(of source: FlushSource) throws -> [UInt8] {
        let found = Mutex<[UInt8]>([])
        try source.read { bytes in found.withLock { $0 += bytes } }
        return found.withLock { $0 }
    }

    @Test func whatCameMeanwhileIsTakenToo() async throws {
        try await withJournal { journal, directory in
            try await append(1, to: journal, in: directory)
            let source = FlushSource(journal: journal, from: journal.oldestPosition, to: journal.durablePosition)
            let first = source.end
            try await append(2, to: journal, in: directory)
            try await append(3, to: journal, in: directory)
            #expect(try bytes(of: source) == [1, 1, 1])
            let began = source.began
            source.extend(maximumRows: 100) { true }
            #expect(source.end == journal.durablePosition && source.end > first)
            #expect(source.began > began)
            #expect(try bytes(of: source) == [1, 1, 1, 2, 2, 2, 3, 3, 3])
        }
    }

    @Test func noMoreThanMayBeTaken() async throws {
        try await withJournal { journal, directory in
            try await append(1, to: journal, in: directory)
            let source = FlushSource(journal: journal, from: journal.oldestPosition, to: journal.durablePosition)
            try await append(2, to: journal, in: directory)
            let second = journal.durablePosition
            try await append(3, to: journal, in: directory)
            source.extend(maximumRows: 0) { true }
            #expect(try bytes(of: source) == [1, 1, 1])
            source.extend(maximumRows: 100) { false }
            #expect(try bytes(of: source) == [1, 1, 1])
            source.extend(maximumRows: 3) { true }
            #expect(source.end == second)
            #expect(try bytes(of: source) == [1, 1, 1, 2, 2, 2])
        }
    }
}
