import FoundationEssentials
import Journal
import OPCUACodec
import Testing

@testable import Ingestion

/// 2026-01-01T00:00:00Z in microseconds since 1970.
private let noon: Int64 = 1_767_225_600_000_000

@Suite struct ReadingEncoderTests {
    private let well = UUID()

    private func makeEncoder(tags: Int = 3) -> ReadingEncoder {
        let table = TagTable()
        for index in 0..<tags { _ = table.handle(for: TagKey(wellID: well, nodeID: "ns=2;s=T\(index)")) }
        return ReadingEncoder(table: table)
    }

    private func value(_ value: Variant, at microseconds: Int64 = noon, status: UInt32 = 0) -> DataValue {
        DataValue(
            value,
            status: StatusCode(rawValue: status),
            sourceTimestamp: DateTime(unixMicroseconds: microseconds)
        )
    }

    /// One notification through the encoder.
    private func encode(
        _ encoder: inout ReadingEncoder,
        _ values: [(handle: UInt32, value: DataValue)],
        receivedAt: Int64 = noon + 5
    ) throws -> [Row] {
        let buffer = RowBuffer(capacity: 64)
        encoder.begin()
        try Notifications.encoded(values).withUnsafeBytes {
            try encoder.encode($0, receivedAt: receivedAt, into: buffer)
        }
        let rows = try Row.all(in: buffer)
        #expect(buffer.rowCount == rows.count)
        return rows
    }

    struct Kind: Sendable {
        var value: Variant
        var number: Double?
        var text: String?

        init(_ value: Variant, _ number: Double?, _ text: String? = nil) {
            self.value = value
            self.number = number
            self.text = text
        }
    }

    static let numbers: [Kind] = [
        Kind(.boolean(true), 1), Kind(.boolean(false), 0), Kind(.sbyte(-5), -5), Kind(.byte(250), 250),
        Kind(.int16(-30_000), -30_000), Kind(.uint16(65_535), 65_535), Kind(.int32(.min), -2_147_483_648),
        Kind(.uint32(.max), 4_294_967_295), Kind(.int64(-9), -9), Kind(.uint64(7), 7),
        Kind(.int64(9_007_199_254_740_992), 9_007_199_254_740_992),
        Kind(.int64(9_007_199_254_740_993), 9_007_199_254_740_992, "9007199254740993"),
        Kind(.int64(.min), -9_223_372_036_854_775_808, "-9223372036854775808"),
        Kind(.uint64(.max), 18_446_744_073_709_551_616, "18446744073709551615"),
        Kind(.float(0.5), 0.5), Kind(.double(1.25e300), 1.25e300), Kind(.double(.infinity), .infinity),
        Kind(.statusCode(.badNoData), Double(StatusCode.badNoData.rawValue)),
    ]

    static let texts: [Kind] = [
        Kind(.string("Öl\0er"), nil, "Öl\u{FFFD}er"), Kind(.string(""), nil, ""), Kind(.string(nil), nil),
        Kind(.dateTime(DateTime(unixMicroseconds: noon + 1_500_000)), nil, "2026-01-01T00:00:01.5Z"),
        Kind(.byteString([1, 2, 3]), nil, "AQID"),
        Kind(.localizedText(LocalizedText("open", locale: "en")), nil, "open"),
        Kind(.nodeId(NodeId(namespaceIndex: 2, identifier: .string("a"))), nil, "ns=2;s=a"),
        Kind(.null, nil),
    ]

    static let arrays: [Kind] = [
        Kind(.array(type: .int32, elements: [.int32(1), .int32(2)], dimensions: []), nil, "[1,2]"),
        Kind(
            .array(type: .double, elements: [.double(1), .double(2), .double(3), .double(.nan)], dimensions: [2, 2]),
            nil,
            "[[1.0,2.0],[3.0,\"nan\"]]"
        ),
        Kind(
            .array(type: .string, elements: [.string("a\"b"), .string(nil)], dimensions: []),
            nil,
            "[\"a\\\"b\",null]"
        ),
    ]

