import FoundationEssentials
import Synchronization
import SystemPackage
import Testing

@testable import Journal

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

@Suite(.timeLimit(.minutes(5))) struct CrashTests {
    private final class Knowledge: Sendable {
        private let value = Mutex<(durable: [UUID: Int64], forgotten: [UUID: Int64])>(([:], [:]))

        var now: (durable: [UUID: Int64], forgotten: [UUID: Int64]) { value.withLock { $0 } }

        func isDurable(_ tenant: UUID, _ position: Int64) {
            value.withLock { $0.durable[tenant] = position }
        }

        func willForget(_ tenant: UUID, _ position: Int64) {
            value.withLock { $0.forgotten[tenant] = position }
        }
    }

    /// The power goes away between, before and during all kinds of calls, with syncs that fail and without: what was told to
    /// be durable is there, nothing is there that was not appended, and positions do not go back.
    @Test(arguments: 1...10) func powerLoss(_ seed: UInt64) async throws {
        var random = SeededGenerator(seed: seed)
        let knowledge = Knowledge()
        let folder = try TestFolder()
        let fileSystem = CrashFileSystem(
            root: folder.path,
            seed: seed &* 77,
            failsSyncs: seed.isMultiple(of: 2),
            knowledge: { knowledge.now }
        )
        var bench = try Bench(folder: folder, fileSystem: fileSystem)
        bench.configuration.segmentBytes = 4096
        bench.configuration.forgottenSegmentBytes = 1500
        bench.configuration.maximumIndividualSyncs = Int.random(in: 0...6, using: &random)
        bench.configuration.maximumOpenFiles = Int.random(in: 0...4, using: &random)
        var events = JournalEvents()
        events.onDurable = { knowledge.isDurable($0.tenantID, $1.rawValue) }
        var appended: [UUID: [Seen]] = [:]
        var ids: [UUID: UUID] = [:]

        let directory = try bench.open()
        fileSystem.begin()
        var journals: [TenantJournal] = []
        for number in 1...3 as ClosedRange<UInt8> {
            journals.append(try directory.openJournal(tenant: UUID(number: number), events: events).journal)
        }
        for journal in journals { ids[journal.tenantID] = journal.journalID }
        for number in 0..<150 as Range<UInt32> {
            guard let journal = journals.randomElement(using: &random) else { return }
            let bytes = Int.random(in: 0...900, using: &random)
            appended[journal.tenantID, default: []] += try journal.fill(number...number, bytes: bytes)
            switch Int.random(in: 0..<12, using: &random) {
            case 0...3:
                await directory.syncNow()
            case 4:
                let position = journal.durablePosition
                knowledge.willForget(journal.tenantID, position.rawValue)
                journal.forget(upTo: position)
            case 5:
                guard let half = appended[journal.tenantID]?.randomElement(using: &random)?.end,
                    half <= journal.durablePosition.rawValue, half > journal.committedPosition.rawValue
                else { continue }
                knowledge.willForget(journal.tenantID, half)
                journal.forget(upTo: JournalPosition(rawValue: half))
            case 6 where number.isMultiple(of: 3):
                journal.advance(to: JournalPosition(rawValue: journal.endPosition.rawValue + 500))
            default:
                break
            }
        }
        if !seed.isMultiple(of: 2) {
            #expect(directory.statistics.segmentsReused > 0, "seed \(seed): none written over")
        }
        try? await directory.close()

        let moments = fileSystem.moments
        #expect(moments.count > 5, "seed \(seed): the test tests nothing")
        if seed.isMultiple(of: 2) { #expect(fileSystem.syncFailures > 0, "seed \(seed)") }
        for (place, moment) in moments.enumerated() {
            for attempt in 0..<2 {
                let left = moment.lose(&random)
                let again = try TestFolder()
                for (path, files) in left {
                    let name = String(path.dropFirst(folder.path.utf8.count))
                    try FileManager.default.createDirectory(
                        atPath: again.path + name,
                        withIntermediateDirectories: true
                    )
                    for (file, bytes) in files { try write(bytes, to: again.path + name + "/" + file) }
                }
                try await Self.check(
                    again,
                    durable: moment.durable,
                    forgotten: moment.forgotten,
                    appended,
                    ids,
                    "seed \(seed), moment \(place), attempt \(attempt)"
                )
            }
        }
    }

    /// Opens what a crash left and compares it with what was promised.
    private static func check(
        _ folder: TestFolder,
        durable: [UUID: Int64],
        forgotten: [UUID: Int64],
        _ appended: [UUID: [Seen]],
        _ ids: [UUID: UUID],
        _ what: String
    ) async throws {
        let bench = try Bench(folder: folder)
        let directory = try bench.open()
        for (tenant, all) in appended.sorted(by: { $0.key.uuidString < $1.key.uuidString }) {
            var records: [Seen] = []
            var genuine = true
            let (journal, report) = try directory.openJournal(tenant: tenant) { header, payload in
                records.append(Seen(header))
                genuine = genuine && Sample.isGenuine(header, payload)
            }
            let promised = durable[tenant] ?? 0
            let needed = all.filter { $0.end <= promised && $0.start >= forgotten[tenant] ?? 0 }
            #expect(genuine, "\(what)")
            #expect(Set(records.map(\.description)).isSubset(of: all.map(\.description)), "\(what): made-up records")
            #expect(zip(records, records.dropFirst()).allSatisfy { $0.start < $1.start }, "\(what): out of order")
            let found = Set(records.map(\.description))
            let lost = needed.filter { !found.contains($0.description) }
            #expect(lost.isEmpty, "\(what): durable up to \(promised), lost \(lost), issues \(report.issues)")
            #expect(journal.endPosition.rawValue >= promised, "\(what): positions went back")
            if promised > 0, let id = ids[tenant] { #expect(journal.journalID == id, "\(what): another journal") }
            // A loss of what was promised must not be claimed either: it would become a gap where there is none.
            let claimed = report.issues.compactMap(\.lost).filter { lost in
                needed.contains { $0.start >= lost.lowerBound.rawValue && $0.start < lost.upperBound.rawValue }
            }
            #expect(claimed.isEmpty, "\(what): \(report.issues)")
        }
        try await directory.close()
    }

    /// A real process with the real file system, killed at a moment it does not choose.
    @Test(arguments: 1...4) func killed(_ seed: UInt64) async throws {
        let folder = try TestFolder()
        let path = folder.path
        await #expect(processExitsWith: .signal(SIGKILL)) { [path = path as String, seed = seed as UInt64] in
            try await CrashTests.writeUntilKilled(path, seed)
        }
        let told = String(decoding: try readSmallFile(path + "/told", limit: 1 << 22) ?? [], as: UTF8.self)
        var durable: [UUID: Int64] = [:]
        for line in told.split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count == 2, let tenant = UUID(uuidString: String(words[0])), let position = Int64(words[1])
            else { continue }
            durable[tenant] = position
        }
        #expect(durable.count == 3, "seed \(seed): killed before anything was durable")
        let directory = try JournalDirectory(JournalConfiguration(path: path))
        for (tenant, position) in durable {
            var numbers: [UInt32] = []
            var genuine = true
            var end: Int64 = 0
            let (journal, report) = try directory.openJournal(tenant: tenant) { header, payload in
                genuine = genuine && Sample.isGenuine(header, payload) && header.position.rawValue == end
                numbers.append(header.sequenceNumber)
                end = header.endPosition.rawValue
            }
            #expect(genuine, "seed \(seed)")
            #expect(numbers == Array(0..<UInt32(numbers.count)), "seed \(seed): each record once and in order")
            #expect(end >= position, "seed \(seed): durable up to \(position), found up to \(end)")
            #expect(journal.endPosition.rawValue >= end)
            #expect(report.issues.allSatisfy { $0.kind == .tornTail || $0.kind == .damagedHeader }, "\(report.issues)")
        }
        try await directory.close()
    }

    private static func writeUntilKilled(_ path: String, _ seed: UInt64) async throws {
        var random = SeededGenerator(seed: seed)
        let told = try openFile(path + "/told", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC)
        var configuration = JournalConfiguration(path: path)
        configuration.syncInterval = .zero
        configuration.segmentBytes = 16_384
        var events = JournalEvents()
        let progress = Mutex((lines: 0, tenants: Set<UUID>(), isOver: false))
        let last = Int.random(in: 10...400, using: &random)
        events.onDurable = { journal, position in
            let line = Array("\(journal.tenantID.uuidString) \(position)\n".utf8)
            _ = line.withUnsafeBytes { write(told.rawValue, $0.baseAddress, $0.count) }
            // Counted, not timed: wherever the other threads are just then. Not before every tenant had its turn, which a busy
            // machine may put off for long.
            let isLast = progress.withLock { progress in
                progress.lines += 1
                progress.tenants.insert(journal.tenantID)
                guard progress.lines >= last, progress.tenants.count == 3, !progress.isOver else { return false }
                progress.isOver = true
                return true
            }
            if isLast { Thread.detachKiller() }
        }
        let directory = try JournalDirectory(configuration)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for tenant in 1...3 as ClosedRange<UInt8> {
                let journal = try directory.openJournal(tenant: UUID(number: tenant), events: events).journal
                var random = SeededGenerator(seed: seed &+ UInt64(tenant))
                group.addTask {
                    for number in 0..<UInt32.max {
                        let bytes = Int.random(in: 0...600, using: &random)
                        _ = try await journal.append(Sample.record(number, bytes: bytes))
                        await Task.yield()
                    }
                }
            }
            try await group.waitForAll()
        }
    }
}

private enum Thread {
    /// Ends this process from another thread, so that the journal's own goes on until it is hit.
    static func detachKiller() {
        var thread = pthread_t()
        pthread_create(
            &thread,
            nil,
            { _ in
                kill(getpid(), SIGKILL)
                return nil
            },
            nil
        )
    }
}
