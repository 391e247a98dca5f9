import FoundationEssentials
import Journal
import OPCUAClient
import OPCUACodec
import Testing
import TimescaleStore

@testable import Ingestion

@Suite struct JournalRecordsTests {
    private let connection = UUID()
    private let well = UUID()

    private func key(_ name: String) -> TagKey { TagKey(wellID: well, nodeID: "ns=2;s=\(name)") }

    private var states: TagStateRecord {
        TagStateRecord(states: [
            (
                key("a"),
                TagState(
                    sourceMicroseconds: 5,
                    storedMicroseconds: 6,
                    subMicroseconds: 3,
                    form: .number,
                    status: 0x4000_0000,
                    bits: 42
                )
            ),
            (key("ö"), TagState(sourceMicroseconds: -1, storedMicroseconds: .max, form: .text, bits: .max)),
        ])
    }

    private var subscriptions: SubscriptionsRecord {
        SubscriptionsRecord(
            endpointURL: "opc.tcp://plc:4840",
            lastReceivedAt: 77,
            subscriptions: [
                RestoredSubscription(
                    subscriptionID: 9,
                    publishingInterval: 250.5,
                    maximumKeepAliveCount: 20,
                    lifetimeCount: 60,
                    handles: [0, 7],
                    lastDurableSequenceNumber: 31
                )
            ],
            handles: [(0, key("a")), (7, key("b"))]
        )
    }

    private var gap: GapRecord {
        GapRecord(
            connectionID: connection,
            tagNodeID: nil,
            startedAtMicros: 10,
            endedAtMicros: 20,
            cause: "subscription_lost",
            readingsRecovered: 3
        )
    }

