import Dispatch
import FoundationEssentials
import Journal
import Synchronization

/// Records of rows through a journal.
struct JournalStep: Sendable {
    /// Records between two syncs.
    private static let group = 8

    private let directory: JournalDirectory
    private let journal: TenantJournal
    private let rows: Int
    /// A record's rows.
    private let sample = RowBuffer()

    /// - Parameter isInMemory: whether records stay in memory until they are stored, as in the daemon.
    init(folder: String, rows: Int, isInMemory: Bool = true) throws {
        self.rows = rows
        // The only syncs are those asked for.
        var configuration = JournalConfiguration(path: folder)
        configuration.syncInterval = .seconds(3600)
        if !isInMemory { configuration.maximumRecentBytes = 0 }
        directory = try JournalDirectory(configuration)
        journal = try directory.openJournal(tenant: UUID(uuid: (1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)))
            .journal
        var step = try DecodeStep(values: rows)
        try step.encode(into: sample)
    }

    /// Appends, makes durable and forgets.
    /// - Returns: rows appended.
    func append(_ rounds: Int) throws -> Int {
        try Self.wait {
            for _ in 0..<rounds { journal.forget(upTo: try await appendGroup()) }
            try await directory.close()
        }
        return rounds * Self.group * rows
    }

    /// Appends once and reads that over and over.
    /// - Returns: rows read.
    func readBack(_ rounds: Int) throws -> Int {
        try Self.wait { _ = try await appendGroup() }
        let reader = journal.makeReader()
        var total = 0
        for _ in 0..<rounds {
            _ = try reader.read(from: journal.oldestPosition) { header, _ in total += Int(header.rowCount) }
        }
        try Self.wait { try await directory.close() }
        return total
    }

    /// Runs `body` to its end while this thread waits.
    private static func wait(_ body: @escaping @Sendable () async throws -> Void) throws {
        final class Outcome: Sendable { let error = Mutex<(any Error)?>(nil) }
        let outcome = Outcome()
        let done = DispatchSemaphore(value: 0)
        Task {
            do { try await body() } catch { outcome.error.withLock { $0 = error } }
            done.signal()
        }
        done.wait()
        if let error = outcome.error.withLock({ $0 }) { throw error }
    }

    private func appendGroup() async throws -> JournalPosition {
        var end = journal.endPosition
        for number in 0..<Self.group {
            let buffer = directory.buffers.take(capacity: sample.count)
            sample.withUnsafeBytes { buffer.append($0, rows: rows) }
            let header = RecordHeader(
                rowCount: UInt32(rows),
                source: journal.journalID,
                subscriptionID: 1,
                sequenceNumber: UInt32(number + 1),
                receivedAtMicroseconds: 0,
                earliestMicroseconds: 0,
                latestMicroseconds: 0
            )
            end = try await journal.append(JournalRecord(header: header, rows: buffer))
        }
        await directory.syncNow()
        return end
    }
}
