import FoundationEssentials
import Journal
import OPCUAClient

extension RecordKind {
    /// The states of a connection's tags at this place of the journal: ``TagStateRecord``.
    static let tagStates = RecordKind(rawValue: 2)
    /// The subscriptions of a connection and the handles of its tags: ``SubscriptionsRecord``.
    static let subscriptions = RecordKind(rawValue: 3)
    /// A gap to be brought into `scada_gaps`: ``GapRecordFormat``.
    static let gap = RecordKind(rawValue: 4)
    /// A gap that is being filled from history: ``HealingRecord``.
    static let healing = RecordKind(rawValue: 5)
}

extension JournalRecord {
    /// A record without rows.
    static func note(_ kind: RecordKind, source: UUID, _ payload: RowBuffer) -> JournalRecord {
        let now = WallTime.microseconds()
        return JournalRecord(
            header: RecordHeader(
                kind: kind,
                rowCount: 0,
                source: source,
                receivedAtMicroseconds: now,
                earliestMicroseconds: now,
                latestMicroseconds: now
            ),
            rows: payload
        )
    }
}

/// Writes fixed-width little-endian fields and length-prefixed text: the form of the journal's own records. What is read
/// was protected by the journal's checksum, so a reader that finds nonsense has met a version it does not know.
struct FieldWriter {
    /// The record's payload, as the journal takes it.
    let buffer: RowBuffer

    init(capacity: Int = 1024) { buffer = RowBuffer(capacity: capacity) }

    mutating func put<T: FixedWidthInteger & BitwiseCopyable>(_ value: T) {
        let size = MemoryLayout<T>.size
        buffer.reserve(size).storeBytes(of: value.littleEndian, as: T.self)
        buffer.advance(size, rows: 0)
    }

    mutating func put(_ bytes: UnsafeRawBufferPointer) {
        let target = buffer.reserve(bytes.count)
        if let source = bytes.baseAddress { target.copyMemory(from: source, byteCount: bytes.count) }
        buffer.advance(bytes.count, rows: 0)
    }

    mutating func put(_ value: Double) { put(value.bitPattern) }

    mutating func put(_ text: String) {
        var text = text
        text.withUTF8 { utf8 in
            put(UInt32(utf8.count))
            put(UnsafeRawBufferPointer(utf8))
        }
    }

    mutating func put(_ id: UUID) { withUnsafeBytes(of: id.uuid) { put($0) } }

    /// A value that may be absent: a byte tells.
    mutating func put<T: FixedWidthInteger & BitwiseCopyable>(optional value: T?) {
        put(UInt8(value == nil ? 0 : 1))
        if let value { put(value) }
    }

    mutating func put(optional text: String?) {
        put(UInt8(text == nil ? 0 : 1))
        if let text { put(text) }
    }
}

/// Reads what ``FieldWriter`` wrote; nil from any method: the bytes are not such a record.
struct FieldReader {
    private let bytes: UnsafeRawBufferPointer
    private var offset = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var isAtEnd: Bool { offset == bytes.count }

    mutating func get<T: FixedWidthInteger>(_ type: T.Type = T.self) -> T? {
        guard bytes.count - offset >= MemoryLayout<T>.size else { return nil }
        defer { offset += MemoryLayout<T>.size }
        return T(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: T.self))
    }

    mutating func double() -> Double? { get(UInt64.self).map { Double(bitPattern: $0) } }

    mutating func text() -> String? {
        guard let length = get(UInt32.self), bytes.count - offset >= Int(length) else { return nil }
        defer { offset += Int(length) }
        return String(decoding: bytes[offset..<offset + Int(length)], as: UTF8.self)
    }

    mutating func uuid() -> UUID? {
        guard bytes.count - offset >= 16 else { return nil }
        defer { offset += 16 }
        var id = UUID().uuid
        withUnsafeMutableBytes(of: &id) {
            $0.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + 16]))
        }
        return UUID(uuid: id)
    }

    /// `.some(nil)`: absent.
    mutating func optional<T: FixedWidthInteger>(_ type: T.Type = T.self) -> T?? {
        guard let flag = get(UInt8.self) else { return nil }
        return flag == 0 ? .some(nil) : get(T.self).map { .some($0) }
    }

    mutating func optionalText() -> String?? {
        guard let flag = get(UInt8.self) else { return nil }
        return flag == 0 ? .some(nil) : text().map { .some($0) }
    }
}

/// The states of tags, so that recovery need not read the journal from its beginning.
struct TagStateRecord: Equatable {
    var states: [(key: TagKey, state: TagState)]

    static func == (left: TagStateRecord, right: TagStateRecord) -> Bool {
        left.states.elementsEqual(right.states) { $0.key == $1.key && $0.state == $1.state }
    }

    func encoded() -> RowBuffer {
        var writer = FieldWriter()
        writer.put(UInt32(states.count))
        for (key, state) in states {
            writer.put(key.wellID)
            writer.put(key.nodeID)
            Self.put(state, &writer)
        }
        return writer.buffer
    }

    /// The same of a whole table, without a copy of it.
    static func encoded(_ table: TagTable) -> RowBuffer {
        var writer = FieldWriter(capacity: 4 + table.count * 96)
        writer.put(
            UInt32((0..<table.count).count { table.state(of: UInt32($0)) != nil && table.slots[$0].prefix != nil })
        )
        for handle in 0..<table.count {
            guard let prefix = table.slots[handle].rowPrefix, let state = table.state(of: UInt32(handle)) else {
                continue
            }
            put(prefix, &writer)
            put(state, &writer)
        }
        return writer.buffer
    }

