package import FoundationEssentials
import Journal
import Logging
import NIOCore
package import OPCUAClient
package import OPCUACodec
import Synchronization
import TimescaleStore

/// What an intake tells its tenant. Called on the connection's event loop; must be cheap and must not wait.
struct IntakeEvents: Sendable {
    var statusChanged: @Sendable (_ status: ConnectionStatus) -> Void = { _ in }
    /// The stream of notifications broke and goes on: what lies between the two times (microseconds since 1970) is missing.
    var gap: @Sendable (_ gap: IntakeGap) -> Void = { _ in }
    /// The first notification of a connection taken over from a lost replica is about to go into the journal.
    var firstAfterTakeover: @Sendable () -> Void = {}
    /// A tag became bad, or good again.
    var itemStatus: @Sendable (_ key: TagKey, _ status: StatusCode) -> Void = { _, _ in }
}

/// A hole in what a connection received. Times are microseconds since 1970.
package struct IntakeGap: Sendable, Equatable {
    package enum Cause: String, Sendable, CaseIterable {
        /// The subscription had to be made anew.
        case subscriptionLost = "subscription_lost"
        /// The server does not hold notifications any more that were never received.
        case notificationsLost = "notifications_lost"
        /// The server's queue of an item was full: the overflow bit.
        case queueOverflow = "queue_overflow"
        /// The journal was full and gave up its oldest records (JOURNAL_FULL_POLICY=drop-oldest).
        case journalFull = "journal_full"
        /// A part of the journal cannot be read.
        case journalDamaged = "journal_damaged"
        /// The tenant's database was put back to an earlier state, and the journal does not reach back to it.
        case databaseRestored = "database_restored"
        /// The replica that ran the connection was lost; what it had received is stored when it is back.
        case ownerLost = "owner_lost"
    }

    /// Of the row of `scada_gaps`.
    package var id = UUID()
    package var cause: Cause
    /// nil: all tags of the connection.
    package var key: TagKey?
    package var startedAt: Int64
    package var endedAt: Int64
    /// Every tag still has the value it had: nothing is missing.
    package var isEmpty = false
    /// What is known of each tag whose first value after the hole has come: where history is to be asked for.
    package var holes: [TagHole] = []
}

/// A tag that the server refuses.
package struct BadTag: Sendable {
    package var key: TagKey
    package var status: StatusCode
    /// Microseconds since 1970.
    package var since: Int64
}

/// A tag's own hole: from the last reading before to the first after, exclusive. Microseconds since 1970.
package struct TagHole: Sendable, Equatable {
    package var key: TagKey
    package var after: Int64
    package var until: Int64
}