    @Test func recordsReadBackAsTheyWereWritten() throws {
        states.encoded().withUnsafeBytes { #expect(TagStateRecord($0) == states) }
        subscriptions.encoded().withUnsafeBytes { bytes in
            let read = SubscriptionsRecord(bytes)
            #expect(read?.subscriptions == subscriptions.subscriptions)
            #expect(read?.endpointURL == subscriptions.endpointURL && read?.lastReceivedAt == 77)
            #expect(read?.handles.map(\.handle) == [0, 7] && read?.handles.map(\.key) == [key("a"), key("b")])
        }
        let gap = gap
        GapRecordFormat.encoded(gap).withUnsafeBytes { #expect(GapRecordFormat.decoded($0) == gap) }
        let healing = Healing(gap: gap, holes: [TagHole(key: key("a"), after: 10, until: 20)])
        HealingRecord.encoded(healing).withUnsafeBytes { #expect(HealingRecord.decoded($0) == healing) }
    }

    /// What an intake writes straight from its table reads back as the table was.
    @Test func aTableReadsBackAsItWas() {
        let table = TagTable()
        let handles = ["a", "ö", "unknown"].map { table.handle(for: key($0)) }
        for (handle, entry) in zip(handles, states.states) { table.setState(entry.state, of: handle) }
        TagStateRecord.encoded(table).withUnsafeBytes { #expect(TagStateRecord($0) == states) }
        // A handle restored beyond the others leaves some that stand for no tag.
        table.restore(9, for: key("late"))
        TagStateRecord.encoded(table).withUnsafeBytes { #expect(TagStateRecord($0) == states) }
        subscriptions.encoded(table).withUnsafeBytes { bytes in
            let read = SubscriptionsRecord(bytes)
            #expect(read?.subscriptions == subscriptions.subscriptions)
            #expect(read?.handles.map(\.handle) == [0, 1, 2, 9])
            #expect(read?.handles.map(\.key) == ["a", "ö", "unknown", "late"].map(key))
        }
    }

    @Test func truncatedAnywhereTheyAreNone() {
        func truncations(_ buffer: RowBuffer, _ isNone: (UnsafeRawBufferPointer) -> Bool) {
            buffer.withUnsafeBytes { whole in
                for length in 0..<whole.count {
                    #expect(isNone(UnsafeRawBufferPointer(rebasing: whole[..<length])), "\(length) of \(whole.count)")
                }
            }
        }
        truncations(states.encoded()) { TagStateRecord($0) == nil }
        truncations(subscriptions.encoded()) { SubscriptionsRecord($0) == nil }
        truncations(GapRecordFormat.encoded(gap)) { GapRecordFormat.decoded($0) == nil }
        truncations(HealingRecord.encoded(Healing(gap: gap, holes: [TagHole(key: key("a"), after: 1, until: 2)]))) {
            HealingRecord.decoded($0) == nil
        }
    }

    /// The journal's records of a run, as recovery sees them.
    private func visit(_ memory: inout TenantMemory, _ record: JournalRecord) {
        record.rows.withUnsafeBytes { memory.visit(record.header, $0) }
    }

    private func readings(
        _ values: [(String, DataValue)],
        sequence: UInt32,
        receivedAt: Int64 = 1000
    ) throws -> JournalRecord {
        let table = TagTable()
        var encoder = ReadingEncoder(table: table)
        let buffer = RowBuffer(capacity: 64)
        encoder.begin()
        let bytes = Notifications.encoded(values.map { (table.handle(for: key($0.0)), $0.1) })
        try bytes.withUnsafeBytes { try encoder.encode($0, receivedAt: receivedAt, into: buffer) }
        return JournalRecord(
            header: RecordHeader(
                rowCount: UInt32(buffer.rowCount),
                source: connection,
                subscriptionID: sequence == 0 ? 0 : 9,
                sequenceNumber: sequence,
                receivedAtMicroseconds: receivedAt,
                earliestMicroseconds: encoder.earliest,
                latestMicroseconds: encoder.latest
            ),
            rows: buffer
        )
    }

    private func value(_ variant: Variant, _ microseconds: Int64) -> DataValue {
        DataValue(variant, sourceTimestamp: DateTime(unixMicroseconds: microseconds))
    }

    @Test func aRestartKnowsTheLastReadingOfEveryTag() throws {
        var memory = TenantMemory()
        visit(&memory, .note(.tagStates, source: connection, states.encoded()))
        visit(&memory, try readings([("a", value(.double(1), 100)), ("b", value(.string("x"), 100))], sequence: 32))
        visit(&memory, try readings([("a", value(.double(2), 200))], sequence: 33, receivedAt: 2000))
        let known = memory.connection(connection)
        #expect(known.lastReceivedAt == 2000)
        #expect(known.sequenceNumbers == [9: 33])
        let a = try #require(known.states[key("a")])
        #expect(a.isSame(sourceMicroseconds: 200, subMicroseconds: 0, form: .number, bits: 2.0.bitPattern, status: 0))
        // Sent again with digits the stored row does not have.
        #expect(a.isSame(sourceMicroseconds: 200, subMicroseconds: 7, form: .number, bits: 2.0.bitPattern, status: 0))
        #expect(!a.isSame(sourceMicroseconds: 201, subMicroseconds: 0, form: .number, bits: 2.0.bitPattern, status: 0))
        #expect(!a.isSame(sourceMicroseconds: 200, subMicroseconds: 0, form: .number, bits: 3.0.bitPattern, status: 0))
        #expect(known.states[key("b")]?.form == .text)
        // What a snapshot said of tags that did not report since stays.
        #expect(known.states[key("ö")]?.form == .text)
    }

    @Test func subscriptionsAreTakenOverFromTheSameServerOnly() throws {
        var memory = TenantMemory()
        visit(&memory, try readings([("a", value(.double(1), 100))], sequence: 500))
        visit(&memory, .note(.subscriptions, source: connection, subscriptions.encoded()))
        var known = memory.connection(connection)
        // What the id counted before this record was another subscription's.
        #expect(known.restorable(endpointURL: "opc.tcp://plc:4840").map(\.lastDurableSequenceNumber) == [31])
        #expect(known.restorable(endpointURL: "opc.tcp://other:4840").isEmpty)
        visit(&memory, try readings([("a", value(.double(2), 200))], sequence: 32))
        known = memory.connection(connection)
        #expect(known.restorable(endpointURL: "opc.tcp://plc:4840").map(\.lastDurableSequenceNumber) == [32])
    }

    @Test func healingGoesOnWhereItEnded() throws {
        var memory = TenantMemory()
        let holes = [TagHole(key: key("a"), after: 10, until: 100), TagHole(key: key("b"), after: 10, until: 100)]
        visit(&memory, .note(.healing, source: connection, HealingRecord.encoded(Healing(gap: gap, holes: holes))))
        let before = memory.connection(connection).states
        visit(&memory, try readings([("a", value(.double(5), 40)), ("a", value(.double(6), 60))], sequence: 0))
        let healing = try #require(memory.healings.values.first)
        #expect(healing.holes.map(\.after) == [60, 10])
        #expect(memory.connection(connection).states == before, "history is no tag's last reading")
        visit(&memory, .note(.healing, source: connection, HealingRecord.encoded(Healing(gap: healing.gap, holes: []))))
        #expect(memory.healings.isEmpty)
    }

    @Test func aBreakWhoseEndWasNotSeenGoesOn() throws {
        var memory = TenantMemory()
        let open = OpenGapRecord(
            id: UUID(),
            cause: .subscriptionLost,
            startedAt: 50,
            firstAt: nil,
            awaited: [key("a"): 100, key("b"): 110, key("c"): 120],
            holes: [TagHole(key: key("d"), after: 1, until: 9)]
        )
        visit(&memory, .note(.openGap, source: connection, open.encoded()))
        #expect(memory.connection(connection).openGap == open)
        // What history gives is no first value.
        visit(&memory, try readings([("a", value(.double(7), 105))], sequence: 0))
        #expect(memory.connection(connection).openGap == open)
        visit(
            &memory,
            try readings([("a", value(.double(1), 300)), ("b", value(.double(2), 110))], sequence: 1, receivedAt: 400)
        )
        visit(&memory, try readings([("a", value(.double(2), 500))], sequence: 2, receivedAt: 600))
        let known = try #require(memory.connection(connection).openGap)
        #expect(known.awaited == [key("c"): 120] && known.firstAt == 400)
        #expect(known.holes == open.holes + [TagHole(key: key("a"), after: 100, until: 300)])

        var closed = memory
        visit(&closed, .note(.openGap, source: connection, OpenGapRecord.closed(open.id)))
        #expect(closed.connection(connection).openGap == nil)
        var other = GapRecord(connectionID: connection, startedAtMicros: 50, cause: "queue_overflow")
        visit(&memory, .note(.gap, source: connection, GapRecordFormat.encoded(other)))
        #expect(memory.connection(connection).openGap == known)
        other.id = open.id
        visit(&memory, .note(.gap, source: connection, GapRecordFormat.encoded(other)))
        #expect(memory.connection(connection).openGap == nil, "it has its bounds")
    }

    @Test func damagedOrUnknownRecordsAreIgnored() {
        var memory = TenantMemory()
        let nonsense = RowBuffer(capacity: 16)
        [UInt8](repeating: 0xFF, count: 11).withUnsafeBytes { nonsense.append($0) }
        for kind in 0...10 {
            visit(&memory, .note(RecordKind(rawValue: UInt8(kind)), source: connection, nonsense))
        }
        #expect(memory.healings.isEmpty && memory.gaps.isEmpty)
    }
}
