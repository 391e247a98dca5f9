package import FoundationEssentials
import Journal
import Logging
import NIOCore
package import OPCUAClient
package import OPCUACodec
import Synchronization
import TimescaleStore

/// Takes a connection's notifications: encodes them, appends them to the tenant's journal, and lets the connection
/// acknowledge what has become durable.
///
/// Everything runs on the connection's event loop, but for the figures. That rule is why the class may be `@unchecked Sendable`.
package final class ConnectionIntake: NotificationConsumer, @unchecked Sendable {
    package let connectionID: UUID
    let eventLoop: any EventLoop
    /// As configured: a subscription can only be taken over from the same server.
    let endpointURL: String
    let journal: TenantJournal
    let buffers: RowBufferPool
    /// Nothing is taken when it is not valid any more; nil where there are no other replicas.
    let pass: LeasePass?
    let events: IntakeEvents
    let logger: Logger

    // MARK: On the event loop

    let table = TagTable()
    var encoder: ReadingEncoder
    var buffer: RowBuffer?
    /// Bytes of the largest of the last records: what the next may need.
    private var usualBytes = 0
    /// Appended and not acknowledged yet, in the order of the journal.
    var appended = CircularBuffer<Appended>(initialCapacity: 16)
    var badTags: [UInt32: BadTag] = [:]
    var lastReceivedAt: Int64?
    /// The subscriptions in use now, or until there are any those of the earlier run.
    var subscriptions: SubscriptionsRecord?
    /// The last sequence number appended of each subscription.
    var sequenceNumbers: [UInt32: UInt32] = [:]
    /// A break after which first values are awaited.
    var openGap: OpenGap?
    /// The ids of the subscriptions that readings came from so far.
    var knownSubscriptions: Set<UInt32> = []
    var deadbands: [UInt32: MonitoredItemSpecification.Deadband] = [:]
    weak var connection: OPCUAConnection?
    private let durability: DurabilityQueue
    /// In that queue.
    private var isWaiting = false

    struct Appended {
        var position: JournalPosition
        var context: NotificationContext
    }

    struct OpenGap {
        var id = UUID()
        var cause: IntakeGap.Cause
        var startedAt: Int64
        var awaited: Set<UInt32>
        var holes: [TagHole] = []
        /// The first notification after the break.
        var firstAt: Int64?
    }

    // MARK: For everybody

    struct Shared {
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

    let shared = Mutex(Shared())
    init(
        connectionID: UUID,
        endpointURL: String,
        eventLoop: any EventLoop,
        journal: TenantJournal,
        buffers: RowBufferPool,
        pass: LeasePass? = nil,
        durability: DurabilityQueue? = nil,
        events: IntakeEvents,
        logger: Logger
    ) {
        self.connectionID = connectionID
        self.endpointURL = endpointURL
        self.eventLoop = eventLoop
        self.journal = journal
        self.buffers = buffers
        self.pass = pass
        self.durability = durability ?? DurabilityQueue(eventLoop: eventLoop)
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
    func reopen(_ record: OpenGapRecord) {
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
    func snapshot() -> TagStateRecord {
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
    func currentBuffer() -> RowBuffer {
        if let buffer { return buffer }
        let fresh = buffers.take(capacity: usualBytes + usualBytes / 8)
        buffer = fresh
        encoder.begin()
        return fresh
    }

    /// Whether this process took the connection over and has received nothing from it yet.
    private var awaitsFirstAfterTakeover: Bool {
        guard let openGap else { return false }
        return openGap.firstAt == nil && openGap.cause == .ownerLost
    }

    package func completeAtOnce(_ context: NotificationContext) throws -> Bool {
        // Told once, and the other call tells it.
        guard !awaitsFirstAfterTakeover else { return false }
        let record = try record(of: context)
        do {
            guard let position = try journal.appendIfPossible(record) else { return false }
            buffer = nil
            taken(context, position)
            return true
        } catch {
            throwAway(record.rows)
            throw error
        }
    }

    nonisolated(nonsending) package func notificationComplete(_ context: NotificationContext) async throws {
        let record = try record(of: context)
        if awaitsFirstAfterTakeover { events.firstAfterTakeover() }
        buffer = nil
        let position: JournalPosition
        do {
            position = try await journal.append(record)
        } catch {
            throwAway(record.rows)
            throw error
        }
        taken(context, position)
    }

    /// What the journal is given of the present notification.
    /// - Throws: when this process may not store it; then it is thrown away.
    private func record(of context: NotificationContext) throws -> JournalRecord {
        let rows = currentBuffer()
        usualBytes = max(rows.count, usualBytes - usualBytes / 64)
        if let pass, !pass.isValid {
            // Another replica may have the connection by now: what waited in a buffer while this process stood still is its.
            throwAway(rows)
            throw LeaseGate.Closed()
        }
        // A message whose values were all known already is recorded too: its sequence number has been dealt with.
        return JournalRecord(
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
    }

    private func throwAway(_ rows: RowBuffer) {
        buffer = nil
        buffers.put(rows)
        encoder.revert()
    }

    /// The notification is in the journal up to `position`.
    private func taken(_ context: NotificationContext, _ position: JournalPosition) {
        let durable = journal.durablePosition
        // In time for the PublishRequest that this notification's answer gives rise to.
        if !appended.isEmpty { acknowledge(upTo: durable) }
        appended.append(Appended(position: position, context: context))
        sequenceNumbers[context.subscriptionID] = context.sequenceNumber
        take(encoder.events, context)
        lastReceivedAt = context.receivedAtUnixMicroseconds
        let figures = encoder.figures
        shared.withLock { shared in
            shared.figures = figures
            shared.lastReceivedAt = context.receivedAtUnixMicroseconds
            if context.isRepublished { shared.republished &+= 1 }
        }
    }

    package func notificationAborted(_ context: NotificationContext) {
        guard let rows = buffer else { return }
        buffer = nil
        encoder.revert()
        buffers.put(rows)
    }

    // MARK: Acknowledgement

    package func acknowledgeDurable() {
        // In the queue before the question: a sync in between is told.
        if !appended.isEmpty, !isWaiting {
            isWaiting = true
            durability.add(self)
        }
        acknowledge(upTo: journal.durablePosition)
    }

    /// The journal's records up to `position` are on the disk; called once for each time in the queue.
    func isTurn(upTo position: JournalPosition) {
        isWaiting = false
        acknowledge(upTo: position)
        if !appended.isEmpty {
            isWaiting = true
            durability.add(self)
        }
    }

    func acknowledge(upTo position: JournalPosition) {
        var last: NotificationContext?
        while let first = appended.first, first.position <= position {
            appended.removeFirst()
            // One call for all of a subscription in a row.
            if let previous = last, previous.subscriptionID != first.context.subscriptionID { tell(previous) }
            last = first.context
        }
        if let last { tell(last) }
    }

    func tell(_ context: NotificationContext) { connection?.assumeIsolated { $0.acknowledge(context) } }

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
}
