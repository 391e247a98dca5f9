import FoundationEssentials
import Journal
import Logging
import Metrics
import NIOCore
import Synchronization
import TimescaleStore

/// Brings a tenant's journal into its database: COPY and checkpoint in one transaction, then the journal forgets.
///
/// Oldest rows first: in one flush at a time, or, where one COPY stream is the wall, in several at the same time that are
/// committed in order. Rows are always read from the journal, which holds the next ones in
/// memory within a bound, so that what is in memory does not depend on how far behind the database is.
actor TenantWriter {
    struct Settings: Sendable {
        var maximumRows = 10_000
        var interval: Duration = .seconds(5)
        /// Rows of one transaction while catching up.
        var catchUpRows = 200_000
        var directCompress = DirectCompress.automatic
        /// Flushes at the same time, at most (DB_COPY_STREAMS).
        var copyStreams = 2
        /// A full journal gives up its oldest records: a journal that does not reach back to the checkpoint is then no sign
        /// of a restored database.
        var abandonsOldest = false
        /// Tells whether this replica's leases hold; nil where there are no other replicas.
        var gate: LeaseGate?
    }

    /// What others may know at any time.
    struct Figures: Sendable {
        /// The database took the last flush, or has not refused one yet.
        var isReachable = false
        var isAttached = false
        var lastError: StoreError?
        var lastFlush: ContinuousClock.Instant?
        /// Microseconds since 1970; nil while none fails.
        var failingSince: Int64?
    }

    nonisolated let figures = Mutex(Figures())
    nonisolated let doorbell: Doorbell
    nonisolated let gaps = GapBook()
    nonisolated let checks: FlushChecks

    let url: DatabaseURL
    let journal: TenantJournal
    let store: ReadingsWriter
    let ledger: GapLedger
    let settings: Settings
    let metrics: TenantMetrics
    let logger: Logger
    /// How many tags the tenant has: direct compress pays with many rows a tag only.
    let tagCount: @Sendable () -> Int
    let connectionOfTag: @Sendable (UUID?, String) -> UUID?
    /// The connections that run now.
    let connections: @Sendable () -> [UUID]
    /// Told of each gap that the writer itself finds, once it is in the database.
    let gapFound: @Sendable (GapRecord) -> Void

    /// Positions whose records opening the journal found damaged or missing.
    private var lost: [Range<JournalPosition>]
    var schedule: FlushSchedule
    var committed: JournalPosition?
    private var isStopping = false
    /// See ``verifyCheckpoint()``.
    private var wantsVerification = false
    /// A flush failed after ``finish()``: the rest stays in the journal for the next start, and nothing is held up.
    private var isGivenUp = false
    private var failureSince: ContinuousClock.Instant?
    private var failureReportedAt: ContinuousClock.Instant?
    /// What flushes that asked for direct compress got, as far as the log says it.
    var toldDirectCompress: Bool?
    /// One COPY stream at a time until then: another one was not to be had, or did not go well.
    var singleUntil: NIODeadline?
    /// Where flushes end of which nobody knows whether they were stored, because the connection broke during COMMIT.
    var unknownEnds: Set<JournalPosition> = []

    init(
        url: DatabaseURL,
        journal: TenantJournal,
        pool: ConnectionPool,
        lost: [Range<JournalPosition>],
        settings: Settings,
        metrics: TenantMetrics,
        eventLoop: any EventLoop,
        logger: Logger,
        tagCount: @escaping @Sendable () -> Int,
        connectionOfTag: @escaping @Sendable (UUID?, String) -> UUID?,
        connections: @escaping @Sendable () -> [UUID],
        gapFound: @escaping @Sendable (GapRecord) -> Void
    ) {
        self.url = url
        self.journal = journal
        store = ReadingsWriter(pool: pool)
        ledger = GapLedger(pool: pool)
        self.lost = lost
        self.settings = settings
        checks = FlushChecks(gate: settings.gate, journalEnd: journal.endPosition)
        self.metrics = metrics
        self.logger = logger
        self.tagCount = tagCount
        self.connectionOfTag = connectionOfTag
        self.connections = connections
        self.gapFound = gapFound
        doorbell = Doorbell(eventLoop: eventLoop)
        schedule = FlushSchedule(
            maximumRows: settings.maximumRows,
            interval: .nanoseconds(settings.interval.nanosecondsClamped)
        )
    }

    // MARK: Life

    /// Flushes until the task is cancelled, or, after ``finish()``, until the journal is empty or the database refuses.
    func run() async {
        while !Task.isCancelled, !isGivenUp {
            guard let committed else {
                await attach()
                continue
            }
            let now = NIODeadline.now()
            let durable = journal.durablePosition
            let hasRecords = durable > committed || !gaps.isEmpty
            if isStopping, !hasRecords { return }
            if wantsVerification {
                wantsVerification = false
                // A flush finds out by itself.
                if !hasRecords { await verify(committed) }
                continue
            }
            let rows = hasRecords ? journal.durableBacklogRows : 0
            switch schedule.decide(rows: rows, hasRecords: hasRecords, now: now) {
            case .flush: await flush(from: committed)
            case .wait(let deadline):
                if isStopping, schedule.failures == 0 {
                    await flush(from: committed)
                } else {
                    await doorbell.wait(until: deadline)
                }
            }
        }
    }

    /// Flush what there is without waiting for more, then end; also when the database does not take it.
    func finish() {
        isStopping = true
        schedule.retryNow()
        doorbell.ring()
    }

    /// The database may be back: try now.
    func retryNow() {
        schedule.retryNow()
        doorbell.ring()
    }

    /// Finds out whether the database was put back to an earlier state, though there is nothing to flush: where replicas share
    /// the connections, what this one stored of a connection that is another's by now may be gone with it.
    func verifyCheckpoint() {
        wantsVerification = true
        doorbell.ring()
    }

    private func verify(_ committed: JournalPosition) async {
        let found: Int64?
        do throws(StoreError) { found = try await store.readCheckpoint(in: url, journalID: journal.journalID) } catch {
            logger.debug("the checkpoint cannot be looked at now", metadata: ["error": "\(error)"])
            return
        }
        if found != committed.rawValue { await recover(found: found, expected: committed) }
    }

    // MARK: Attaching

    /// Finds out what the database has already.
    private func attach() async {
        do throws(StoreError) {
            let start = journal.oldestPosition
            let stored = try await store.prepareCheckpoint(
                in: url,
                journalID: journal.journalID,
                startingAt: start.rawValue
            )
            try await take(checkpoint: JournalPosition(rawValue: stored))
            succeeded()
            figures.withLock { $0.isAttached = true }
        } catch {
            if error.code == .cancelled { return }
            failed(error)
            await waitForRetry()
        }
    }

    private func take(checkpoint: JournalPosition) async throws(StoreError) {
        if checkpoint > journal.endPosition {
            logger.warning(
                "the database is ahead of the journal: the journal lost its end or was replaced",
                metadata: ["checkpoint": "\(checkpoint)", "journal_end": "\(journal.endPosition)"]
            )
            journal.advance(to: checkpoint)
        }
        for range in lost where range.upperBound > checkpoint {
            try await recordHole(from: range.lowerBound, to: range.upperBound, .journalDamaged)
        }
        lost = []
        let oldest = journal.oldestPosition
        if checkpoint < oldest {
            let cause = settings.abandonsOldest ? IntakeGap.Cause.journalFull : .databaseRestored
            try await recordHole(from: checkpoint, to: oldest, cause)
        }
        journal.forget(upTo: checkpoint)
        committed = checkpoint
    }

    private func waitForRetry() async {
        let now = NIODeadline.now()
        if case .wait(let deadline?) = schedule.decide(rows: .max, hasRecords: true, now: now) {
            await doorbell.wait(until: deadline)
        }
    }

    // MARK: Trouble

    func failed(_ error: StoreError) {
        if isStopping { isGivenUp = true }
        schedule.failed(
            retryAfter: error.retryAfter.map { .nanoseconds($0.nanosecondsClamped) },
            now: .now()
        )
        figures.withLock {
            $0.isReachable = false
            $0.lastError = error
            if $0.failingSince == nil { $0.failingSince = WallTime.microseconds() }
        }
        let now = ContinuousClock.now
        if failureSince == nil {
            failureSince = now
            failureReportedAt = now
            logger.error("cannot store readings; they wait in the journal", metadata: ["error": "\(error)"])
        } else if let reported = failureReportedAt, now - reported >= .seconds(60) {
            failureReportedAt = now
            logger.error(
                "still cannot store readings",
                metadata: [
                    "error": "\(error)", "count": "\(schedule.failures)", "backlog": "\(journal.backlogRows)",
                ]
            )
        }
    }

    func succeeded() {
        figures.withLock {
            $0.isReachable = true
            $0.lastError = nil
            $0.lastFlush = .now
            $0.failingSince = nil
        }
        if let since = failureSince {
            logger.notice(
                "readings are stored again",
                metadata: ["duration_ms": "\((ContinuousClock.now - since).milliseconds)"]
            )
        }
        failureSince = nil
        failureReportedAt = nil
    }
}
