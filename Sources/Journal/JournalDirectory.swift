package import FoundationEssentials
import Synchronization
import SystemPackage

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// The owner of JOURNAL_DIR: one process at a time, one thread that writes and syncs for all tenants, one sub-folder a tenant.
///
/// Layout: `lock`, and for each tenant `<tenant id>/journal.id` and `<tenant id>/<index>-<position>.segment`. Folders are made
/// with mode 0700, files with 0600. Close it with ``close()``: its thread lives until then.
package final class JournalDirectory: Sendable {
    /// What tenants and directory share.
    final class Core: Sendable {
        let configuration: JournalConfiguration
        let thread: JournalThread
        let memory: SharedBudget
        let disk: SharedBudget
        let recent: SharedBudget
        let buffers: RowBufferPool
        /// Here, because the thread uses its descriptor of the folder.
        let lock: DirectoryLock
        let tenants = Mutex<[UUID: TenantJournal]>([:])
        private let readBuffers = Mutex<[ReadBuffer]>([])

        init(configuration: JournalConfiguration, thread: JournalThread, buffers: RowBufferPool, lock: DirectoryLock) {
            self.lock = lock
            self.configuration = configuration
            self.thread = thread
            self.buffers = buffers
            memory = SharedBudget(limit: configuration.maximumPendingBytes)
            disk = SharedBudget(limit: configuration.maximumBytes)
            recent = SharedBudget(limit: configuration.maximumRecentBytes)
        }

        func takeReadBuffer() -> ReadBuffer {
            readBuffers.withLock { $0.popLast() } ?? ReadBuffer()
        }

        func putReadBuffer(_ buffer: ReadBuffer) {
            guard buffer.isStandard else { return }
            readBuffers.withLock { if $0.count < 4 { $0.append(buffer) } }
        }

        func forget(_ tenant: TenantJournal) {
            tenants.withLock { tenants in
                if tenants[tenant.tenantID] === tenant { tenants[tenant.tenantID] = nil }
            }
        }
    }

    /// A tenant's journal on disk, open or not.
    package struct Listing: Sendable, Equatable {
        package var tenantID: UUID
        package var segments = 0
        /// Bytes of its segments.
        package var bytes: Int64 = 0
        /// Files, and their bytes, that were set aside because they could not be used: somebody should look at them.
        package var setAsideFiles = 0
        package var setAsideBytes: Int64 = 0
    }

    private enum Lifecycle {
        case open
        case closing([CheckedContinuation<JournalError?, Never>])
        case closed(JournalError?)
    }

    /// Empty buffers for encoders, and where the journal puts them when it needs their rows no more.
    package let buffers: RowBufferPool
    let core: Core
    private let rootDevice: UInt64
    private let lifecycle = Mutex(Lifecycle.open)
    /// Tenants being opened just now.
    private let opening = Mutex<Set<UUID>>([])

    /// Takes the folder, creating it when there is none. Blocks for a sync of the file system.
    /// - Throws: ``JournalError/Code/alreadyOwned``, ``JournalError/Code/notWritable``, ``JournalError/Code/inputOutput``.
    package init(_ configuration: JournalConfiguration, buffers: RowBufferPool = RowBufferPool()) throws(JournalError) {
        self.buffers = buffers
        let lock = try DirectoryLock(path: configuration.path)
        do throws(Errno) {
            rootDevice = try fileStatus(configuration.path + "/.").device
            // What a process wrote before it was killed can be read again but need not be on the disk: it counts as durable
            // from now on, so it has to be.
            try configuration.fileSystem.syncFileSystem(lock.folder)
        } catch {
            throw .system("sync the journal's folder", configuration.path, error)
        }
        let thread = JournalThread(configuration: configuration, root: lock.folder)
        core = Core(configuration: configuration, thread: thread, buffers: buffers, lock: lock)
        try thread.start()
    }

    // MARK: Tenants

    /// Opens a tenant's journal and recovers what is in it, or makes a new one. Blocks while it reads all segments once.
    ///
    /// Then tell it the database's checkpoint: ``TenantJournal/advance(to:)``, ``TenantJournal/retain(from:)`` if recovery needs
    /// older records, ``TenantJournal/forget(upTo:)``.
    /// - Parameter visit: sees every whole record, in order, stored or not.
    /// - Throws: ``JournalError/Code/alreadyOpen``, ``JournalError/Code/closed``, ``JournalError/Code/diskFull``,
    ///   ``JournalError/Code/inputOutput``. Damage is not an error but in the report.
    package func openJournal(
        tenant: UUID,
        events: JournalEvents = JournalEvents(),
        visit: (RecordHeader, UnsafeRawBufferPointer) -> Void = { _, _ in }
    ) throws(JournalError) -> (journal: TenantJournal, report: RecoveryReport) {
        let isFirst = opening.withLock { $0.insert(tenant).inserted }
        defer { if isFirst { _ = opening.withLock { $0.remove(tenant) } } }
        // In this order: whoever else was opening it has registered the journal before leaving `opening`.
        guard isFirst, core.tenants.withLock({ $0[tenant] == nil }) else {
            throw JournalError(.alreadyOpen, "the tenant's journal is open already", path: folder(of: tenant))
        }
        guard isOpen else { throw TenantJournal.closedError }
        let buffer = core.takeReadBuffer()
        defer { core.putReadBuffer(buffer) }
        var recovery = TenantRecovery(
            configuration: core.configuration,
            tenantID: tenant,
            folder: folder(of: tenant),
            rootDevice: rootDevice,
            buffer: buffer
        )
        let recovered = try recovery.run(visit)
        let journal = TenantJournal(recovered, events: events, directory: core)
        // Under the lock, so that `close()` either sees this journal or is seen here.
        let isTaken = lifecycle.withLock { lifecycle -> Bool in
            guard case .open = lifecycle else { return false }
            core.tenants.withLock { $0[tenant] = journal }
            return true
        }
        guard isTaken else { throw TenantJournal.closedError }
        return (journal, recovered.report)
    }

    private var isOpen: Bool {
        lifecycle.withLock { if case .open = $0 { true } else { false } }
    }

    private func folder(of tenant: UUID) -> String {
        core.configuration.path + "/" + tenant.uuidString.lowercased()
    }

    /// The tenants that have a folder here, open or not, so that those who vanished from the database are noticed. Blocks.
    package func listTenants() throws(JournalError) -> [Listing] {
        do throws(Errno) {
            let names = try listFolder(core.configuration.path)
            return names.compactMap { name in
                guard let tenant = UUID(uuidString: name), name == tenant.uuidString.lowercased() else { return nil }
                var listing = Listing(tenantID: tenant)
                // A folder that cannot be listed is listed without figures: it is there.
                for file in (try? listFolder(folder(of: tenant))) ?? [] {
                    guard let size = try? fileStatus(folder(of: tenant) + "/" + file).size else { continue }
                    if file.hasSuffix(SegmentName.suffix) {
                        listing.segments += 1
                        listing.bytes += size
                    } else if file.hasSuffix(SegmentName.damagedSuffix) || file.hasSuffix(SegmentName.foreignSuffix) {
                        listing.setAsideFiles += 1
                        listing.setAsideBytes += size
                    }
                }
                return listing
            }
        } catch {
            throw .system("list the journal's folder", core.configuration.path, error)
        }
    }

    // MARK: Figures

    /// Bytes of the segments of all open journals, with what is about to be written.
    package var bytesOnDisk: Int { core.disk.total }
    /// Bytes of all open journals that are not durable yet.
    package var pendingBytes: Int { core.memory.total }
    package var statistics: JournalStatistics { core.thread.statistics.withLock { $0 } }

    // MARK: Cycles and the end

    /// Writes, syncs and removes now what there is to, and returns when that was done: for tests, and for whoever cannot wait
    /// an interval. What fails is tried again by itself later.
    package func syncNow() async {
        await core.thread.runCycle()
    }

    /// Closes all tenants' journals (see ``TenantJournal/close()``) in one sync, ends the thread and gives the folder free.
    /// May be called again and then tells the same.
    /// - Throws: the first of what kept pending records from becoming durable.
    package func close() async throws(JournalError) {
        let isFirst = lifecycle.withLock { lifecycle -> Bool in
            guard case .open = lifecycle else { return false }
            lifecycle = .closing([])
            return true
        }
        let failure: JournalError?
        if isFirst {
            failure = await closeAll()
        } else {
            failure = await withCheckedContinuation { continuation in
                let done = lifecycle.withLock { lifecycle -> JournalError?? in
                    switch lifecycle {
                    case .closed(let failure): return .some(failure)
                    case .closing(let waiting): lifecycle = .closing(waiting + [continuation])
                    case .open: return .some(nil)
                    }
                    return nil
                }
                if let done { continuation.resume(returning: done) }
            }
        }
        if let failure { throw failure }
    }

    private func closeAll() async -> JournalError? {
        let tenants = core.tenants.withLock { Array($0.values) }
        for tenant in tenants { tenant.beginClose { _ in } }
        await core.thread.stop()
        var failure: JournalError?
        for tenant in tenants {
            if case .failure(let error) = tenant.state.withLock({ $0.closeResult }) { failure = failure ?? error }
        }
        core.lock.release()
        let waiting = lifecycle.withLock { lifecycle -> [CheckedContinuation<JournalError?, Never>] in
            defer { lifecycle = .closed(failure) }
            if case .closing(let waiting) = lifecycle { return waiting }
            return []
        }
        for continuation in waiting { continuation.resume(returning: failure) }
        return failure
    }
}
