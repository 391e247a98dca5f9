import Synchronization
import SystemPackage

/// A file that was written since it was last synced.
struct DirtyFile {
    var file: FileDescriptor
    /// The file is sealed: nobody needs its descriptor after the sync.
    var closesAfterSync: Bool
}

extension JournalThread {
    /// One round over the tenants that have something to do.
    func cycle(_ scheduled: [TenantJournal], isForced: Bool) {
        statistics.withLock { $0.cycles += 1 }
        let now = monotonicNanoseconds()
        var tenants = scheduled
        for (tenant, time) in retries.values where isForced || time <= now {
            retries[ObjectIdentifier(tenant)] = nil
            tenants.append(tenant)
        }
        var seen = Set<ObjectIdentifier>()
        tenants.removeAll { !seen.insert(ObjectIdentifier($0)).inserted || $0.isClosed }

        for tenant in tenants {
            let isWaiting = retries[ObjectIdentifier(tenant)] != nil && !isForced
            tenant.writePending(isWaiting: isWaiting)
        }
        let dirty = tenants.filter(\.needsSync)
        if !dirty.isEmpty { sync(dirty) }
        for tenant in tenants { tenant.settle() }
        // What one tenant freed may be what another's appends wait for, in this cycle or since long, and nothing else wakes
        // those.
        let waiting = blocked.filter { !seen.contains(ObjectIdentifier($0)) && !$0.isClosed }
        blocked = (waiting + tenants).filter(\.hasWaiters)
        for tenant in blocked { tenant.settle() }
        for tenant in tenants + waiting {
            retries[ObjectIdentifier(tenant)] = tenant.retryTime.map { (tenant, $0) }
        }
        closeSurplusFiles(tenants)
    }

    /// Makes durable what `tenants` wrote, and tells each how it went.
    private func sync(_ tenants: [TenantJournal]) {
        let together = tenants.filter(\.isOnRootFileSystem)
        let alone = tenants.filter { !$0.isOnRootFileSystem }
        if !alone.isEmpty { syncOneByOne(alone) }
        guard !together.isEmpty else { return }
        if together.reduce(0, { $0 + $1.syncCount }) <= configuration.maximumIndividualSyncs {
            syncOneByOne(together)
            return
        }
        let start = monotonicNanoseconds()
        statistics.withLock { $0.fileSystemSyncs += 1 }
        do throws(Errno) {
            try configuration.fileSystem.syncFileSystem(root)
            report(start, .fileSystem, together.map { finish($0, checkFiles(of: $0)) })
        } catch {
            configuration.observer.onError(.system("sync the file system", configuration.path, error))
            // The failed write may be anybody's: only the files themselves can tell whose. fdatasync(2) reports a failure
            // that this descriptor has not been told of, so nothing is lost by asking after the fact.
            syncOneByOne(together)
        }
    }

    private func syncOneByOne(_ tenants: [TenantJournal]) {
        let start = monotonicNanoseconds()
        let count = tenants.reduce(0) { $0 + $1.syncCount }
        report(start, .files(count), tenants.map { finish($0, syncFiles(of: $0)) })
    }

    private func report(_ start: UInt64, _ method: JournalSyncMethod, _ results: [Int?]) {
        let bytes = results.compactMap { $0 }
        guard !bytes.isEmpty else { return }
        statistics.withLock { $0.groupSyncs += 1 }
        let duration = Duration.nanoseconds(Int64(monotonicNanoseconds() - start))
        configuration.observer.onSync(duration, method, bytes.reduce(0, +))
    }

    /// - Returns: bytes made durable, nil when the sync failed.
    private func finish(_ tenant: TenantJournal, _ failure: JournalError?) -> Int? {
        guard let failure else { return tenant.publishDurable() }
        statistics.withLock { $0.syncFailures += 1 }
        tenant.rewriteUnsynced(after: failure)
        return nil
    }

    private func syncFiles(of tenant: TenantJournal) -> JournalError? {
        let fileSystem = configuration.fileSystem
        do throws(Errno) {
            for dirty in tenant.writer.dirtyFiles {
                statistics.withLock { $0.fileSyncs += 1 }
                try fileSystem.sync(dirty.file)
            }
            for path in tenant.writer.dirtyFolders {
                statistics.withLock { $0.fileSyncs += 1 }
                let folder = try openFolder(path)
                defer { closeQuietly(folder) }
                try fileSystem.syncFolder(folder)
            }
            return nil
        } catch {
            return .system("sync the journal", tenant.folder, error)
        }
    }

    private func checkFiles(of tenant: TenantJournal) -> JournalError? {
        do throws(Errno) {
            for dirty in tenant.writer.dirtyFiles { try configuration.fileSystem.checkWriteOut(dirty.file) }
            return nil
        } catch {
            return .system("sync the journal", tenant.folder, error)
        }
    }

    /// With a thousand tenants, a thousand descriptors would be too many: those just synced are opened again when needed.
    private func closeSurplusFiles(_ tenants: [TenantJournal]) {
        for tenant in tenants where openFiles > configuration.maximumOpenFiles {
            tenant.writer.closeActiveIfClean()
        }
    }
}
