import FoundationEssentials
import Journal
import Logging
import Metrics
import NIOCore
import NIOPosix
import OPCUAClient
import OPCUACodec
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
    private nonisolated let configurationBell: Doorbell

    private(set) var journal: TenantJournal?
    private(set) var writer: TenantWriter?
    private var writerTask: Task<Void, Never>?
    private var maintenanceTask: Task<Void, Never>?
    private var silenceTask: Task<Void, Never>?
    private var listener: ChangeListener?
    var connections: [UUID: ManagedConnection] = [:]
    /// What the journal remembers of connections that do not run now.
    private var memory = TenantMemory()
    var dormant: [UUID: TenantMemory.Connection] = [:]
    /// What opening the journal found to be gone.
    private var lost: [Swift.Range<JournalPosition>] = []
    private(set) var isStopping = false
    private var appliedOnce: [CheckedContinuation<Void, Never>] = []
    private var snapshotPosition = JournalPosition.start
    private var isSnapshotting = false
    /// Gaps being filled from history, oldest first for each connection; one task a connection works on them.
    var healings: [UUID: [Healing]] = [:]
    var healers: [UUID: Task<Void, Never>] = [:]
    /// Until when connections whose servers had no history are not asked for it after an overflow.
    private var withoutHistory: [UUID: ContinuousClock.Instant] = [:]
    private var reportedProblems: Set<RowProblem> = []
    /// The configured connections, whoever runs them; with other replicas only, and so is what follows.
    var plans: [UUID: (record: ConnectionRecord, plan: ConnectionPlan)] = [:]
    var grants: [UUID: LeaseGrant] = [:]
    /// The last of the changes to what runs, which are made one after the other.
    var changes: Task<Void, Never>?
    /// Connections taken over from lost replicas whose first values have not all come.
    var takeovers: Set<UUID> = []

    /// Bytes of journal after which the tags' states are written anew, so that the journal before may go: many times what
    /// that costs, and never so much that what is kept for recovery fills the journal.
    private var snapshotBytes: Int64 {
        let worthwhile = max(1 << 20, shared.tagCount() * 80 * 16)
        return Int64(min(worthwhile, environment.options.journal.maximumBytesPerTenant / 8))
    }
    /// Gaps of a connection that wait to be filled; more stay as they are.
    private static let healingBound = 32
    /// For how long a server that had no history is not asked for it after an overflow.
    private static let historyPause: Duration = .seconds(600)
    /// Readings of one tag read from history over one gap.
    private static let historyBound = 1_000_000

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

    private func resumeApplied() {
        let waiting = appliedOnce
        appliedOnce = []
        for continuation in waiting { continuation.resume() }
    }

    // MARK: Journal and database

    /// - Returns: false when the tenant was stopped before it could be opened.
    private func openJournal() async -> Bool {
        let id = shared.id
        let shared = shared
        var events = JournalEvents()
        events.onDurable = { _, position in
            let (intakes, writer) = shared.state.withLock { ($0.running.values.map(\.intake), $0.writer) }
            for intake in intakes { intake.journalIsDurable(upTo: position) }
            writer?.doorbell.ring()
        }
        let logger = logger
        events.onAbandoned = { [weak self] _, records in
            // Told by the journal's thread, which must not wait.
            let gaps = Self.abandoned(records)
            Task { await self?.record(gaps) }
        }
        events.onStateChange = { _, state in
            if state == .open {
                logger.notice("the journal takes readings again")
            } else if state != .closed {
                logger.error("the journal is \(state)")
            }
        }
        while !isStopping {
            do {
                let journals = environment.journals
                let handed = events
                let opened = try await NIOThreadPool.singleton.runIfActive {
                    var memory = TenantMemory()
                    let (journal, report) = try journals.openJournal(tenant: id, events: handed) { header, payload in
                        memory.visit(header, payload)
                    }
                    return Opened(journal: journal, report: report, memory: memory)
                }
                if isStopping {
                    // `stop` found no journal to close.
                    try await opened.journal.close()
                    return false
                }
                take(opened)
                return true
            } catch {
                logger.error("the journal cannot be opened; trying again", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: .seconds(5))
                if Task.isCancelled { return false }
            }
        }
        return false
    }

    private struct Opened: @unchecked Sendable {
        // Handed from the thread that made it to the actor, once.
        var journal: TenantJournal
        var report: RecoveryReport
        var memory: TenantMemory
    }

    private func take(_ opened: Opened) {
        let journal = opened.journal
        self.journal = journal
        memory = opened.memory
        dormant = opened.memory.connections
        for healing in opened.memory.healings.values.sorted(by: { $0.gap.startedAtMicros < $1.gap.startedAtMicros }) {
            healings[healing.gap.connectionID, default: []].append(healing)
        }
        journal.retain(from: journal.oldestPosition)
        snapshotPosition = journal.oldestPosition
        shared.state.withLock { $0.journal = journal }
        for issue in opened.report.issues {
            logger.error("journal: \(issue)")
            metrics.journalDamaged()
            // A torn tail was never durable: the server has not been told that it arrived, and sends it again.
            if issue.kind != .tornTail, let positions = issue.lost { lost.append(positions) }
        }
        if opened.report.rows > 0 {
            logger.info(
                "journal recovered",
                metadata: ["count": "\(opened.report.rows)", "segments": "\(opened.report.segments)"]
            )
        }
    }

    /// Brings the schema up to date, as often as it takes to reach the database.
    private func prepareDatabase() async {
        guard environment.options.migratesTenants else { return }
        var delay = Duration.milliseconds(500)
        var isReported = false
        while !isStopping, !Task.isCancelled {
            do throws(StoreError) {
                let report = try await Migrator(settings: environment.options.storage)
                    .migrateTenant(url, pool: environment.pool)
                logger.info(
                    "database ready",
                    metadata: [
                        "database": "\(url)", "edition": "\(report.edition)",
                        "migrations": "\(report.applied.joined(separator: " "))",
                    ]
                )
                for notice in report.notices { logger.notice("\(notice)", metadata: ["database": "\(url)"]) }
                shared.state.withLock { state in
                    state.configurationError = nil
                    state.database = report.edition.description
                }
                return
            } catch {
                shared.state.withLock { $0.configurationError = error }
                if !error.isRetryable && error.code != .schema || error.sqlState == "42501" {
                    logger.warning(
                        "the schema could not be brought up to date; going on with what is there",
                        metadata: ["database": "\(url)", "error": "\(error)"]
                    )
                    return
                }
                if !isReported {
                    isReported = true
                    logger.error(
                        "the tenant's database cannot be used yet; trying again",
                        metadata: ["database": "\(url)", "error": "\(error)"]
                    )
                }
                await configurationBell.wait(until: .now() + .nanoseconds(delay.nanosecondsClamped))
                resumeApplied()
                delay = min(delay * 2, .seconds(15))
            }
        }
    }

    private func startWriter() {
        guard let journal, !isStopping else { return }
        let shared = shared
        let metrics = metrics
        let logger = logger
        var settings = TenantWriter.Settings()
        settings.maximumRows = environment.options.maximumBufferSize
        settings.interval = environment.options.aggregationInterval
        settings.directCompress = environment.options.directCompress
        settings.abandonsOldest = environment.options.journal.fullPolicy == .dropOldest
        settings.gate = environment.leases?.gate
        let writer = TenantWriter(
            url: url,
            journal: journal,
            pool: environment.pool,
            lost: lost,
            settings: settings,
            metrics: metrics,
            eventLoop: environment.eventLoops.next(),
            logger: logger,
            tagCount: { shared.tagCount() },
            connectionOfTag: { shared.connection(of: $0, $1) },
            connections: { shared.intakes().map(\.connectionID) },
            gapFound: { gap in
                metrics.gap(gap.cause)
                shared.note(gap)
                logger.warning("gap", metadata: Self.metadata(gap))
            }
        )
        // What history was read for must not take others in.
        for gap in memory.gaps { writer.gaps.note(gap, merges: false) }
        self.writer = writer
        shared.state.withLock { $0.writer = writer }
        writerTask = Task { await writer.run() }
    }

    private func startListener() {
        guard !isStopping, environment.listeners.take() else { return }
        do throws(StoreError) {
            listener = try ChangeListener(url) { [configurationBell] in configurationBell.ring() }
        } catch {
            environment.listeners.giveBack()
            logger.warning(
                "changes of the configuration are noticed by polling only",
                metadata: ["error": "\(error)"]
            )
        }
    }

    private func watchForSilence() {
        guard let after = environment.options.silentTagAfter, !isStopping else { return }
        let sampler = SilenceSampler(shared: shared, after: after, logger: logger)
        silenceTask = Task {
            var sampler = sampler
            await sampler.run()
        }
    }

    /// Partitions ahead and behind, snapshots of the tags' states.
    private func maintain() async {
        var partitionsAt = ContinuousClock.now
        while !Task.isCancelled {
            if ContinuousClock.now >= partitionsAt {
                partitionsAt = .now + .seconds(3600)
                do throws(StoreError) {
                    let report = try await PartitionMaintenance(settings: environment.options.storage)
                        .run(url, pool: environment.pool)
                    for problem in report.problems {
                        logger.warning("partition maintenance", metadata: ["error": "\(problem)"])
                    }
                } catch {
                    partitionsAt = .now + .seconds(60)
                    if error.code != .cancelled {
                        logger.warning("partitions could not be looked after", metadata: ["error": "\(error)"])
                    }
                }
            }
            if let journal, journal.endPosition.rawValue - snapshotPosition.rawValue > snapshotBytes {
                await writeSnapshot()
            }
            try? await Task.sleep(for: .seconds(2))
        }
    }

    // MARK: Configuration

    private func readConfiguration() async -> Bool {
        defer { resumeApplied() }
        do throws(StoreError) {
            let configuration = try await registry.configuration(of: url)
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

    private func apply(_ configuration: TenantConfiguration) async {
        var problems = configuration.problems
        var plans: [UUID: (record: ConnectionRecord, plan: ConnectionPlan)] = [:]
        for record in configuration.connections {
            // Nearly always: the same as at the last poll, of which what is kept already serves.
            if let running = connections[record.id], running.record == record {
                problems += running.plan.problems
                plans[record.id] = (running.record, running.plan)
                continue
            }
            do throws(RowProblem) {
                let plan = try ConnectionPlan(
                    record,
                    defaults: environment.options.connections,
                    openPassword: environment.options.openPassword
                )
                problems += plan.problems
                plans[record.id] = (record, plan)
            } catch {
                problems.append(error)
            }
        }
        report(problems)
        if environment.leases != nil {
            self.plans = plans
            await serially { await $0.applyWithLeases() }
        } else {
            await run(plans)
        }
    }

    /// Starts, changes and ends connections until these run, and no others.
    func run(_ plans: [UUID: (record: ConnectionRecord, plan: ConnectionPlan)]) async {
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
    private func report(_ problems: [RowProblem]) {
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

    // MARK: Connections

    private func start(_ record: ConnectionRecord, _ plan: ConnectionPlan) async {
        guard let journal else { return }
        let id = record.id
        let reverse = environment.options.reverse
        let dialsIn = plan.configuration.endpointURLs.contains { EndpointURL.isReverse($0) }
        // A socket stays on the event loop that took it.
        let loop = dialsIn ? reverse?.eventLoop ?? environment.eventLoops.next() : environment.eventLoops.next()
        var logger = logger
        logger[metadataKey: "connection_id"] = "\(id.uuidString.lowercased())"
        let intake = ConnectionIntake(
            connectionID: id,
            endpointURL: record.endpointURL,
            eventLoop: loop,
            journal: journal,
            buffers: environment.journals.buffers,
            pass: grants[id]?.pass,
            events: events(of: id, logger),
            logger: logger
        )
        let takeOver = await inherit(id, plan)
        let remembered = dormant.removeValue(forKey: id) ?? TenantMemory.Connection()
        var configuration = plan.configuration
        configuration.restored = remembered.restorable(endpointURL: record.endpointURL)
        let tags = plan.tags
        do {
            configuration.items = try await loop.submit {
                intake.restore(remembered)
                let items = intake.specifications(tags)
                if let takeOver { intake.takeOver(takeOver) }
                return items
            }.get()
        } catch {
            logger.error("the connection could not be started", metadata: ["error": "\(error)"])
            return
        }
        await settleIn(id, intake)
        if isStopping { return }
        let connection = OPCUAConnection(
            configuration: configuration,
            eventLoop: loop,
            consumer: intake,
            logger: logger,
            security: environment.options.security,
            reverse: reverse
        )
        loop.execute { intake.connection = connection }
        connections[id] = ManagedConnection(
            record: record,
            plan: plan,
            intake: intake,
            connection: connection,
            recovered: TenantShared.Running.Recovered(),
            task: Task { await connection.run() },
            grant: grants[id]
        )
        publish()
        startHealer(id)
        logger.info(
            "connection started",
            metadata: ["endpoint": "\(record.endpointURL)", "tags": "\(plan.tags.count)"]
        )
    }

    private func change(_ id: UUID, _ record: ConnectionRecord, _ plan: ConnectionPlan) async {
        guard let running = connections[id] else { return }
        if plan.tags != running.plan.tags {
            let intake = running.intake
            let tags = plan.tags
            guard let items = try? await intake.eventLoop.submit({ intake.specifications(tags) }).get() else { return }
            await running.connection.update(items: items)
            logger.info(
                "tags changed",
                metadata: ["connection_id": "\(id.uuidString.lowercased())", "tags": "\(plan.tags.count)"]
            )
        }
        connections[id]?.record = record
        connections[id]?.plan = plan
    }

    /// The connection is gone from the configuration, or is started anew: the server shall forget it.
    private func end(_ id: UUID) async {
        guard let running = connections[id] else { return }
        await running.shutDown(keepsSubscriptions: false)
        healers[id]?.cancel()
        connections[id] = nil
        if let memory = await remember(running) { dormant[id] = memory }
        publish()
        metrics.remove(connection: id.uuidString.lowercased())
        logger.info("connection ended", metadata: ["connection_id": "\(id.uuidString.lowercased())"])
    }

    /// What a connection leaves behind: the states of its tags, no subscriptions.
    func remember(_ running: ManagedConnection) async -> TenantMemory.Connection? {
        let intake = running.intake
        return try? await intake.eventLoop.submit { intake.memory() }.get()
    }

    private func events(of id: UUID, _ logger: Logger) -> IntakeEvents {
        let metrics = metrics
        let name = id.uuidString.lowercased()
        let lastError = Deduplicator()
        var events = IntakeEvents()
        events.statusChanged = { status in
            guard let error = lastError.new(status) else { return }
            metrics.connectionError(name, error)
        }
        events.gap = { [weak self] gap in
            Task { await self?.record(gap, of: id) }
        }
        if environment.leases != nil, let checks = writer?.checks {
            events.firstAfterTakeover = { [weak self] in
                checks.begin()
                Task { await self?.checkFirstValues() }
            }
        }
        events.itemStatus = { key, status in
            if status.isBad {
                logger.warning(
                    "tag has no values for now; it is tried again",
                    metadata: ["tag_node_id": "\(key.nodeID)", "status": "\(status)"]
                )
            } else {
                logger.info("tag is watched", metadata: ["tag_node_id": "\(key.nodeID)"])
            }
        }
        return events
    }

    // MARK: Memory for the next run

    func append(_ kind: RecordKind, of source: UUID, _ payload: RowBuffer) async {
        guard let journal else { return }
        do throws(JournalError) {
            _ = try await journal.append(.note(kind, source: source, payload), priority: .reserve)
        } catch {
            logger.error("the journal refused a record", metadata: ["error": "\(error)"])
        }
    }

    /// Writes the states of all tags, so that what lies before in the journal is not needed for recovery any more.
    private func writeSnapshot() async {
        guard let journal, !isSnapshotting else { return }
        isSnapshotting = true
        defer { isSnapshotting = false }
        let start = journal.endPosition
        for (id, remembered) in dormant where connections[id] == nil {
            let states = remembered.states.map { (key: $0.key, state: $0.value) }
            await append(.tagStates, of: id, TagStateRecord(states: states).encoded())
            // There after a start whose configuration has not been read yet.
            if let gap = remembered.openGap { await append(.openGap, of: id, gap.encoded()) }
            if let subscriptions = remembered.continuedSubscriptions {
                await append(.subscriptions, of: id, subscriptions.encoded())
            }
        }
        for running in connections.values {
            let intake = running.intake
            guard (try? await intake.eventLoop.submit { intake.appendSnapshot() }.get()) != nil else { return }
        }
        for healing in healings.values.joined() {
            await append(.healing, of: healing.gap.connectionID, HealingRecord.encoded(healing))
        }
        // What lies before may go only when this is on the disk.
        await environment.journals.syncNow()
        guard journal.durablePosition >= start else { return }
        journal.retain(from: start)
        snapshotPosition = start
    }

    // MARK: Gaps

    private func record(_ gap: IntakeGap, of id: UUID) async {
        var found = GapRecord(
            id: gap.id,
            connectionID: id,
            tagNodeID: gap.key?.nodeID,
            startedAtMicros: gap.startedAt,
            endedAtMicros: gap.endedAt,
            cause: gap.cause.rawValue
        )
        if gap.cause == .ownerLost {
            takeovers.remove(id)
            if gap.isEmpty {
                found.healedAtMicros = WallTime.microseconds()
                found.readingsRecovered = 0
            }
        }
        var heals = !gap.holes.isEmpty && healings[id, default: []].count < Self.healingBound
        // Queues may overflow again and again: a server without history is not asked each time.
        if gap.cause == .queueOverflow, let until = withoutHistory[id], ContinuousClock.now < until { heals = false }
        await record(found, merges: !heals)
        guard heals else { return }
        let healing = Healing(gap: found, holes: gap.holes)
        healings[id, default: []].append(healing)
        await append(.healing, of: id, HealingRecord.encoded(healing))
        startHealer(id)
    }

    /// Brings a gap into the journal and, with the next flush, into the database.
    /// - Parameter merges: whether it may be counted with others of its kind; see ``GapBook``.
    private func record(_ gap: GapRecord, merges: Bool) async {
        guard let writer else { return }
        let (noted, isNew) = writer.gaps.note(gap, merges: merges)
        if isNew {
            metrics.gap(gap.cause)
            logger.warning("gap", metadata: Self.metadata(gap))
        }
        shared.note(noted)
        await append(.gap, of: gap.connectionID, GapRecordFormat.encoded(noted))
        writer.doorbell.ring()
    }

    private func record(_ gaps: [GapRecord]) async {
        for gap in gaps { await record(gap, merges: true) }
    }

    /// What a full journal gives up, by connection.
    private static func abandoned(_ records: [RecordHeader]) -> [GapRecord] {
        var gaps: [UUID: GapRecord] = [:]
        for record in records where record.kind == .readings && record.rowCount > 0 {
            let known = gaps[record.source]
            gaps[record.source] = GapRecord(
                id: known?.id ?? UUID(),
                connectionID: record.source,
                startedAtMicros: min(known?.startedAtMicros ?? .max, record.earliestMicroseconds),
                endedAtMicros: max(known?.endedAtMicros ?? .min, record.latestMicroseconds),
                cause: IntakeGap.Cause.journalFull.rawValue,
                readingsLost: (known?.readingsLost ?? 0) + Int64(record.rowCount)
            )
        }
        return Array(gaps.values)
    }

    private static func metadata(_ gap: GapRecord) -> Logger.Metadata {
        let end = gap.endedAtMicros ?? gap.startedAtMicros
        return [
            "connection_id": "\(gap.connectionID.uuidString.lowercased())", "cause": "\(gap.cause)",
            "duration_ms": "\((end - gap.startedAtMicros) / 1000)", "tag_node_id": "\(gap.tagNodeID ?? "all")",
        ]
    }

    // MARK: History

    private func startHealer(_ id: UUID) {
        guard healers[id] == nil, !(healings[id] ?? []).isEmpty, !isStopping else { return }
        healers[id] = Task { await self.heal(id) }
    }

    /// Fills the gaps of a connection from its server's history, one after the other.
    private func heal(_ id: UUID) async {
        defer { healers[id] = nil }
        var delay = Duration.milliseconds(500)
        while let healing = healings[id]?.first, let running = connections[id], !isStopping, !Task.isCancelled {
            do {
                try await heal(healing, running)
                delay = .milliseconds(500)
            } catch {
                // Not connected just now, or the connection broke: what was read is kept, the rest is asked for again.
                logger.debug("history cannot be read now", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: delay)
                delay = min(delay * 2, .seconds(30))
            }
        }
    }

    private func heal(_ healing: Healing, _ running: ManagedConnection) async throws {
        let id = running.record.id
        let nodes = healing.holes.map { try? NodeIdText(parsing: $0.key.nodeID) }
        let (start, end) = healing.interval
        // Indexes of holes go with the list of nodes: every configured node id could be parsed.
        let asked = nodes.compactMap { $0 }
        guard asked.count == nodes.count else { return await finish(healing.gap.id, of: id, []) }
        let outcomes = try await running.connection.readHistory(
            of: asked,
            from: DateTime(unixMicroseconds: start),
            to: DateTime(unixMicroseconds: end),
            maximumValues: Self.historyBound
        ) { index, values in
            try await self.take(values, hole: index, of: healing.gap.id, running)
        }
        logger.debug(
            "history was read",
            metadata: [
                "connection_id": "\(id.uuidString.lowercased())", "from": "\(start)", "to": "\(end)",
                "first_hole": "\(healing.holes.first.map { "\($0.key.nodeID) \($0.after) \($0.until)" } ?? "none")",
                "first_outcome": "\(outcomes.first.map { "\($0)" } ?? "none")",
            ]
        )
        await finish(healing.gap.id, of: id, healing.credible(outcomes, asked: (start, end)))
    }

    private func take(
        _ values: [DataValue],
        hole index: Int,
        of gap: UUID,
        _ running: ManagedConnection
    ) async throws {
        let id = running.record.id
        guard let journal, let healing = healings[id]?.first, healing.gap.id == gap else { throw CancellationError() }
        let fitting = healing.fitting(values, hole: index)
        guard let last = fitting.last else { return }
        let intake = running.intake
        let key = healing.holes[index].key
        guard let record = try await intake.eventLoop.submit({ intake.historyRecord(fitting, of: key) }).get() else {
            return
        }
        if let pass = running.grant?.pass, !pass.isValid { throw LeaseGate.Closed() }
        writer?.checks.begin()
        defer { writer?.checks.end(through: journal.endPosition) }
        _ = try await journal.append(record)
        // Nobody else works on this connection's gaps.
        healings[id]?[0].holes[index].after = last.microseconds
        healings[id]?[0].gap.readingsRecovered = (healing.gap.readingsRecovered ?? 0) + Int64(fitting.count)
        running.recovered.add(fitting.count)
    }

    private func finish(_ gap: UUID, of id: UUID, _ outcomes: [HistoryOutcome]) async {
        guard let healing = healings[id]?.first, healing.gap.id == gap else { return }
        healings[id]?.removeFirst()
        let recovered = healing.gap.readingsRecovered ?? 0
        let isKept = outcomes.contains { if case .complete = $0 { true } else { false } }
        withoutHistory[id] = isKept || outcomes.isEmpty ? nil : .now + Self.historyPause
        let rows = healing.settled(outcomes, recovered: recovered, now: WallTime.microseconds())
        for row in rows {
            writer?.gaps.note(row, merges: false)
            shared.note(row)
            await append(.gap, of: id, GapRecordFormat.encoded(row))
        }
        await append(.healing, of: id, HealingRecord.encoded(Healing(gap: healing.gap, holes: [])))
        writer?.doorbell.ring()
        let isHealed = rows.first?.healedAtMicros != nil
        logger.log(
            level: isHealed ? .notice : .warning,
            isHealed ? "gap filled from the server's history" : "gap stays: the server has no history of it",
            metadata: [
                "connection_id": "\(id.uuidString.lowercased())", "count": "\(recovered)",
                "tags_without_history": "\(isHealed ? rows.count - 1 : healing.holes.count)",
            ]
        )
    }
}