    /// The tag's key: what the prefix of its rows has.
    fileprivate static func put(_ prefix: UnsafeRawBufferPointer, _ writer: inout FieldWriter) {
        let node = RowFormat.nodeID(inPrefix: prefix)
        writer.put(RowFormat.wellID(inPrefix: prefix))
        writer.put(UInt32(node.count))
        writer.put(node)
    }

    private static func put(_ state: TagState, _ writer: inout FieldWriter) {
        writer.put(state.sourceMicroseconds)
        writer.put(state.storedMicroseconds)
        writer.put(state.subMicroseconds)
        writer.put(state.form.rawValue)
        writer.put(state.status)
        writer.put(state.bits)
    }

    init(states: [(key: TagKey, state: TagState)]) { self.states = states }

    init?(_ bytes: UnsafeRawBufferPointer) {
        var reader = FieldReader(bytes)
        guard let count = reader.get(UInt32.self) else { return nil }
        states = []
        for _ in 0..<count {
            guard let well = reader.uuid(), let node = reader.text(), let source = reader.get(Int64.self),
                let stored = reader.get(Int64.self), let below = reader.get(Int8.self),
                let form = reader.get(UInt8.self).flatMap({ TagState.Form(rawValue: $0) }),
                let status = reader.get(UInt32.self), let bits = reader.get(UInt64.self)
            else { return nil }
            states.append(
                (
                    TagKey(wellID: well, nodeID: node),
                    TagState(
                        sourceMicroseconds: source,
                        storedMicroseconds: stored,
                        subMicroseconds: below,
                        form: form,
                        status: status,
                        bits: bits
                    )
                )
            )
        }
    }
}

/// What a connection has at its server, so that the next run of the process can take it over.
struct SubscriptionsRecord {
    var endpointURL: String
    /// When the last notification before arrived, microseconds since 1970.
    var lastReceivedAt: Int64?
    var subscriptions: [RestoredSubscription]
    var handles: [(handle: UInt32, key: TagKey)]

    func encoded() -> RowBuffer {
        var writer = FieldWriter(capacity: 1024 + handles.count * 64)
        putHead(&writer)
        writer.put(UInt32(handles.count))
        for (handle, key) in handles {
            writer.put(handle)
            writer.put(key.wellID)
            writer.put(key.nodeID)
        }
        return writer.buffer
    }

    /// The same with the handles of a whole table instead of ``handles``.
    func encoded(_ table: TagTable) -> RowBuffer {
        var writer = FieldWriter(capacity: 1024 + table.count * 64)
        putHead(&writer)
        writer.put(UInt32((0..<table.count).count { table.slots[$0].prefix != nil }))
        for handle in 0..<table.count {
            guard let prefix = table.slots[handle].rowPrefix else { continue }
            writer.put(UInt32(handle))
            TagStateRecord.put(prefix, &writer)
        }
        return writer.buffer
    }

    private func putHead(_ writer: inout FieldWriter) {
        writer.put(endpointURL)
        writer.put(optional: lastReceivedAt)
        writer.put(UInt32(subscriptions.count))
        for subscription in subscriptions {
            writer.put(subscription.subscriptionID)
            writer.put(subscription.publishingInterval)
            writer.put(subscription.maximumKeepAliveCount)
            writer.put(subscription.lifetimeCount)
            writer.put(subscription.lastDurableSequenceNumber)
            writer.put(UInt32(subscription.handles.count))
            for handle in subscription.handles { writer.put(handle) }
        }
    }

    init(
        endpointURL: String,
        lastReceivedAt: Int64?,
        subscriptions: [RestoredSubscription],
        handles: [(handle: UInt32, key: TagKey)]
    ) {
        self.endpointURL = endpointURL
        self.lastReceivedAt = lastReceivedAt
        self.subscriptions = subscriptions
        self.handles = handles
    }

    init?(_ bytes: UnsafeRawBufferPointer) {
        var reader = FieldReader(bytes)
        guard let url = reader.text(), let received = reader.optional(Int64.self), let count = reader.get(UInt32.self)
        else { return nil }
        endpointURL = url
        lastReceivedAt = received
        subscriptions = []
        for _ in 0..<count {
            guard let id = reader.get(UInt32.self), let interval = reader.double(),
                let keepAlive = reader.get(UInt32.self),
                let lifetime = reader.get(UInt32.self), let last = reader.get(UInt32.self),
                let items = reader.get(UInt32.self)
            else { return nil }
            var handles: [UInt32] = []
            for _ in 0..<items {
                guard let handle = reader.get(UInt32.self) else { return nil }
                handles.append(handle)
            }
            subscriptions.append(
                RestoredSubscription(
                    subscriptionID: id,
                    publishingInterval: interval,
                    maximumKeepAliveCount: keepAlive,
                    lifetimeCount: lifetime,
                    handles: handles,
                    lastDurableSequenceNumber: last
                )
            )
        }
        guard let tags = reader.get(UInt32.self) else { return nil }
        handles = []
        for _ in 0..<tags {
            guard let handle = reader.get(UInt32.self), let well = reader.uuid(), let node = reader.text() else {
                return nil
            }
            handles.append((handle, TagKey(wellID: well, nodeID: node)))
        }
    }
}
