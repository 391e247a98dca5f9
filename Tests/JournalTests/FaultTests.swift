import FoundationEssentials
import Synchronization
import SystemPackage
import Testing

@testable import Journal

@Suite(.timeLimit(.minutes(5))) struct FaultTests {
    @Test func aFullDiskStopsAndGoesOnByItself() async throws {
        let fileSystem = FaultyFileSystem()
        var bench = try Bench(fileSystem: fileSystem)
        bench.configuration.retryDelay = .milliseconds(1)
        bench.configuration.maximumRetryDelay = .milliseconds(4)
        try await bench.run { directory, journal, _ in
            fileSystem.fail(.write, .noSpace)
            let appended = try journal.fill(1...5)
            await directory.syncNow()
            #expect(journal.currentState == .full(.disk))
            #expect(journal.durablePosition == .start && bench.probe.durable.isEmpty)
            try await eventually("it tries again") { directory.statistics.writeFailures > 5 }
            #expect(bench.probe.errors.filter { $0.code == .diskFull }.count == 1, "told once, not at each attempt")
            fileSystem.heal()
            try await eventually("durable") { journal.durablePosition == journal.endPosition }
            try await eventually("open") { bench.probe.states[Bench.tenant] == [.full(.disk), .open] }
            #expect(try journal.readAll().records == appended)
        }
    }

    @Test(arguments: [Errno.noSpace, .diskQuotaExceeded, .ioError])
    func aTenantsDiskTroubleIsItsOwn(_ errno: Errno) async throws {
        let fileSystem = FaultyFileSystem()
        let bench = try Bench(fileSystem: fileSystem)
        try await bench.run { directory, journal, _ in
            let other = try directory.openJournal(tenant: UUID(number: 2), events: bench.probe.events).journal
            // The first write of the cycle fails.
            let isFirst = Mutex(true)
            fileSystem.set { call in
                guard call == .create else { return .pass }
                return isFirst.withLock { isFirst in
                    defer { isFirst = false }
                    return isFirst ? .fail(errno) : .pass
                }
            }
            let appended = try journal.fill(1...5)
            try other.fill(1...5)
            await directory.syncNow()
            #expect(journal.durablePosition == .start)
            switch journal.currentState {
            case .full(.disk): #expect(errno != .ioError)
            case .stalled(let reason): #expect(errno == .ioError && reason.cause == .ioError)
            default: Issue.record("\(journal.currentState)")
            }
            #expect(other.durablePosition.rawValue == 500 && other.currentState == .open)
            await directory.syncNow()
            #expect(try journal.readAll().records == appended)
            #expect(journal.currentState == .open)
        }
    }

    /// Writes are cut short everywhere: what is durable is whole, in order, and nothing is lost.
    @Test(arguments: 1...10) func shortWrites(_ seed: UInt64) async throws {
        let fileSystem = FaultyFileSystem()
        var bench = try Bench(fileSystem: fileSystem)
        bench.configuration.segmentBytes = 4096
        var appended: [Seen] = []
        try await bench.run { directory, journal, _ in
            let random = Mutex(SeededGenerator(seed: seed))
            fileSystem.set { call in
                guard call == .write else { return .pass }
                return random.withLock { random in
                    Bool.random(using: &random) ? .pass : .short(Int.random(in: 0...700, using: &random))
                }
            }
            for number in 0..<60 as Range<UInt32> {
                appended += try journal.fill(number...number, bytes: Int(number * 13 % 300))
                if number.isMultiple(of: 7) { await directory.syncNow() }
                let read = try journal.readAll()
                #expect(read.genuine && read.records == Array(appended[..<read.records.count]), "seed \(seed)")
                #expect(read.records.last?.end ?? 0 == journal.durablePosition.rawValue, "seed \(seed)")
            }
            fileSystem.heal()
            await directory.syncNow()
            #expect(try journal.readAll().records == appended, "seed \(seed)")
        }
        try await bench.run { _, journal, report in
            #expect(
                report.issues.isEmpty,
                "seed \(seed): a write cut short leaves no torn end behind: \(report.issues)"
            )
            let read = try journal.readAll()
            #expect(read.records == appended && read.genuine, "seed \(seed)")
        }
    }

    /// After a failed sync nothing written since the last good one counts: it is written again, elsewhere.
    @Test(arguments: [FaultyFileSystem.Call.sync, .syncFolder]) func aFailedSync(_ call: FaultyFileSystem.Call)
        async throws
    {
        let fileSystem = FaultyFileSystem()
        let bench = try Bench(fileSystem: fileSystem)
        var appended: [Seen] = []
        try await bench.run { directory, journal, _ in
            if call == .sync {
                appended = try journal.fill(1...3)
                await directory.syncNow()
            }
            let durable = journal.durablePosition
            let writes = fileSystem.count(.write)
            fileSystem.fail(call, .ioError)
            appended += try journal.fill(4...6)
            for _ in 0..<3 {
                await directory.syncNow()
                #expect(journal.durablePosition == durable)
                #expect(bench.probe.durable[Bench.tenant] ?? [] == (durable == .start ? [] : [durable.rawValue]))
                #expect(try journal.readAll().next == durable)
                #expect(journal.pendingBytes == 300)
            }
            #expect(fileSystem.count(.write) >= writes + 3, "written anew each time, not just synced again")
            guard case .stalled(let reason) = journal.currentState else {
                Issue.record("\(journal.currentState)")
                return
            }
            #expect(reason.cause == .ioError)
            fileSystem.heal()
            await directory.syncNow()
            #expect(journal.durablePosition == journal.endPosition)
            let read = try journal.readAll()
            #expect(read.records == appended && read.genuine)
            #expect(journal.currentState == .open)
            #expect(
                journal.bytesOnDisk
                    == (try bench.segmentFiles).reduce(0) { sum, name in
                        sum + Int((try? fileStatus(bench.folder.tenant(Bench.tenant) + "/" + name).size) ?? 0)
                    }
            )
        }
        try await bench.run { _, journal, report in
            #expect(report.issues.isEmpty, "\(report.issues)")
            let records = try journal.readAll().records
            #expect(records == appended)
        }
    }

    /// The file system's sync fails for one tenant's sake: the files tell whose, and the others are durable all the same.
    @Test func aFailedGroupSyncFallsBackToTheFiles() async throws {
        let fileSystem = FaultyFileSystem()
        let bench = try Bench(fileSystem: fileSystem)
        let directory = try bench.open()
        let journals = try (0..<10 as Range<UInt8>)
            .map { try directory.openJournal(tenant: UUID(number: $0), events: bench.probe.events).journal }
        for journal in journals { try journal.fill(1...1) }
        await directory.syncNow()
        let left = Mutex(4)
        fileSystem.set { call in
            switch call {
            case .syncFileSystem: return .fail(.ioError)
            case .sync:
                return left.withLock { left in
                    left -= 1
                    return left == 0 ? .fail(.ioError) : .pass
                }
            default: return .pass
            }
        }
        for journal in journals { try journal.fill(2...2) }
        await directory.syncNow()
        #expect(journals.map(\.durablePosition.rawValue).sorted() == [100] + [Int64](repeating: 200, count: 9))
        fileSystem.heal()
        await directory.syncNow()
        for journal in journals { #expect(try journal.readAll().records.map(\.number) == [1, 2]) }
        try await directory.close()
    }

    /// Where the kernel's syncfs(2) tells nothing, a file that says its write-out failed is believed.
    @Test func aFailedWriteOutIsNotDurable() async throws {
        let fileSystem = FaultyFileSystem()
        let bench = try Bench(fileSystem: fileSystem)
        let directory = try bench.open()
        let journals = try (0..<10 as Range<UInt8>)
            .map { try directory.openJournal(tenant: UUID(number: $0), events: bench.probe.events).journal }
        fileSystem.fail(.checkWriteOut, .ioError)
        for journal in journals { try journal.fill(1...1) }
        await directory.syncNow()
        #expect(journals.allSatisfy { $0.durablePosition == .start } && bench.probe.durable.isEmpty)
        fileSystem.heal()
        await directory.syncNow()
        #expect(journals.allSatisfy { $0.durablePosition.rawValue == 100 })
        try await directory.close()
    }

    /// What a failed sync left in the page cache is not taken for durable by whoever opens the journal next.
    @Test func closingWithAFailingDisk() async throws {
        let fileSystem = FaultyFileSystem()
        var bench = try Bench(fileSystem: fileSystem)
        bench.configuration.segmentBytes = 4096
        let directory = try bench.open()
        let (journal, _) = try directory.openJournal(tenant: Bench.tenant, events: bench.probe.events)
        let durable = try journal.fill(1...10)
        await directory.syncNow()
        // Enough for the segment that is being written and for several more.
        try journal.fill(11...100)
        fileSystem.set { [.sync, .syncFileSystem].contains($0) ? .fail(.ioError) : .pass }
        let error = await #expect(throws: JournalError.self) { try await journal.close() }
        #expect(error?.code == .inputOutput && error?.cause == .ioError)
        #expect(bench.probe.durable[Bench.tenant] == [1000])
        fileSystem.heal()
        await directory.syncNow()
        #expect(directory.pendingBytes == 0 && directory.bytesOnDisk == 0)

        let (again, report) = try directory.openJournal(tenant: Bench.tenant)
        #expect(try again.readAll().records == durable)
        #expect(report.issues.isEmpty, "\(report.issues)")
        try await directory.close()
    }

    /// A journal in trouble gets a last chance when it is closed, whatever its back-off says.
    @Test func closingTriesOnceMore() async throws {
        let fileSystem = FaultyFileSystem()
        let bench = try Bench(fileSystem: fileSystem)
        try await bench.run { directory, journal, _ in
            fileSystem.fail(.create, .noSpace)
            try journal.fill(1...3)
            await directory.syncNow()
            #expect(journal.currentState == .full(.disk))
            fileSystem.heal()
            try await journal.close()
            #expect(journal.durablePosition.rawValue == 300)
        }
    }

    @Test func closingTheDirectoryTellsWhatIsNotDurable() async throws {
        let fileSystem = FaultyFileSystem()
        let bench = try Bench(fileSystem: fileSystem)
        let directory = try bench.open()
        let journal = try directory.openJournal(tenant: Bench.tenant).journal
        try journal.fill(1...3)
        fileSystem.fail(.create, .noSpace)
        for _ in 0..<2 {
            let error = await #expect(throws: JournalError.self) { try await directory.close() }
            #expect(error?.code == .diskFull)
        }
        fileSystem.heal()
        try await bench.run { _, _, report in #expect(report.records == 0) }
    }

    /// Somebody takes a file away while the journal holds no descriptor of it.
    @Test func aMissingFileIsNamed() async throws {
        var bench = try Bench()
        bench.configuration.segmentBytes = 4096
        try await bench.run { directory, journal, _ in
            let appended = try journal.fill(1...100)
            await directory.syncNow()
            let files = try bench.segmentFiles
            try FileManager.default.removeItem(atPath: bench.folder.tenant(Bench.tenant) + "/" + files[1])
            let second = try #require(SegmentName(files[1])).base
            let third = try #require(SegmentName(files[2])).base
            let error = #expect(throws: JournalError.self) { try journal.readAll() }
            #expect(error?.code == .missingSegment)
            #expect(error?.resumePosition?.rawValue == third)
            var records: [Seen] = []
            let damage = journal.recover { header, _ in records.append(Seen(header)) }
            #expect(damage.map(\.code) == [.missingSegment])
            #expect(records == appended.filter { $0.start < second || $0.start >= third })
        }
    }

    /// A record that changes on the disk while the journal is open is not delivered, and its file is kept.
    @Test func damageWhileOpen() async throws {
        var bench = try Bench()
        bench.configuration.segmentBytes = 4096
        try await bench.run { directory, journal, _ in
            let appended = try journal.fill(1...100)
            await directory.syncNow()
            let first = try bench.segmentFiles[0]
            let path = bench.folder.tenant(Bench.tenant) + "/" + first
            var bytes = try #require(try readSmallFile(path, limit: 1 << 16))
            bytes[SegmentHeader.size + 5 * 100 + 70] ^= 1
            try write(bytes, to: path)
            var records: [Seen] = []
            let error = #expect(throws: JournalError.self) {
                _ = try journal.makeReader().read(from: .start) { header, _ in records.append(Seen(header)) }
            }
            #expect(error?.code == .corruptRecord)
            #expect(records == Array(appended[..<5]))
            let resume = try #require(error?.resumePosition)
            #expect(try journal.readAll(from: resume).records == appended.filter { $0.start >= resume.rawValue })
            journal.forget(upTo: journal.durablePosition)
            await directory.syncNow()
            #expect(try listFolder(bench.folder.tenant(Bench.tenant)).contains(first + ".damaged"))
        }
    }

    /// Opening fails, or not, but never leaves anything behind that a later attempt stumbles over.
    @Test(arguments: [FaultyFileSystem.Call.createFolder, .create, .write, .rename])
    func openingOnAFullDisk(_ call: FaultyFileSystem.Call) async throws {
        let fileSystem = FaultyFileSystem()
        let bench = try Bench(fileSystem: fileSystem)
        let directory = try bench.open()
        fileSystem.fail(call, .noSpace)
        for _ in 0..<2 {
            let error = #expect(throws: JournalError.self) { try directory.openJournal(tenant: Bench.tenant) }
            #expect(error?.code == .diskFull)
        }
        fileSystem.heal()
        let folders = fileSystem.count(.syncFolder)
        let (journal, report) = try directory.openJournal(tenant: Bench.tenant)
        #expect(report.issues.isEmpty)
        try journal.fill(1...1)
        await directory.syncNow()
        #expect(fileSystem.count(.syncFolder) == folders + 2, "the tenant's folder and the one it was made in")
        #expect(try journal.readAll().records.count == 1)
        try await directory.close()
    }
}