    static let kinds = numbers + texts + arrays

    @Test(arguments: kinds) func everyKindOfValueHasItsColumns(kind: Kind) throws {
        var encoder = makeEncoder()
        let rows = try encode(&encoder, [(1, value(kind.value))])
        #expect(
            rows == [
                Row(
                    node: "ns=2;s=T1",
                    microseconds: noon,
                    number: kind.number,
                    quality: "Good",
                    status: nil,
                    text: kind.text
                )
            ]
        )
    }

    @Test func notANumberIsKept() throws {
        var encoder = makeEncoder()
        let rows = try encode(&encoder, [(0, value(.double(.nan)))])
        #expect(rows.count == 1 && rows[0].number?.isNaN == true)
    }

    static let statuses: [(UInt32, String, Int64?)] = [
        (0, "Good", nil), (0x0096_0000, "Good", 0x0096_0000), (0x4094_0000, "Uncertain", 0x4094_0000),
        (0x8034_0000, "Bad", 0x8034_0000), (0xC000_0000, "Bad", 0xC000_0000),
    ]

    @Test(arguments: statuses) func statusBecomesQualityAndCode(status: UInt32, quality: String, code: Int64?) throws {
        var encoder = makeEncoder()
        let rows = try encode(&encoder, [(0, value(.double(1), status: status))])
        #expect(rows.first?.quality == quality)
        #expect(rows.first?.status == code)
    }

    @Test func timestampsAreTheSourcesElseTheServersElseOfReceipt() throws {
        var encoder = makeEncoder()
        let both = DataValue(
            .double(1),
            sourceTimestamp: DateTime(unixMicroseconds: noon + 1),
            serverTimestamp: DateTime(unixMicroseconds: noon + 2)
        )
        let server = DataValue(.double(1), serverTimestamp: DateTime(unixMicroseconds: noon + 2))
        let rows = try encode(&encoder, [(0, both), (1, server), (2, DataValue(.double(1)))], receivedAt: noon + 3)
        #expect(rows.map(\.microseconds) == [noon + 1, noon + 2, noon + 3])
        #expect(encoder.figures.receiveTimestamps == 1)
    }

    /// The way for the usual kinds needs bytes to follow: with another value behind it each gives the row it gives alone.
    @Test(arguments: [Int64.min, .min + 1, -1, 0, 1, 116_444_735_999_999_999, 116_444_736_000_000_007, .max - 1, .max])
    func theShortWayGivesWhatTheLongWayGives(_ ticks: Int64) throws {
        let kinds: [Variant] = [
            .double(1.5), .float(-2.25), .int32(-7), .uint32(.max), .int16(-3), .uint16(9), .boolean(true), .byte(4),
            .int64(1 << 60), .null,
        ]
        for kind in kinds {
            for status in [StatusCode.good, StatusCode(rawValue: 0x4000_0000), StatusCode(rawValue: 0x8000_0000)] {
                for server in [nil, DateTime(unixMicroseconds: noon + 2)] {
                    let value = DataValue(
                        kind,
                        status: status,
                        sourceTimestamp: DateTime(ticks: ticks),
                        serverTimestamp: server
                    )
                    var alone = makeEncoder()
                    var followed = makeEncoder()
                    let long = try encode(&alone, [(0, value)], receivedAt: noon + 3)
                    let short = try encode(&followed, [(0, value), (1, self.value(.double(8)))], receivedAt: noon + 3)
                    #expect(short.first == long.first && short.count == 2, "\(value)")
                    #expect(followed.figures.receiveTimestamps == alone.figures.receiveTimestamps, "\(value)")
                }
            }
        }
    }

    @Test func whatWasSentAgainIsDropped() throws {
        var encoder = makeEncoder()
        #expect(try encode(&encoder, [(0, value(.double(1)))]).count == 1)
        #expect(try encode(&encoder, [(0, value(.double(1)))]).isEmpty)
        #expect(encoder.figures.duplicates == 1 && encoder.figures.readings == 1)
        // The same value at another time is another reading, and so is one with an older timestamp.
        #expect(try encode(&encoder, [(0, value(.double(1), at: noon + 1))]).count == 1)
        #expect(
            try encode(&encoder, [(0, value(.double(1), at: noon - 9_000_000))]).map(\.microseconds) == [
                noon - 9_000_000
            ]
        )
    }

    /// Industrial-IoT issue 2382: of two values with one timestamp one was lost.
    @Test func distinctValuesOfOneTimestampAreStoredAMicrosecondApart() throws {
        var encoder = makeEncoder()
        let rows = try encode(
            &encoder,
            [
                (0, value(.double(1))), (0, value(.double(2))), (0, value(.double(2), status: 0x4000_0000)),
                (1, value(.double(1))),
            ]
        )
        #expect(rows.map(\.microseconds) == [noon, noon + 1, noon + 2, noon])
        // A later value whose own timestamp was overtaken by the shift still comes after.
        let next = try encode(&encoder, [(0, value(.double(9), at: noon + 1))])
        #expect(next.map(\.microseconds) == [noon + 3])
    }

    @Test func anAbortedNotificationLeavesNoTrace() throws {
        var encoder = makeEncoder()
        _ = try encode(&encoder, [(0, value(.double(1)))])
        let figures = encoder.figures
        let buffer = RowBuffer(capacity: 64)
        encoder.begin()
        let bytes = Notifications.encoded([(0, value(.double(2), at: noon + 10)), (1, value(.double(3)))])
        bytes.withUnsafeBytes { whole in
            let cut = UnsafeRawBufferPointer(rebasing: whole[..<(whole.count - 12)])
            #expect(throws: DecodingError.self) { try encoder.encode(cut, receivedAt: noon, into: buffer) }
        }
        encoder.revert()
        #expect(encoder.figures == figures)
        // It is sent again and stored now.
        let again = try encode(&encoder, [(0, value(.double(2), at: noon + 10)), (1, value(.double(3)))])
        #expect(again.map(\.number) == [2, 3])
    }

    @Test func truncatedAnywhereItThrowsAndNeverTraps() throws {
        let bytes = Notifications.encoded(
            Self.kinds.enumerated().map { (UInt32($0.offset % 3), value($0.element.value)) }
        )
        for length in 0..<bytes.count {
            var encoder = makeEncoder()
            encoder.begin()
            let buffer = RowBuffer(capacity: 64)
            bytes.withUnsafeBytes { whole in
                let cut = UnsafeRawBufferPointer(rebasing: whole[..<length])
                // The diagnostics behind the items are not read: the last bytes may be missing.
                _ = try? encoder.encode(cut, receivedAt: noon, into: buffer)
            }
            #expect(throws: Never.self) { try Row.all(in: buffer) }
        }
    }

    @Test func bytesFlippedAtRandomNeverTrap() throws {
        let seed: UInt64 = 20_260_101
        var random = SeededGenerator(seed: seed)
        let bytes = Notifications.encoded(
            Self.kinds.enumerated().map { (UInt32($0.offset % 3), value($0.element.value)) }
        )
        for _ in 0..<3000 {
            var mutated = bytes
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                mutated[Int.random(in: 0..<mutated.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            var encoder = makeEncoder()
            encoder.begin()
            let buffer = RowBuffer(capacity: 64)
            mutated.withUnsafeBytes { _ = try? encoder.encode($0, receivedAt: noon, into: buffer) }
            #expect(throws: Never.self, "seed \(seed)") { try Row.all(in: buffer) }
        }
    }

    @Test func unknownHandlesAreCountedAndLeftOut() throws {
        var encoder = makeEncoder(tags: 1)
        let rows = try encode(&encoder, [(0, value(.double(1))), (77, value(.double(2))), (.max, value(.double(3)))])
        #expect(rows.count == 1)
        #expect(encoder.figures.unknownHandles == 2)
    }

    @Test func theOverflowBitIsAnEventWithBounds() throws {
        var encoder = makeEncoder()
        _ = try encode(&encoder, [(0, value(.double(1)))])
        let rows = try encode(&encoder, [(0, value(.double(5), at: noon + 100, status: 0x0480))])
        #expect(rows.count == 1)
        #expect(encoder.figures.overflows == 1)
        guard case .overflow(let handle, let after, let until)? = encoder.events.first else {
            Issue.record("no event")
            return
        }
        #expect(handle == 0 && after == noon && until == noon + 100)
    }

    @Test func theFirstValueAfterABreakIsAnEvent() throws {
        var encoder = makeEncoder()
        _ = try encode(&encoder, [(0, value(.double(1))), (1, value(.double(1)))])
        encoder.expectFirst(0)
        encoder.expectFirst(1)
        // Tag 0 has the value it had, tag 1 another.
        _ = try encode(&encoder, [(0, value(.double(1))), (1, value(.double(2), at: noon + 50))])
        let firsts = encoder.events.compactMap { event -> (UInt32, Int64, Int64)? in
            guard case .first(let handle, let before, let at) = event else { return nil }
            return (handle, before.storedMicroseconds, at)
        }
        #expect(firsts.map(\.0) == [0, 1])
        #expect(firsts.map(\.2) == [noon, noon + 50])
        _ = try encode(&encoder, [(1, value(.double(3), at: noon + 60))])
        #expect(encoder.events.isEmpty)
    }

    @Test func aDeadbandTheServerRefusesIsAppliedHere() throws {
        var encoder = makeEncoder()
        encoder.filter(0, deadband: 1)
        let numbers = [10.0, 10.5, 11.0, 11.1, 9.0, 9.9].enumerated().map { index, number in
            (UInt32(0), value(.double(number), at: noon + Int64(index)))
        }
        let rows = try encode(&encoder, numbers.map { (handle: $0.0, value: $0.1) })
        #expect(rows.map(\.number) == [10, 11.1, 9])
        #expect(encoder.figures.filtered == 3)
        encoder.filter(0, deadband: 0)
        #expect(try encode(&encoder, [(0, value(.double(9.1), at: noon + 9))]).count == 1, "no deadband any more")
    }

    /// What is filtered is compared with what is stored: a message that is taken back leaves no trace.
    @Test func aDeadbandForgetsAMessageThatIsTakenBack() throws {
        var encoder = makeEncoder()
        encoder.filter(0, deadband: 1)
        _ = try encode(&encoder, [(0, value(.double(10)))])
        for _ in 0..<2 {
            let rows = try encode(&encoder, [(0, value(.double(12), at: noon + 1))])
            #expect(rows.map(\.number) == [12])
            encoder.revert()
        }
    }

    @Test func statusChangesPassADeadband() throws {
        var encoder = makeEncoder()
        encoder.filter(0, deadband: 1)
        let statuses: [UInt32] = [0, 0, 0x4000_0000, 0x8000_0000, 0, 0]
        let values = statuses.enumerated().map { index, status in
            (handle: UInt32(0), value: value(.double(10), at: noon + Int64(index), status: status))
        }
        #expect(try encode(&encoder, values).count == 4)
        #expect(encoder.figures.filtered == 2)
    }

    @Test func countsAreKeptByTag() throws {
        var encoder = makeEncoder()
        _ = try encode(&encoder, [(0, value(.double(1))), (0, value(.double(2))), (2, value(.double(2)))])
        #expect((0..<3).map { encoder.table.counts.value($0) } == [2, 0, 1])
    }

    @Test func handlesOfAnEarlierRunAreTakenOver() {
        let table = TagTable()
        let key = TagKey(wellID: well, nodeID: "ns=2;s=old")
        table.restore(5000, for: key)
        table.restore(5000, for: TagKey(wellID: well, nodeID: "ns=2;s=other"))
        #expect(table.existingHandle(for: key) == 5000)
        #expect(table.handle(for: TagKey(wellID: well, nodeID: "ns=2;s=new")) == 5001)
        #expect(table.key(of: 4999) == nil)
    }
}
