import FoundationEssentials
import Journal
import OPCUAClient
import TimescaleStore

/// What a tenant's journal tells about its connections when it is opened: the tags' last readings and the subscriptions
/// that the servers may still hold.
struct TenantMemory {
    struct Connection {
        var states: [TagKey: TagState] = [:]
        var subscriptions: SubscriptionsRecord?
        /// The last sequence number in the journal of each subscription.
        var sequenceNumbers: [UInt32: UInt32] = [:]
        /// When the last notification arrived, microseconds since 1970.
        var lastReceivedAt: Int64?
        /// A break after which first values were awaited when the process ended.
        var openGap: OpenGapRecord?

        /// The subscriptions with what has arrived since they were written down.
        var continuedSubscriptions: SubscriptionsRecord? {
            guard var record = subscriptions else { return nil }
            record.lastReceivedAt = lastReceivedAt ?? record.lastReceivedAt
            for index in record.subscriptions.indices {
                if let last = sequenceNumbers[record.subscriptions[index].subscriptionID] {
                    record.subscriptions[index].lastDurableSequenceNumber = last
                }
            }
            return record
        }

        /// What may be taken over from the server, if it is still the same one.
        func restorable(endpointURL: String) -> [RestoredSubscription] {
            guard let record = continuedSubscriptions, record.endpointURL == endpointURL else { return [] }
            return record.subscriptions
        }

        /// This over what another replica left, when both are of the same time as owner: of each tag the later reading.
        func laid(over base: Connection) -> Connection {
            var all = self
            all.states.merge(base.states) { own, left in
                own.storedMicroseconds >= left.storedMicroseconds ? own : left
            }
            all.openGap = openGap ?? base.openGap
            guard (lastReceivedAt ?? .min) <= (base.lastReceivedAt ?? .min) || subscriptions == nil else { return all }
            all.subscriptions = base.subscriptions
            all.sequenceNumbers.merge(base.sequenceNumbers) { own, _ in own }
            all.lastReceivedAt = [lastReceivedAt, base.lastReceivedAt].compactMap { $0 }.max()
            return all
        }
    }

    private(set) var connections: [UUID: Connection] = [:]
    /// Gaps that may not have reached the database.
    private(set) var gaps: [GapRecord] = []
    /// Gaps that were being filled from history, and how far that had come.
    private(set) var healings: [UUID: Healing] = [:]

    /// One record of the journal, in order.
    mutating func visit(_ header: RecordHeader, _ payload: UnsafeRawBufferPointer) {
        switch header.kind {
        case .readings:
            visitReadings(header, payload)
        case .tagStates:
            guard let record = TagStateRecord(payload) else { return }
            var states: [TagKey: TagState] = [:]
            for (key, state) in record.states { states[key] = state }
            connections[header.source, default: Connection()].states = states
        case .subscriptions:
            guard let record = SubscriptionsRecord(payload) else { return }
            var connection = connections[header.source] ?? Connection()
            connection.subscriptions = record
            if let at = record.lastReceivedAt { connection.lastReceivedAt = max(connection.lastReceivedAt ?? at, at) }
            // Ids are given out anew by a restarted server: what was counted under them before is of another subscription.
            connection.sequenceNumbers = Dictionary(
                record.subscriptions.map { ($0.subscriptionID, $0.lastDurableSequenceNumber) }
            ) { _, last in last }
            connections[header.source] = connection
        case .healing:
            guard let healing = HealingRecord.decoded(payload) else { return }
            healings[healing.gap.id] = healing.holes.isEmpty ? nil : healing
        case .gap:
            guard let gap = GapRecordFormat.decoded(payload) else { return }
            gaps.append(gap)
            // The break has its bounds.
            if connections[header.source]?.openGap?.id == gap.id { connections[header.source]?.openGap = nil }
        case .openGap:
            guard let record = OpenGapRecord.decoded(payload) else { return }
            connections[header.source, default: Connection()].openGap = record
        default: break
        }
    }

    private mutating func visitReadings(_ header: RecordHeader, _ payload: UnsafeRawBufferPointer) {
        var connection = connections.removeValue(forKey: header.source) ?? Connection()
        defer { connections[header.source] = connection }
        if header.sequenceNumber != 0 {
            connection.sequenceNumbers[header.subscriptionID] = header.sequenceNumber
            connection.lastReceivedAt = max(connection.lastReceivedAt ?? .min, header.receivedAtMicroseconds)
            if connection.openGap != nil, connection.openGap?.firstAt == nil {
                connection.openGap?.firstAt = header.receivedAtMicroseconds
            }
        } else {
            // Rows from history are older than what the tag's state stands for.
            return visitHistory(header, payload)
        }
        var rest = payload[...]
        while !rest.isEmpty {
            // Records hold whole rows of our own; what cannot be read is of a version that is not known.
            guard let row = try? CopyRow(prefixOf: UnsafeRawBufferPointer(rebasing: rest)), let well = row.wellID,
                let state = Self.state(of: row)
            else { return }
            let key = TagKey(wellID: well, nodeID: row.tagNodeID)
            connection.states[key] = state
            connection.openGap?.take(key, at: state.storedMicroseconds)
            rest = rest.dropFirst(row.bytes.count)
        }
    }

    /// What was read already of the holes that are being filled.
    private mutating func visitHistory(_ header: RecordHeader, _ payload: UnsafeRawBufferPointer) {
        guard header.latestMicroseconds != .min, let row = try? CopyRow(prefixOf: payload), let well = row.wellID else {
            return
        }
        // A record of history is of one tag, oldest first.
        let key = TagKey(wellID: well, nodeID: row.tagNodeID)
        for id in healings.keys where healings[id]?.gap.connectionID == header.source {
            healings[id]?.advance(key, to: header.latestMicroseconds)
        }
    }

    /// The state a stored row stands for. The source's own timestamp is not in it, hence the unknown digits.
    static func state(of row: CopyRow) -> TagState? {
        guard let timestamp = row.timestampMicrosecondsSince2000 else { return nil }
        let stored = timestamp &+ RowFormat.epochMicroseconds
        let number = row.column(3).flatMap { bytes in
            bytes.count == 8 ? Double(bitPattern: UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self))) : nil
        }
        let text = row.column(6)
        var state = TagState(sourceMicroseconds: stored, storedMicroseconds: stored, subMicroseconds: -1)
        switch (number, text) {
        case (nil, nil): state.form = .none
        case (let number?, nil):
            state.form = .number
            state.bits = number.bitPattern
        case (nil, let text?):
            state.form = .text
            state.bits = TagState.hash(text)
        case (let number?, let text?):
            state.form = .numberAndText
            state.bits = TagState.bits(number: number, text: text)
        }
        if let bytes = row.column(5), bytes.count == 8 {
            state.status = UInt32(truncatingIfNeeded: Int64(bigEndian: bytes.loadUnaligned(as: Int64.self)))
        }
        return state
    }

    func connection(_ id: UUID) -> Connection { connections[id] ?? Connection() }
}
