import FoundationEssentials
import SystemPackage
import Testing

@testable import Journal

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

@Suite(.timeLimit(.minutes(5))) struct DirectoryTests {
    @Test func manyTenantsBecomeDurableInOneCycle() async throws {
        let bench = try Bench()
        let directory = try bench.open()
        var syncs: [Int] = []
        // With so many new folders the first cycle needs more; what counts is the steady state.
        var journals: [TenantJournal] = []
        for number in 0..<60 as Range<UInt8> {
            journals.append(try directory.openJournal(tenant: UUID(number: number), events: bench.probe.events).journal)
        }
        for (round, count) in [60, 10, 20, 60].enumerated() {
            for journal in journals[..<count] { try journal.fill(UInt32(round)...UInt32(round)) }
            let before = directory.statistics
            await directory.syncNow()
            let after = directory.statistics
            #expect(after.groupSyncs == before.groupSyncs + 1)
            #expect(after.cycles == before.cycles + 1)
            syncs.append(after.fileSyncs + after.fileSystemSyncs - before.fileSyncs - before.fileSystemSyncs)
            #expect(journals[..<count].allSatisfy { $0.durablePosition == $0.endPosition })
        }
        #expect(syncs == [1, 1, 1, 1], "the number of syncs does not grow with the tenants")
        #expect(bench.probe.durable.count == 60)
        #expect(bench.probe.syncs == [.fileSystem, .fileSystem, .fileSystem, .fileSystem])
        for journal in journals[..<3] { try journal.fill(9...9) }
        await directory.syncNow()
        #expect(bench.probe.syncs.last == .files(3), "a few files are synced one by one")
        try await directory.close()
    }

    @Test func descriptorsAreBounded() async throws {
        var bench = try Bench()
        bench.configuration.maximumOpenFiles = 5
        let directory = try bench.open()
        let journals = try (0..<20 as Range<UInt8>).map { try directory.openJournal(tenant: UUID(number: $0)).journal }
        for round in 1...3 as ClosedRange<UInt32> {
            for journal in journals { try journal.fill(round...round) }
            await directory.syncNow()
            #expect(directory.core.thread.openFiles <= 5)
        }
        for journal in journals {
            #expect(try journal.readAll().records.map(\.number) == [1, 2, 3])
            #expect(try listFolder(bench.folder.tenant(journal.tenantID)).count == 2, "it goes on in the same file")
        }
        try await directory.close()
    }

    @Test func aSecondOwnerIsRefused() async throws {
        let bench = try Bench()
        let directory = try bench.open()
        let error = #expect(throws: JournalError.self) { try bench.open() }
        #expect(error?.code == .alreadyOwned)
        #expect(error?.ownerProcessID == getpid())
        #expect(error?.path == bench.folder.path)
        #expect(error?.isRetryable == true)
        try await directory.close()
        try await bench.open().close()
    }

    @Test func aTenantIsOpenOnce() async throws {
        let bench = try Bench()
        try await bench.run { directory, _, _ in
            let error = #expect(throws: JournalError.self) { try directory.openJournal(tenant: Bench.tenant) }
            #expect(error?.code == .alreadyOpen)
        }
    }

    /// Many threads at once: exactly one gets it.
    @Test func aTenantIsOpenOnceWhoeverAsks() async throws {
        let bench = try Bench()
        let directory = try bench.open()
        for number in 0..<30 as Range<UInt8> {
            let opened = await withTaskGroup(of: Bool.self) { group in
                for _ in 0..<6 {
                    group.addTask { (try? directory.openJournal(tenant: UUID(number: number))) != nil }
                }
                return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
            #expect(opened == 1)
        }
        try await directory.close()
    }

    @Test func foldersAndFilesAreTheOwnersAlone() async throws {
        let folder = try TestFolder()
        var bench = try Bench(folder: folder)
        bench.configuration.path = folder.path + "/a/b"
        let tenant = bench.configuration.path + "/" + Bench.tenant.uuidString.lowercased()
        try await bench.run { directory, journal, _ in
            try journal.fill(1...1)
            await directory.syncNow()
            for path in [folder.path + "/a", bench.configuration.path, tenant] { #expect(try mode(of: path) == 0o700) }
            let names = try listFolder(tenant)
            #expect(names.count == 2)
            for name in names { #expect(try mode(of: tenant + "/" + name) == 0o600) }
            #expect(try mode(of: bench.configuration.path + "/lock") == 0o600)
        }
    }

    @Test func aFolderThatCannotBeMadeIsRefusedByName() throws {
        let folder = try TestFolder()
        try write([], to: folder.path + "/file")
        for path in [folder.path + "/file", folder.path + "/file/below", "/proc/no/such"] {
            let error = #expect(throws: JournalError.self) { try JournalDirectory(JournalConfiguration(path: path)) }
            #expect(error?.code == .notWritable)
            #expect(error?.path == path || error?.path.map(path.hasPrefix) == true)
            #expect(error?.description.contains("JOURNAL_DIR") == true)
        }
    }

    @Test(.enabled(if: geteuid() != 0, "root may write everywhere"))
    func aFolderThatCannotBeWrittenIsRefusedByName() throws {
        let folder = try TestFolder()
        #expect(chmod(folder.path, 0o500) == 0)
        defer { chmod(folder.path, 0o700) }
        let error = #expect(throws: JournalError.self) { try JournalDirectory(JournalConfiguration(path: folder.path)) }
        #expect(error?.code == .notWritable)
    }

    @Test func listing() async throws {
        let bench = try Bench()
        try await bench.run { directory, journal, _ in
            try journal.fill(1...2)
            await directory.syncNow()
            let other = bench.folder.tenant(UUID(number: 5))
            #expect(mkdir(other, 0o700) == 0)
            try write([1, 2, 3], to: other + "/0000000001-0000000000000000000.segment.damaged")
            #expect(mkdir(bench.folder.path + "/lost+found", 0o700) == 0)
            let listed = try directory.listTenants()
            #expect(
                listed == [
                    .init(tenantID: Bench.tenant, segments: 1, bytes: Int64(SegmentHeader.size + 200)),
                    .init(tenantID: UUID(number: 5), setAsideFiles: 1, setAsideBytes: 3),
                ]
            )
        }
    }

    @Test func closingAllAtOnce() async throws {
        let bench = try Bench()
        let directory = try bench.open()
        var journals: [TenantJournal] = []
        for number in 0..<8 as Range<UInt8> {
            let journal = try directory.openJournal(tenant: UUID(number: number), events: bench.probe.events).journal
            try journal.fill(1...5)
            journals.append(journal)
        }
        async let first: Void = directory.close()
        async let second: Void = directory.close()
        _ = try await (first, second)
        #expect(journals.allSatisfy { $0.currentState == .closed && $0.durablePosition.rawValue == 500 })
        #expect(bench.probe.durable.values.allSatisfy { $0 == [500] })
        #expect(directory.bytesOnDisk == 0 && directory.pendingBytes == 0, "the budgets are settled")
        try await journals[0].close()
    }

    /// The folder is given free only when the last cycle has ended, however the thread and the close race.
    @Test func closingWaitsForTheLastCycle() async throws {
        let fileSystem = FaultyFileSystem()
        let bench = try Bench(fileSystem: fileSystem)
        fileSystem.set { call in
            // Long enough for whoever does not wait to be found out.
            if call == .sync { usleep(2000) }
            return .pass
        }
        for round in 0..<40 as Range<UInt32> {
            let directory = try bench.open()
            let journal = try directory.openJournal(tenant: Bench.tenant).journal
            let end = try journal.fill(round...round).last?.end
            async let cycle: Void = directory.syncNow()
            try await directory.close()
            #expect(journal.currentState == .closed, "round \(round)")
            #expect(journal.durablePosition.rawValue == end, "round \(round)")
            await cycle
        }
    }

    /// Appends, syncs and the close race; nothing is lost and nothing hangs.
    @Test func closingWhileOthersAppend() async throws {
        for round in 0..<10 {
            let bench = try Bench()
            let directory = try bench.open()
            let journal = try directory.openJournal(tenant: Bench.tenant, events: bench.probe.events).journal
            let ends = await withTaskGroup(of: [Int64].self) { group in
                for writer in 0..<3 as Range<UInt32> {
                    group.addTask {
                        var ends: [Int64] = []
                        for number in 0..<50 as Range<UInt32> {
                            guard let end = try? await journal.append(Sample.record(writer * 100 + number)) else {
                                break
                            }
                            ends.append(end.rawValue)
                        }
                        return ends
                    }
                }
                group.addTask {
                    await directory.syncNow()
                    try? await directory.close()
                    return []
                }
                return await group.reduce(into: []) { $0 += $1 }
            }
            #expect(journal.currentState == .closed, "round \(round)")
            #expect(journal.durablePosition.rawValue == ends.max() ?? 0, "round \(round)")
            let read = try journal.readAll()
            #expect(read.genuine && read.records.map(\.end) == ends.sorted(), "round \(round)")
        }
    }
}
