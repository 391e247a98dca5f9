import FoundationEssentials
import Journal
import Logging
import Metrics
import NIOCore
import OPCUAClient
import Synchronization
import TimescaleStore

/// What all tenants share.
struct TenantEnvironment: Sendable {
    var options: IngestionOptions
    var journals: JournalDirectory
    var pool: ConnectionPool
    var metrics: ScadaMetrics
    var eventLoops: any EventLoopGroup
    var listeners: ListenerPermits
    /// nil: every connection runs here.
    var leases: ReplicaLeases?
    var logger: Logger
}

/// How many more tenants may be listened to.
final class ListenerPermits: Sendable {
    private let left: Mutex<Int>

    init(_ count: Int) { left = Mutex(count) }

    func take() -> Bool {
        left.withLock { left in
            guard left > 0 else { return false }
            left -= 1
            return true
        }
    }

    func giveBack() { left.withLock { $0 += 1 } }
}

/// One tenant's life: its journal, the writer to its database, its configuration and its connections.
actor Tenant {
    nonisolated let shared: TenantShared
    let environment: TenantEnvironment
    let registry: TenantRegistry
    let metrics: TenantMetrics
    let logger: Logger
    /// Rung when the configuration should be read now.
    nonisolated let configurationBell: Doorbell

    var journal: TenantJournal?
    var writer: TenantWriter?
    var writerTask: Task<Void, Never>?
    var maintenanceTask: Task<Void, Never>?
    var silenceTask: Task<Void, Never>?
    var listener: ChangeListener?
    var connections: [UUID: ManagedConnection] = [:]
    /// What the journal remembers of connections that do not run now.
    var memory = TenantMemory()
    var dormant: [UUID: TenantMemory.Connection] = [:]
    /// What opening the journal found to be gone.
    var lost: [Swift.Range<JournalPosition>] = []
    var isStopping = false
    var appliedOnce: [CheckedContinuation<Void, Never>] = []
    var snapshotPosition = JournalPosition.start
    var isSnapshotting = false
    /// Gaps being filled from history, oldest first for each connection; one task a connection works on them.
    var healings: [UUID: [Healing]] = [:]
    var healers: [UUID: Task<Void, Never>] = [:]
    /// Until when connections whose servers had no history are not asked for it after an overflow.
    var withoutHistory: [UUID: ContinuousClock.Instant] = [:]
    var reportedProblems: Set<RowProblem> = []
    /// The configured connections, whoever runs them.
    var plans = ConnectionPlans()
    /// With other replicas only, and so is what follows.
    var grants: [UUID: LeaseGrant] = [:]
    /// The last of the changes to what runs, which are made one after the other.
    var changes: Task<Void, Never>?
    /// Connections taken over from lost replicas whose first values have not all come.
    var takeovers: Set<UUID> = []

    /// Bytes of journal after which the tags' states are written anew, so that the journal before may go: many times what
    /// that costs, and never so much that what is kept for recovery fills the journal.
    var snapshotBytes: Int64 {
        let worthwhile = max(1 << 20, shared.tagCount() * 80 * 16)
        return Int64(min(worthwhile, environment.options.journal.maximumBytesPerTenant / 8))
    }
    /// Gaps of a connection that wait to be filled; more stay as they are.
    static let healingBound = 32
    /// For how long a server that had no history is not asked for it after an overflow.
    static let historyPause: Duration = .seconds(600)
    /// Readings of one tag read from history over one gap.
    static let historyBound = 1_000_000

    struct ManagedConnection {
        var record: ConnectionRecord
        var plan: ConnectionPlan
        var intake: ConnectionIntake
        var connection: OPCUAConnection
        var recovered: TenantShared.Running.Recovered
        var task: Task<Void, Never>
        /// Its lease; nil without other replicas.
        var grant: LeaseGrant?

        /// Time for closing session and channel in order. What is received and waits for room in a full journal does not
        /// get it by then: the server keeps it, as it was not acknowledged.
        private static let patience: Duration = .seconds(4)

        func shutDown(keepsSubscriptions: Bool) async {
            let impatience = Task {
                try await Task.sleep(for: Self.patience)
                task.cancel()
            }
            await connection.shutdown(keepSubscriptions: keepsSubscriptions)
            await task.value
            impatience.cancel()
        }
    }

    init(_ record: TenantRecord, environment: TenantEnvironment) {
        shared = TenantShared(record)
        self.environment = environment
        registry = TenantRegistry(pool: environment.pool)
        metrics = TenantMetrics(environment.metrics, tenant: record.id.uuidString.lowercased())
        var logger = environment.logger
        logger[metadataKey: "tenant_id"] = "\(record.id.uuidString.lowercased())"
        self.logger = logger
        configurationBell = Doorbell(eventLoop: environment.eventLoops.next())
    }

    var url: DatabaseURL { shared.url }

    // MARK: Life

    /// Until ``stop(graceEnd:)``. Nothing that happens to the tenant ends it.
    func run() async {
        guard await openJournal() else { return }
        await environment.leases?.join(shared.id, self)
        await prepareDatabase()
        startWriter()
        startListener()
        maintenanceTask = Task { await self.maintain() }
        watchForSilence()
        while !isStopping, !Task.isCancelled {
            let isRead = await readConfiguration()
            let pause = isRead ? environment.options.configurationPoll : .seconds(2)
            await configurationBell.wait(until: .now() + .nanoseconds(pause.nanosecondsClamped))
        }
        resumeApplied()
    }

    /// Read the configuration now; returns when it was applied, or could not be read.
    func reconfigure() async {
        guard !isStopping else { return }
        await withCheckedContinuation { continuation in
            appliedOnce.append(continuation)
            configurationBell.ring()
        }
    }

    /// The configuration changed: read it soon.
    nonisolated func configurationChanged() { configurationBell.ring() }

    /// Stops intake, makes durable what was received, and stores it if the database lets it until `graceEnd`.
    /// - Parameter keepsSubscriptions: the servers keep queueing for the next run of the process.
    func stop(graceEnd: ContinuousClock.Instant, keepsSubscriptions: Bool) async {
        isStopping = true
        configurationBell.ring()
        maintenanceTask?.cancel()
        silenceTask?.cancel()
        if let listener {
            listener.stop()
            environment.listeners.giveBack()
            self.listener = nil
        }
        for healer in healers.values { healer.cancel() }
        await changes?.value
        let running = Array(connections.values)
        await withTaskGroup(of: Void.self) { group in
            for connection in running {
                group.addTask { await connection.shutDown(keepsSubscriptions: keepsSubscriptions) }
            }
        }
        await writeSnapshot()
        if let journal {
            await environment.journals.syncNow()
            await giveUpLeases()
            if let writer, let writerTask {
                await writer.finish()
                let deadline = Task {
                    try? await Task.sleep(until: graceEnd, clock: .continuous)
                    writerTask.cancel()
                }
                await writerTask.value
                deadline.cancel()
            }
            let backlog = journal.backlogRows
            do throws(JournalError) { try await journal.close() } catch {
                logger.error("the journal could not be closed in order", metadata: ["error": "\(error)"])
            }
            if backlog > 0 {
                logger.notice("readings stay in the journal for the next start", metadata: ["count": "\(backlog)"])
            }
        }
        metrics.remove()
        resumeApplied()
    }

    func resumeApplied() {
        let waiting = appliedOnce
        appliedOnce = []
        for continuation in waiting { continuation.resume() }
    }

    // MARK: Configuration

    func readConfiguration() async -> Bool {
        defer { resumeApplied() }
        do throws(StoreError) {
            let configuration = try await registry.configuration(of: url, unless: plans.fingerprint)
            if isStopping { return true }
            let wasAway = shared.state.withLock { state in
                defer {
                    state.configurationError = nil
                    state.hasConfiguration = true
                }
                return state.configurationError != nil
            }
            if wasAway { await writer?.retryNow() }
            if environment.leases != nil { await writer?.verifyCheckpoint() }
            await apply(configuration)
            return true
        } catch {
            let isNew = shared.state.withLock { state in
                defer { state.configurationError = error }
                return state.configurationError?.code != error.code
            }
            if isNew, error.code != .cancelled {
                logger.error(
                    "the configuration cannot be read; running connections go on",
                    metadata: ["database": "\(url)", "error": "\(error)"]
                )
            }
            return false
        }
    }

    /// - Parameter configuration: nil when it is the last one: what could not be started or changed then is tried again.
    func apply(_ configuration: TenantConfiguration?) async {
        if let configuration {
            plans = ConnectionPlans(
                configuration,
                last: plans,
                defaults: environment.options.connections,
                openPassword: environment.options.openPassword
            )
            report(plans.problems)
        }
        if environment.leases != nil {
            await serially { await $0.applyWithLeases() }
        } else {
            await run(plans.usable)
        }
    }

    /// Starts, changes and ends connections until these run, and no others.
    func run(_ plans: [UUID: ConnectionPlans.Planned]) async {
        for id in connections.keys where plans[id] == nil { await end(id) }
        for (id, wanted) in plans {
            if isStopping { return }
            guard let running = connections[id] else {
                await start(wanted.record, wanted.plan)
                continue
            }
            if wanted.plan.needsRestart(from: running.plan) {
                await end(id)
                if !isStopping { await start(wanted.record, wanted.plan) }
            } else if wanted.plan.tags != running.plan.tags || wanted.record != running.record {
                await change(id, wanted.record, wanted.plan)
            }
        }
        publish()
    }

    /// Each problem is logged once, not at every poll.
    func report(_ problems: [RowProblem]) {
        let present = Set(problems)
        for problem in problems where !reportedProblems.contains(problem) {
            logger.warning("configuration: \(problem)")
        }
        reportedProblems = present
        shared.set(problems: problems)
    }

    func publish() {
        let running = connections.mapValues {
            TenantShared.Running(record: $0.record, plan: $0.plan, intake: $0.intake, recovered: $0.recovered)
        }
        shared.state.withLock { $0.running = running }
    }
}