/// Takes a connection's notifications: encodes them, appends them to the tenant's journal, and lets the connection
/// acknowledge what has become durable.
///
/// Everything runs on the connection's event loop, but for ``journalIsDurable(upTo:)`` and the figures. That rule is why the
/// class may be `@unchecked Sendable`.
package final class ConnectionIntake: NotificationConsumer, @unchecked Sendable {
    package let connectionID: UUID
    let eventLoop: any EventLoop
    /// As configured: a subscription can only be taken over from the same server.
    private let endpointURL: String
    private let journal: TenantJournal
    private let buffers: RowBufferPool
    /// Nothing is taken when it is not valid any more; nil where there are no other replicas.
    private let pass: LeasePass?
    private let events: IntakeEvents
    private let logger: Logger

    // MARK: On the event loop

    let table = TagTable()
    private var encoder: ReadingEncoder
    private var buffer: RowBuffer?
    /// Appended and not acknowledged yet, in the order of the journal.
    private var appended = CircularBuffer<Appended>(initialCapacity: 16)
    private var badTags: [UInt32: BadTag] = [:]
    private var lastReceivedAt: Int64?
    /// The subscriptions in use now, or until there are any those of the earlier run.
    private var subscriptions: SubscriptionsRecord?
    /// The last sequence number appended of each subscription.
    private var sequenceNumbers: [UInt32: UInt32] = [:]
    /// A break after which first values are awaited.
    private var openGap: OpenGap?
    /// The ids of the subscriptions that readings came from so far.
    private var knownSubscriptions: Set<UInt32> = []
    private var deadbands: [UInt32: MonitoredItemSpecification.Deadband] = [:]
    weak var connection: OPCUAConnection?

    private struct Appended {
        var position: JournalPosition
        var context: NotificationContext
    }

    private struct OpenGap {
        var id = UUID()
        var cause: IntakeGap.Cause
        var startedAt: Int64
        var awaited: Set<UInt32>
        var holes: [TagHole] = []
        /// The first notification after the break.
        var firstAt: Int64?
    }

    // MARK: For everybody

    private struct Shared {
        var status = ConnectionStatus()
        var figures = ReadingEncoder.Figures()
        var badTags: [UInt32: BadTag] = [:]
        var lastReceivedAt: Int64?
        var republished: UInt64 = 0
        var keys: [TagKey?] = []
        /// By handle: whether it stands for a tag that is configured now.
        var isConfigured: [Bool] = []
        /// When the last failure was, microseconds since 1970.
        var lastErrorAt: Int64?
    }

    private let shared = Mutex(Shared())
    /// Whether something appended waits to be acknowledged.
    private let isWaiting = Atomic(false)

    init(
        connectionID: UUID,
        endpointURL: String,
        eventLoop: any EventLoop,
        journal: TenantJournal,
        buffers: RowBufferPool,
        pass: LeasePass? = nil,
        events: IntakeEvents,
        logger: Logger
    ) {
        self.connectionID = connectionID
        self.endpointURL = endpointURL
        self.eventLoop = eventLoop
        self.journal = journal
        self.buffers = buffers
        self.pass = pass
        self.events = events
        self.logger = logger
        encoder = ReadingEncoder(table: table)
    }

    // MARK: Figures, any thread

    package var status: ConnectionStatus { shared.withLock { $0.status } }
    var figures: ReadingEncoder.Figures { shared.withLock { $0.figures } }
    package var badTagCount: Int { shared.withLock { $0.badTags.count } }
    package var lastReadingAt: Int64? { shared.withLock { $0.lastReceivedAt } }
    /// Readings by tag.
    var tagCounts: TagCounts {
        TagCounts(id: ObjectIdentifier(self), keys: shared.withLock { $0.keys }, counts: table.counts)
    }
    /// By handle: whether the tag is configured and the server does not refuse it, so that readings can be expected.
    var judgedTags: [Bool] {
        shared.withLock { shared in
            var judged = shared.isConfigured
            for handle in shared.badTags.keys where Int(handle) < judged.count { judged[Int(handle)] = false }
            return judged
        }
    }
    /// When the last failure was, microseconds since 1970.
    package var lastErrorAt: Int64? { shared.withLock { $0.lastErrorAt } }
    package var republishedCount: UInt64 { shared.withLock { $0.republished } }

    // MARK: Tags, on the event loop

    /// Takes over what is remembered of an earlier run, before anything else.
    func restore(_ memory: TenantMemory.Connection) {
        for (handle, key) in memory.subscriptions?.handles ?? [] { table.restore(handle, for: key) }
        for (key, state) in memory.states { table.setState(state, of: table.handle(for: key)) }
        lastReceivedAt = memory.lastReceivedAt
        subscriptions = memory.subscriptions
        for subscription in memory.subscriptions?.subscriptions ?? [] {
            sequenceNumbers[subscription.subscriptionID] =
                memory.sequenceNumbers[subscription.subscriptionID] ?? subscription.lastDurableSequenceNumber
        }
        knownSubscriptions = Set(sequenceNumbers.keys)
        if let gap = memory.openGap { reopen(gap) }
    }

    /// The process ended in a break: it goes on.
    private func reopen(_ record: OpenGapRecord) {
        let awaited = Set(record.awaited.keys.compactMap { table.existingHandle(for: $0) })
        for handle in awaited { encoder.expectFirst(handle) }
        openGap = OpenGap(
            id: record.id,
            cause: record.cause,
            startedAt: record.startedAt,
            awaited: awaited,
            holes: record.holes,
            firstAt: record.firstAt
        )
        if awaited.isEmpty {
            closeGap(record.startedAt)
        } else {
            scheduleClosing(record.startedAt)
        }
    }

    /// The specifications of the items to watch; new tags get handles.
    func specifications(_ tags: [PlannedTag]) -> [MonitoredItemSpecification] {
        let items = tags.map { tag in
            let handle = table.handle(for: tag.key)
            // Another deadband: the server is asked again whether it applies it.
            if deadbands[handle, default: .none] != tag.deadband {
                encoder.filter(handle, deadband: 0)
                deadbands[handle] = tag.deadband == .none ? nil : tag.deadband
            }
            return MonitoredItemSpecification(
                handle: handle,
                nodeID: tag.nodeID,
                samplingInterval: tag.samplingInterval,
                queueSize: tag.queueSize,
                deadband: tag.deadband
            )
        }
        let keys = (0..<table.count).map { table.key(of: UInt32($0)) }
        var isConfigured = [Bool](repeating: false, count: table.count)
        for item in items { isConfigured[Int(item.handle)] = true }
        shared.withLock { shared in
            shared.keys = keys
            shared.isConfigured = isConfigured
        }
        return items
    }

    /// Everything a later intake of the same connection needs, but for the subscriptions.
    func memory() -> TenantMemory.Connection {
        var memory = TenantMemory.Connection()
        for (key, state) in snapshot().states { memory.states[key] = state }
        memory.lastReceivedAt = lastReceivedAt
        memory.openGap = openGap.map(record)
        return memory
    }

    /// The same with the subscriptions, for whoever goes on where this intake ended.
    func memoryWithSubscriptions() -> TenantMemory.Connection {
        var memory = memory()
        memory.subscriptions = subscriptionsRecord(handles: table.allHandles.map { (handle: $0.handle, key: $0.key) })
        memory.sequenceNumbers = sequenceNumbers
        return memory
    }

    /// The same as bytes, for another replica.
    func handover() -> ConnectionHandover {
        var handover = ConnectionHandover()
        handover.add(.tagStates, TagStateRecord.encoded(table))
        if let openGap { handover.add(.openGap, record(openGap).encoded()) }
        if let record = subscriptionsRecord(handles: []) { handover.add(.subscriptions, record.encoded(table)) }
        return handover
    }

    /// The replica that ran this connection was lost, and it is not known what it received last: every tag's first value
    /// ends a hole that begins with `gap`. Call it before anything arrives.
    func takeOver(_ gap: GapRecord) {
        let floor = gap.startedAtMicros
        // Equal to no value: the first one is stored, and the flush leaves it out if it is there already.
        let unknown = TagState(
            sourceMicroseconds: floor,
            storedMicroseconds: floor,
            subMicroseconds: -1,
            form: .none,
            status: .max,
            bits: .max
        )
        for (_, handle) in table.allHandles { table.setState(unknown, of: handle) }
        lastReceivedAt = floor
        // A run that ends before the first values have come goes on waiting for them.
        append(.tagStates, TagStateRecord.encoded(table))
        openGap = OpenGap(id: gap.id, cause: .ownerLost, startedAt: floor, awaited: [])
        awaitFirst(.ownerLost, nil)
    }

    /// The states of all tags, to be kept in the journal.
    private func snapshot() -> TagStateRecord {
        TagStateRecord(
            states: table.allHandles.compactMap { entry in table.state(of: entry.handle).map { (entry.key, $0) } }
        )
    }

    // MARK: Notifications

    package func dataChange(
        _ body: UnsafeRawBufferPointer,
        _ context: NotificationContext
    ) throws(DecodingError) {
        let rows = currentBuffer()
        try encoder.encode(body, receivedAt: context.receivedAtUnixMicroseconds, into: rows)
    }

    /// The buffer of the present notification; the first use begins it.
    private func currentBuffer() -> RowBuffer {
        if let buffer { return buffer }
        let fresh = buffers.take()
        buffer = fresh
        encoder.begin()
        return fresh
    }

    nonisolated(nonsending) package func notificationComplete(_ context: NotificationContext) async throws {
        let rows = currentBuffer()
        buffer = nil
        if let pass, !pass.isValid {
            // Another replica may have the connection by now: what waited in a buffer while this process stood still is its.
            buffers.put(rows)
            encoder.revert()
            throw LeaseGate.Closed()
        }
        if let openGap, openGap.firstAt == nil, openGap.cause == .ownerLost { events.firstAfterTakeover() }
        // A message whose values were all known already is recorded too: its sequence number has been dealt with.
        let record = JournalRecord(
            header: RecordHeader(
                rowCount: UInt32(rows.rowCount),
                source: connectionID,
                subscriptionID: context.subscriptionID,
                sequenceNumber: context.sequenceNumber,
                receivedAtMicroseconds: context.receivedAtUnixMicroseconds,
                earliestMicroseconds: rows.rowCount > 0 ? encoder.earliest : context.receivedAtUnixMicroseconds,
                latestMicroseconds: rows.rowCount > 0 ? encoder.latest : context.receivedAtUnixMicroseconds
            ),
            rows: rows
        )
        let position: JournalPosition
        do {
            position = try await journal.append(record)
        } catch {
            buffers.put(rows)
            encoder.revert()
            throw error
        }
        appended.append(Appended(position: position, context: context))
        isWaiting.store(true, ordering: .releasing)
        sequenceNumbers[context.subscriptionID] = context.sequenceNumber
        take(encoder.events, context)
        lastReceivedAt = context.receivedAtUnixMicroseconds
        let figures = encoder.figures
        shared.withLock { shared in
            shared.figures = figures
            shared.lastReceivedAt = context.receivedAtUnixMicroseconds
            if context.isRepublished { shared.republished &+= 1 }
        }
        if journal.durablePosition >= position {
            // The sync ran between the append and the entry above. Not at once: the connection counts the notification
            // as taken when this returns, and acknowledges only what it has counted.
            eventLoop.execute { self.acknowledge(upTo: position) }
        }
    }

    package func notificationAborted(_ context: NotificationContext) {
        guard let rows = buffer else { return }
        buffer = nil
        encoder.revert()
        buffers.put(rows)
    }

    // MARK: Acknowledgement

    /// The journal's records up to `position` are on the disk. Any thread.
    func journalIsDurable(upTo position: JournalPosition) {
        guard isWaiting.load(ordering: .acquiring) else { return }
        eventLoop.execute { self.acknowledge(upTo: position) }
    }

    private func acknowledge(upTo position: JournalPosition) {
        var last: NotificationContext?
        while let first = appended.first, first.position <= position {
            appended.removeFirst()
            // One call for all of a subscription in a row.
            if let previous = last, previous.subscriptionID != first.context.subscriptionID { tell(previous) }
            last = first.context
        }
        if let last { tell(last) }
        if appended.isEmpty { isWaiting.store(false, ordering: .releasing) }
    }

    private func tell(_ context: NotificationContext) { connection?.assumeIsolated { $0.acknowledge(context) } }

    // MARK: Breaks

    nonisolated(nonsending) package func continuity(_ event: ContinuityEvent) async {
        switch event {
        case .reactivated, .transferred: break
        case .recreated(let reason, let handles):
            logger.notice("subscriptions made anew", metadata: ["reason": "\(reason)"])
            // A restarted server gives out the same ids again, and counts from 1.
            if handles == nil {
                sequenceNumbers = [:]
                subscriptions?.subscriptions = []
            }
            awaitFirst(.subscriptionLost, handles)
        case .notificationsLost(let subscription, let numbers, let handles):
            logger.warning(
                "notifications cannot be had any more",
                metadata: [
                    "subscription": "\(subscription)", "first": "\(numbers.lowerBound)",
                    "last": "\(numbers.upperBound)",
                ]
            )
            awaitFirst(.notificationsLost, handles)
        }
    }

    private func awaitFirst(_ cause: IntakeGap.Cause, _ handles: [UInt32]?) {
        // Nothing was ever received: there is no hole, this is the beginning.
        guard let startedAt = openGap?.startedAt ?? lastReceivedAt else { return }
        let affected = (handles ?? table.allHandles.map(\.handle)).filter { table.state(of: $0) != nil }
        for handle in affected { encoder.expectFirst(handle) }
        var gap = openGap ?? OpenGap(cause: cause, startedAt: startedAt, awaited: [])
        gap.awaited.formUnion(affected)
        openGap = gap
        append(.openGap, record(gap).encoded())
        scheduleClosing(startedAt)
    }

    /// Tags that never report again must not keep the gap from being recorded.
    private func scheduleClosing(_ startedAt: Int64) {
        eventLoop.scheduleTask(in: .seconds(30)) { [weak self] in self?.closeGap(startedAt) }
    }

    private func record(_ gap: OpenGap) -> OpenGapRecord {
        var record = OpenGapRecord(
            id: gap.id,
            cause: gap.cause,
            startedAt: gap.startedAt,
            firstAt: gap.firstAt,
            awaited: [:],
            holes: gap.holes
        )
        for handle in gap.awaited {
            guard let key = table.key(of: handle), let state = table.state(of: handle) else { continue }
            record.awaited[key] = state.storedMicroseconds
        }
        return record
    }

    private func take(_ happened: [ReadingEncoder.Event], _ context: NotificationContext) {
        if openGap != nil, openGap?.firstAt == nil { openGap?.firstAt = context.receivedAtUnixMicroseconds }
        var overflows: [TagHole] = []
        for event in happened {
            switch event {
            case .overflow(let handle, let after, let until):
                guard let key = table.key(of: handle) else { continue }
                overflows.append(TagHole(key: key, after: min(after ?? until, until), until: until))
            case .first(let handle, let before, let at):
                guard openGap != nil, let key = table.key(of: handle) else { continue }
                openGap?.awaited.remove(handle)
                if at > before.storedMicroseconds {
                    openGap?.holes.append(TagHole(key: key, after: before.storedMicroseconds, until: at))
                }
            }
        }
        report(overflows)
        if let gap = openGap, gap.awaited.isEmpty { closeGap(gap.startedAt) }
    }

    /// Holes of one notification up to this number are a gap for each tag, more are one for all tags.
    private static let separateOverflows = 20

    private func report(_ overflows: [TagHole]) {
        if overflows.count <= Self.separateOverflows {
            for hole in overflows {
                events.gap(
                    IntakeGap(
                        cause: .queueOverflow,
                        key: hole.key,
                        startedAt: hole.after,
                        endedAt: hole.until,
                        holes: hole.after < hole.until ? [hole] : []
                    )
                )
            }
        } else if let start = overflows.map(\.after).min(), let end = overflows.map(\.until).max() {
            events.gap(
                IntakeGap(
                    cause: .queueOverflow,
                    key: nil,
                    startedAt: start,
                    endedAt: end,
                    holes: overflows.filter { $0.after < $0.until }
                )
            )
        }
    }

    /// All first values came, or were waited for long enough: the gap has its bounds.
    private func closeGap(_ startedAt: Int64) {
        guard let gap = openGap, gap.startedAt == startedAt else { return }
        guard let endedAt = gap.firstAt else {
            // Still nothing: wait on.
            return scheduleClosing(startedAt)
        }
        openGap = nil
        // Every tag still has the value it had: nothing is missing.
        if gap.holes.isEmpty, gap.awaited.isEmpty, gap.cause == .subscriptionLost {
            return append(.openGap, OpenGapRecord.closed(gap.id))
        }
        // The hole lies between source timestamps; what was received last may have waited at the server for long.
        let newestBefore = gap.holes.map(\.after).max() ?? gap.startedAt
        let newestAfter = gap.holes.map(\.until).max() ?? endedAt
        events.gap(
            IntakeGap(
                id: gap.id,
                cause: gap.cause,
                key: nil,
                startedAt: min(gap.startedAt, newestBefore),
                endedAt: max(endedAt, newestAfter),
                isEmpty: gap.holes.isEmpty && gap.awaited.isEmpty,
                holes: gap.holes
            )
        )
    }

    // MARK: The rest

    package func statusChanged(_ status: ConnectionStatus) {
        shared.withLock { shared in
            let failsAgain = status.failedAttempts > shared.status.failedAttempts
            if status.lastError != nil, failsAgain || status.lastError != shared.status.lastError {
                shared.lastErrorAt = WallTime.microseconds()
            }
            shared.status = status
        }
        events.statusChanged(status)
    }

    package func itemStatus(handle: UInt32, _ status: StatusCode) {
        guard let key = table.key(of: handle) else { return }
        let previous = badTags[handle]
        badTags[handle] =
            status.isBad ? BadTag(key: key, status: status, since: previous?.since ?? WallTime.microseconds()) : nil
        let bad = badTags
        shared.withLock { $0.badTags = bad }
        if previous?.status != badTags[handle]?.status { events.itemStatus(key, status) }
    }

    /// The bad tags, those that have been so longest first. Any thread.
    package func badTagList() -> [BadTag] {
        shared.withLock { Array($0.badTags.values) }.sorted { ($0.since, $0.key.nodeID) < ($1.since, $1.key.nodeID) }
    }

    package func deadbandRefused(handle: UInt32, range: Double?) {
        switch deadbands[handle] {
        case .absolute(let deadband): encoder.filter(handle, deadband: deadband)
        case .percent(let percent):
            if let range { encoder.filter(handle, deadband: percent / 100 * range) }
        case .some(.none), nil: break
        }
    }

    package func takeUnknownStructures() -> [NodeId] { encoder.structures.takeUnknown() }

    package func structuresDescribed(_ types: StructureTypes) { encoder.structures.types = types }

    package func subscriptionsCreated(_ subscriptions: [RestoredSubscription]) {
        self.subscriptions = SubscriptionsRecord(
            endpointURL: endpointURL,
            lastReceivedAt: nil,
            subscriptions: subscriptions,
            handles: []
        )
        let known = Set(subscriptions.map(\.subscriptionID))
        // Others than before: there was a break. Its event may come later; the journal must know of it before it knows of
        // these subscriptions.
        if !knownSubscriptions.isEmpty {
            let handles = subscriptions.filter { !knownSubscriptions.contains($0.subscriptionID) }.flatMap(\.handles)
            if handles.contains(where: { table.state(of: $0) != nil }) { awaitFirst(.subscriptionLost, handles) }
        }
        knownSubscriptions = known
        sequenceNumbers = sequenceNumbers.filter { known.contains($0.key) }
        appendSubscriptions()
    }

    // MARK: Memory for the next run

    /// What the next run of the process has to know. The record has to stand in the journal exactly between the
    /// notifications before and after this moment, so it is appended here and not in a task.
    private func appendSubscriptions() {
        guard let record = subscriptionsRecord(handles: []) else { return }
        append(.subscriptions, record.encoded(table))
    }

    private func subscriptionsRecord(handles: [(handle: UInt32, key: TagKey)]) -> SubscriptionsRecord? {
        guard var record = subscriptions else { return nil }
        record.lastReceivedAt = lastReceivedAt
        for index in record.subscriptions.indices {
            record.subscriptions[index].lastDurableSequenceNumber =
                sequenceNumbers[record.subscriptions[index].subscriptionID] ?? 0
        }
        record.handles = handles
        return record
    }

    /// Writes down the states of all tags and the subscriptions, so that what lies before in the journal is not needed for
    /// recovery any more. Before the server has been reached in this run those of the run before: without them the next
    /// run would take its new subscriptions for the first ones, and what lies between would be missed by nobody.
    func appendSnapshot() {
        append(.tagStates, TagStateRecord.encoded(table))
        if let openGap { append(.openGap, record(openGap).encoded()) }
        appendSubscriptions()
    }

    private func append(_ kind: RecordKind, _ payload: RowBuffer) {
        do throws(JournalError) {
            let record = JournalRecord.note(kind, source: connectionID, payload)
            guard try journal.appendIfPossible(record, priority: .reserve) == nil else { return }
            logger.warning("the journal has no room for what the next start should know")
        } catch {
            logger.warning("the journal refused what the next start should know", metadata: ["error": "\(error)"])
        }
    }

    /// A record of values read from a tag's history. On the event loop; nil when the tag is not known any more.
    func historyRecord(
        _ values: [(microseconds: Int64, value: DataValue)],
        of key: TagKey
    ) -> JournalRecord? {
        guard let handle = table.existingHandle(for: key), let first = values.first, let last = values.last else {
            return nil
        }
        let rows = buffers.take()
        for (microseconds, value) in values {
            encoder.append(value, handle: handle, microseconds: microseconds, into: rows)
        }
        return JournalRecord(
            header: RecordHeader(
                rowCount: UInt32(rows.rowCount),
                source: connectionID,
                receivedAtMicroseconds: WallTime.microseconds(),
                earliestMicroseconds: first.microseconds,
                latestMicroseconds: last.microseconds
            ),
            rows: rows
        )
    }
}
