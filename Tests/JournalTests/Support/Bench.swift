import FoundationEssentials
import Synchronization

@testable import Journal

/// What a journal told its owner.
final class Probe: Sendable {
    struct Told {
        var durable: [UUID: [Int64]] = [:]
        var states: [UUID: [JournalState]] = [:]
        var abandoned: [Seen] = []
        var errors: [JournalError] = []
        var syncs: [JournalSyncMethod] = []
    }

    private let told = Mutex(Told())

    var durable: [UUID: [Int64]] { told.withLock { $0.durable } }
    var states: [UUID: [JournalState]] { told.withLock { $0.states } }
    var abandoned: [Seen] { told.withLock { $0.abandoned } }
    var errors: [JournalError] { told.withLock { $0.errors } }
    var syncs: [JournalSyncMethod] { told.withLock { $0.syncs } }

    var events: JournalEvents {
        var events = JournalEvents()
        events.onDurable = { journal, position in
            self.told.withLock { $0.durable[journal.tenantID, default: []].append(position.rawValue) }
        }
        events.onStateChange = { journal, state in
            self.told.withLock { $0.states[journal.tenantID, default: []].append(state) }
        }
        events.onAbandoned = { _, headers in
            self.told.withLock { $0.abandoned.append(contentsOf: headers.map(Seen.init)) }
        }
        return events
    }

    var observer: JournalObserver {
        var observer = JournalObserver()
        observer.onError = { error in self.told.withLock { $0.errors.append(error) } }
        observer.onSync = { _, method, _ in self.told.withLock { $0.syncs.append(method) } }
        return observer
    }
}

/// A journal directory in a folder of its own, in which nothing happens by the clock: cycles run when asked for, or when an
/// append has to wait.
struct Bench {
    let folder: TestFolder
    let probe = Probe()
    var configuration: JournalConfiguration

    static let tenant = UUID(number: 1)

    init(folder: TestFolder? = nil, fileSystem: (any JournalFileSystem)? = nil) throws {
        self.folder = try folder ?? TestFolder()
        configuration = JournalConfiguration(path: self.folder.path)
        configuration.syncInterval = .seconds(3600)
        configuration.retryDelay = .seconds(3600)
        configuration.maximumRetryDelay = .seconds(3600)
        configuration.observer = probe.observer
        // What the tests read is read from the files, unless they say otherwise.
        configuration.maximumRecentBytes = 0
        if let fileSystem { configuration.fileSystem = fileSystem }
    }

    func open() throws -> JournalDirectory {
        try JournalDirectory(configuration)
    }

    /// Opens the directory and the one tenant's journal, and sees to it that both are closed.
    func run(
        tenant: UUID = Bench.tenant,
        _ body: (JournalDirectory, TenantJournal, RecoveryReport) async throws -> Void
    ) async throws {
        let directory = try open()
        do {
            let (journal, report) = try directory.openJournal(tenant: tenant, events: probe.events)
            try await body(directory, journal, report)
        } catch {
            try? await directory.close()
            throw error
        }
        try? await directory.close()
    }

    var segmentFiles: [String] {
        get throws { try listFolder(folder.tenant(Self.tenant)).filter { $0.hasSuffix(SegmentName.suffix) } }
    }
}
