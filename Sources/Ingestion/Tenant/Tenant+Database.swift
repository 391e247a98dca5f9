import Journal
import Logging
import NIOCore
import NIOPosix
import OPCUAClient
import Synchronization
import TimescaleStore

/// A tenant's journal and its database: opening, migrating, writing, housekeeping.
extension Tenant {
    /// - Returns: false when the tenant was stopped before it could be opened.
    func openJournal() async -> Bool {
        let id = shared.id
        let shared = shared
        var events = JournalEvents()
        events.onDurable = { _, position in
            let (queues, writer) = shared.state.withLock { (Array($0.durability.values), $0.writer) }
            for queue in queues { queue.journalIsDurable(upTo: position) }
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

    struct Opened: @unchecked Sendable {
        // Handed from the thread that made it to the actor, once.
        var journal: TenantJournal
        var report: RecoveryReport
        var memory: TenantMemory
    }

    func take(_ opened: Opened) {
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
    func prepareDatabase() async {
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

    func startWriter() {
        guard let journal, !isStopping else { return }
        let shared = shared
        let metrics = metrics
        let logger = logger
        var settings = TenantWriter.Settings()
        settings.maximumRows = environment.options.maximumBufferSize
        settings.interval = environment.options.aggregationInterval
        settings.directCompress = environment.options.directCompress
        settings.copyStreams = environment.options.copyStreams
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

    func startListener() {
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

    func watchForSilence() {
        guard let after = environment.options.silentTagAfter, !isStopping else { return }
        let sampler = SilenceSampler(shared: shared, after: after, logger: logger)
        silenceTask = Task {
            var sampler = sampler
            await sampler.run()
        }
    }

    /// Partitions ahead and behind, snapshots of the tags' states.
    func maintain() async {
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
}
