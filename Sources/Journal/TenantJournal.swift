package import FoundationEssentials
import Synchronization
import SystemPackage

/// What a tenant's journal tells its owner. All are called on the journal thread, must be cheap, must not wait, and may call
/// the journal (but for reading).
package struct JournalEvents: Sendable {
    /// Everything up to the position is durable: its sequence numbers may be acknowledged.
    package var onDurable: @Sendable (_ journal: TenantJournal, _ position: JournalPosition) -> Void = { _, _ in }
    package var onStateChange: @Sendable (_ journal: TenantJournal, _ state: JournalState) -> Void = { _, _ in }
    /// With ``JournalFullPolicy/dropOldest``: these records, never stored, are about to be removed. They come segment by
    /// segment, in order within each, in pieces of at most 1024, so that gap rows can be written.
    package var onAbandoned: @Sendable (_ journal: TenantJournal, _ records: [RecordHeader]) -> Void = { _, _ in }

    package init() {}
}

/// The durable, bounded log of one tenant's COPY rows.
///
/// Any thread may call anything; what blocks says so. Made by ``JournalDirectory/openJournal(tenant:events:visit:)``.
package final class TenantJournal: Sendable {
    /// What `append` may use.
    package enum Priority: Sendable {
        /// The tenant's bound.
        case normal
        /// ``JournalConfiguration/reserveBytesPerTenant`` beyond the bound, and ahead of appends that wait: for the records
        /// that help to free space, such as a snapshot of tag state after which ``TenantJournal/retain(from:)`` can move on.
        case reserve
    }

    /// Why an append has to wait.
    enum Obstacle: Equatable {
        case memory
        case tenantLimit
        case directoryLimit
    }

    struct Waiter {
        var id: UInt64
        var record: JournalRecord
        var priority: Priority
        var obstacle: Obstacle
        var continuation: CheckedContinuation<Result<JournalPosition, JournalError>, Never>
    }

    struct State {
        var ledger: JournalLedger
        /// Appended, not yet taken by the journal thread.
        var pending: [PendingRecord] = []
        var recent = RecentRecords()
        var waiters: [Waiter] = []
        /// Somebody waits for room on the disk, not only for memory.
        var isBlocked: Bool { waiters.first.map { $0.obstacle != .memory } ?? false }
        var nextWaiterID: UInt64 = 0
        /// The thread knows that there is something to do, and whether it should hurry.
        var isScheduled = false
        var isUrgent = false
        /// The last write or sync failed.
        var trouble: JournalError?
        /// Bytes booked in the directory's disk budget.
        var bookedBytes = 0
        var isClosing = false
        /// The journal thread knows: what it does now for this journal is the last.
        var isLastRound = false
        /// Set when the journal thread is done with this journal.
        var closeResult: Result<Void, JournalError>?
        var closeWaiters: [CheckedContinuation<Result<Void, JournalError>, Never>] = []
        /// What `onStateChange` was last told.
        var publishedState = JournalState.open
    }

    /// This journal's own random id, the key of its row in `ingest_checkpoints`.
    package let journalID: UUID
    package let tenantID: UUID
    /// Path of the tenant's folder.
    let folder: String
    let isOnRootFileSystem: Bool
    let events: JournalEvents
    let directory: JournalDirectory.Core
    let memoryAccount: SharedBudget.Account
    let diskAccount: SharedBudget.Account
    let recentAccount: SharedBudget.Account
    let state: Mutex<State>
    let seed: UInt32
    /// The journal thread's.
    let writer: SegmentWriter
    let retry: RetryClock

    init(_ recovered: RecoveredTenant, events: JournalEvents, directory: JournalDirectory.Core) {
        journalID = recovered.identity.journalID
        tenantID = recovered.identity.tenantID
        folder = recovered.folder
        isOnRootFileSystem = recovered.isOnRootFileSystem
        self.events = events
        self.directory = directory
        memoryAccount = directory.memory.open()
        diskAccount = directory.disk.open()
        recentAccount = directory.recent.open()
        state = Mutex(State(ledger: recovered.ledger))
        seed = RecordFormat.seed(journal: recovered.identity.journalID)
        writer = recovered.makeWriter(directory.configuration, directory.thread)
        retry = RetryClock(configuration: directory.configuration)
        state.withLock { book(&$0) }
    }

    // MARK: Positions and figures

    /// Everything before is on the disk.
    package var durablePosition: JournalPosition { JournalPosition(rawValue: state.withLock { $0.ledger.durable }) }
    /// Where the next record will begin, or further on.
    package var endPosition: JournalPosition { JournalPosition(rawValue: state.withLock { $0.ledger.end }) }
    /// What ``forget(upTo:)`` was told last: everything before is stored.
    package var committedPosition: JournalPosition { JournalPosition(rawValue: state.withLock { $0.ledger.forgotten }) }
    /// Where the oldest record still in the journal begins, written or about to be; the end when there is none. If the database's checkpoint lies
    /// before it, what lies between was given up (``JournalFullPolicy/dropOldest``) and wants a gap row.
    package var oldestPosition: JournalPosition { JournalPosition(rawValue: state.withLock { $0.ledger.oldest }) }
    /// Bytes of this tenant's segment files.
    package var bytesOnDisk: Int { state.withLock { $0.ledger.bytesOnDisk } }
    /// Bytes appended and not durable yet: what is in memory only.
    package var pendingBytes: Int { state.withLock { $0.ledger.pendingBytes } }
    /// Rows appended and not forgotten; exact up to a thousand records' backlog, then within 0.2 %.
    package var backlogRows: Int { Int(state.withLock { $0.ledger.backlogRows }) }
    /// Those of ``backlogRows`` that are durable: what a flush can take. As exact.
    package var durableBacklogRows: Int { Int(state.withLock { $0.ledger.durableBacklogRows }) }
    /// When the oldest record not forgotten was received, microseconds since 1970; nil when there is none.
    package var oldestUnforgottenReceivedAt: Int64? { state.withLock { $0.ledger.oldestUnforgottenReceivedAt } }
    package var currentState: JournalState { state.withLock { Self.describe($0) } }

    /// Where to end the next transaction: a run of whole, durable records from `position` on with about `maximumRows` rows.
    ///
    /// Told from memory, in logarithmic time. Exact while the backlog has at most a thousand records; beyond that the runs
    /// are coarser, and may have more than `maximumRows` rows. Any thread.
    /// - Parameters:
    ///   - position: where a record begins or ended; before ``committedPosition`` that is taken instead.
    ///   - maximumRows: the run has no more, unless it is the shortest there is: one record, when the backlog is short.
    /// - Returns: `end`, where a checkpoint may stand, never behind ``durablePosition``; behind `position` if and only if
    ///   there is a durable record to store (`rows` may be 0 even then: records need not have rows), or if `position`
    ///   lies before ``committedPosition``. `rows`, what the run holds. `oldestReceivedAt`, when its first record was
    ///   received, microseconds since 1970; nil when there is none.
    package func flushBoundary(
        from position: JournalPosition,
        maximumRows: Int
    ) -> (end: JournalPosition, rows: Int, oldestReceivedAt: Int64?) {
        let (end, rows, oldest) = state.withLock {
            $0.ledger.flushBoundary(from: position.rawValue, maximumRows: maximumRows)
        }
        return (JournalPosition(rawValue: end), Int(rows), oldest)
    }

    static func describe(_ state: borrowing State) -> JournalState {
        if state.closeResult != nil { return .closed }
        if let trouble = state.trouble {
            return trouble.code == .diskFull
                ? .full(.disk) : .stalled(.init(message: trouble.description, cause: trouble.cause))
        }
        switch state.waiters.first?.obstacle {
        case .tenantLimit: return .full(.tenantLimit)
        case .directoryLimit: return .full(.directoryLimit)
        case .memory, nil: return .open
        }
    }

    // MARK: Forgetting

    /// The rows of all records before `position` are stored: their segments may go. Never goes back; what is not durable is
    /// not forgotten. The journal does not remember this over a restart: the database's checkpoint does.
    package func forget(upTo position: JournalPosition) {
        var stored = change { state in
            state.ledger.forget(upTo: position.rawValue)
            return dropRecent(upTo: state.ledger.forgotten, &state)
        }
        recycle(&stored)
    }

    /// The database's checkpoint was found further back than ``forget(upTo:)`` said, because it was restored from a backup:
    /// the records from `position` on that are still there are not stored after all, and stay until they are.
    /// - Returns: where they begin, at or behind `position`: what lies between is gone.
    package func rewind(to position: JournalPosition) -> JournalPosition {
        state.withLock { state in
            state.ledger.rewind(to: position.rawValue)
            return JournalPosition(rawValue: max(position.rawValue, state.ledger.oldest))
        }
    }

    /// Records from `position` on stay, even when forgotten, because recovery still needs them. Until the first call nothing
    /// is kept that way, so call it before the first ``forget(upTo:)``. Never goes back.
    package func retain(from position: JournalPosition) {
        change { $0.ledger.retain(from: position.rawValue) }
    }

    /// New records begin at or after `position`: for a checkpoint that lies beyond the journal's end, because the journal
    /// lost its tail or was replaced. Without it, records at positions below the checkpoint would count as stored.
    package func advance(to position: JournalPosition) {
        let position = min(position, JournalPosition.highest)
        change { $0.ledger.advance(to: position.rawValue) }
    }

    private func change<R: Sendable>(_ change: (inout State) -> R) -> R {
        state.withLock { state in
            let result = change(&state)
            guard state.closeResult == nil else { return result }
            let isBlocked = state.trouble != nil || state.isBlocked
            let minimum = isBlocked ? 0 : directory.configuration.forgottenSegmentBytes
            let isUseful =
                isBlocked || !state.ledger.removableSegments().isEmpty
                || state.ledger.lastSegmentIsSpent(minimum: minimum)
            if isUseful { schedule(&state, urgent: isBlocked) }
            return result
        }
    }

    // MARK: Closing

    /// Refuses further appends, writes and syncs what is pending, and closes the files. May be called again and then tells
    /// the same.
    ///
    /// - Throws: what kept pending records from becoming durable; they were not acknowledged, so the servers still have them.
    package func close() async throws(JournalError) {
        let result = await withCheckedContinuation { continuation in
            let done = beginClose { $0.closeWaiters.append(continuation) }
            if let done { continuation.resume(returning: done) }
        }
        try result.get()
    }

    /// - Parameter register: called when the close is not done yet.
    @discardableResult
    func beginClose(_ register: (inout State) -> Void) -> Result<Void, JournalError>? {
        let (done, waiters) = state.withLock { state -> (Result<Void, JournalError>?, [Waiter]) in
            if let result = state.closeResult { return (result, []) }
            state.isClosing = true
            register(&state)
            defer { state.waiters.removeAll() }
            schedule(&state, urgent: true)
            return (nil, state.waiters)
        }
        for waiter in waiters { waiter.continuation.resume(returning: .failure(Self.closedError)) }
        return done
    }

    static var closedError: JournalError { JournalError(.closed, "the journal is closed") }

    // MARK: Shared helpers

    /// Notes that the thread must look at this journal, and wakes it. In one step with what it shall look at, under the same
    /// lock: whoever asks for a cycle afterwards can rely on it that this journal takes part.
    func schedule(_ state: inout State, urgent: Bool) {
        if state.isScheduled && (state.isUrgent || !urgent) { return }
        state.isUrgent = state.isUrgent || urgent
        directory.thread.schedule(state.isScheduled ? nil : self, urgent: state.isUrgent)
        state.isScheduled = true
    }

    /// Brings the directory's disk budget up to date.
    func book(_ state: inout State) {
        let bytes = state.ledger.bytesOnDisk + state.ledger.unwrittenBytes
        if bytes != state.bookedBytes { directory.disk.force(bytes - state.bookedBytes, for: diskAccount) }
        state.bookedBytes = bytes
    }
}
