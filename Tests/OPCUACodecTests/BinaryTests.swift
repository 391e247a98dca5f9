import Testing

@testable import OPCUACodec

/// Bytes of a fixture, written as hexadecimal digits with any white space between them.
func hex(_ text: String) -> [UInt8] {
    let digits = text.utf8.filter { $0 > 0x20 }.map { String(decoding: [$0], as: UTF8.self) }
    return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] + digits[$0 + 1], radix: 16) ?? 0 }
}

/// One value and its bytes; the test reads it in both directions.
struct Fixture: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let bytes: [UInt8]
    let encode: @Sendable () -> [UInt8]
    let decodesEqual: @Sendable ([UInt8]) throws -> Bool

    init<T: BinaryCodable & Equatable>(_ name: String, _ value: T, _ text: String) {
        testDescription = name
        bytes = hex(text)
        encode = { value.encoded }
        decodesEqual = { try T(decoding: $0) == value }
    }
}

@Suite("Binary encoding, both directions")
struct BinaryTests {
    static let fixtures: [Fixture] = [
        // Part 6, 5.2.2.5: 1970-01-01.
        Fixture("DateTime", DateTime(unixMicroseconds: 0), "00803ED5DEB19D01"),
        // The example of Part 6, 5.2.2.6.
        Fixture("Guid", Guid("72962B91-FA75-4AE6-8D28-B404DC7DAF63")!, "912B967275FAE64A8D28B404DC7DAF63"),
        // The examples of Part 6, 5.2.2.9.
        Fixture("NodeId two byte", NodeId(72), "0048"),
        Fixture("NodeId four byte", NodeId(5, 1025), "01050104"),
        Fixture("NodeId string", NodeId(1, "Hot水"), "030100 06000000 486F74E6B0B4"),
        Fixture("NodeId numeric", NodeId(0x0102, 0x0304_0506), "02 0201 06050403"),
        Fixture("NodeId opaque", NodeId(namespaceIndex: 1, identifier: .opaque([0xAA])), "05 0100 01000000 AA"),
        Fixture(
            "ExpandedNodeId with URI and server",
            ExpandedNodeId(NodeId(1), namespaceUri: "u", serverIndex: 2),
            "C0 01 01000000 75 02000000"
        ),
        Fixture("QualifiedName", QualifiedName(namespaceIndex: 2, name: "a"), "0200 01000000 61"),
        Fixture("QualifiedName null", QualifiedName(name: nil), "0000 FFFFFFFF"),
        Fixture("LocalizedText", LocalizedText("x", locale: "en"), "03 02000000 656E 01000000 78"),
        Fixture("LocalizedText empty is not null", LocalizedText(""), "02 00000000"),
        Fixture("Variant null", Variant.null, "00"),
        Fixture("Variant Boolean", Variant.boolean(true), "01 01"),
        Fixture("Variant SByte", Variant.sbyte(-1), "02 FF"),
        Fixture("Variant Int16", Variant.int16(-2), "04 FEFF"),
        Fixture("Variant UInt32", Variant.uint32(0x0102_0304), "07 04030201"),
        Fixture("Variant Int64", Variant.int64(-1), "08 FFFFFFFFFFFFFFFF"),
        Fixture("Variant Float", Variant.float(-6.5), "0A 0000D0C0"),
        Fixture("Variant Double", Variant.double(1), "0B 000000000000F03F"),
        Fixture("Variant String null", Variant.string(nil), "0C FFFFFFFF"),
        Fixture("Variant ByteString", Variant.byteString([1, 2]), "0F 02000000 0102"),
        Fixture(
            "Variant array with dimensions",
            Variant.array(type: .byte, elements: [.byte(1), .byte(2)], dimensions: [2, 1]),
            "C3 02000000 0102 02000000 02000000 01000000"
        ),
        Fixture(
            "Variant array of Variants",
            Variant.array(type: .variant, elements: [.variant(.byte(1)), .variant(.null)], dimensions: []),
            "98 02000000 0301 00"
        ),
        Fixture(
            "DataValue with all parts",
            DataValue(
                .double(1),
                status: .uncertain,
                sourceTimestamp: DateTime(ticks: 1),
                serverTimestamp: DateTime(ticks: 2)
            ),
            "0F 0B000000000000F03F 00000040 0100000000000000 0200000000000000"
        ),
        Fixture("DataValue empty", DataValue(.null), "00"),
        Fixture("ExtensionObject empty", ExtensionObject.null, "0000 00"),
        Fixture(
            "ExtensionObject XML",
            ExtensionObject(typeId: NodeId(1), body: .xml([0x3C])),
            "0001 02 01000000 3C"
        ),
        Fixture(
            "ReadValueId",
            ReadValueId(nodeId: NodeId(2258), attributeId: 13),
            "0100D208 0D000000 FFFFFFFF 0000 FFFFFFFF"
        ),
        Fixture(
            "SubscriptionAcknowledgement",
            SubscriptionAcknowledgement(subscriptionId: 7, sequenceNumber: 9),
            "07000000 09000000"
        ),
    ]

    @Test(arguments: fixtures)
    func encodes(_ fixture: Fixture) { #expect(fixture.encode() == fixture.bytes) }

    @Test(arguments: fixtures)
    func decodes(_ fixture: Fixture) throws { #expect(try fixture.decodesEqual(fixture.bytes)) }

    /// Cutting a value anywhere is an error, never a trap and never a shorter value.
    @Test(arguments: fixtures)
    func refusesEveryPrefix(_ fixture: Fixture) {
        for length in 0..<fixture.bytes.count {
            #expect(throws: DecodingError.self) { try fixture.decodesEqual(Array(fixture.bytes[..<length])) }
        }
    }

    @Test func refusesNestingBeyondTheLimit() throws {
        func nested(_ levels: Int) -> [UInt8] {
            // An array of one Variant, again and again, around a Byte.
            (0..<levels).flatMap { _ in hex("98 01000000") } + hex("03 07")
        }
        _ = try Variant(decoding: nested(99))
        #expect(throws: DecodingError.self) { try Variant(decoding: nested(100)) }
        #expect(throws: DecodingError.self) { try Variant(decoding: nested(100_000)) }
    }

    @Test(arguments: ["83 FFFFFF7F", "8C FFFFFF00 00000000", "0C FFFFFF7F", "98 00000040"])
    func refusesLengthsBeyondTheMessage(_ text: String) {
        #expect(throws: DecodingError.self) { try Variant(decoding: hex(text)) }
    }

    @Test func refusesInvalidUTF8() {
        #expect(throws: DecodingError(code: .invalidUTF8, offset: 6)) { try Variant(decoding: hex("0C 01000000 FF")) }
    }

    @Test func refusesVariantDirectlyInVariant() {
        #expect(throws: DecodingError.self) { try Variant(decoding: hex("18 0301")) }
    }

    @Test func readsReservedTypesAsByteString() throws {
        #expect(try Variant(decoding: hex("1A 01000000 07")) == .byteString([7]))
    }

    @Test func structureInExtensionObjectKeepsItsType() throws {
        let filter = DataChangeFilter(trigger: .statusValue, deadbandType: 1, deadbandValue: 0.5)
        let object = ExtensionObject(filter)
        #expect(object.typeId == NodeId(724))
        #expect(try object.decoded(as: DataChangeFilter.self) == filter)
        #expect(try object.decoded(as: Argument.self) == nil)
    }

    @Test(arguments: [0, 1, -1, 1_700_000_000_123_456] as [Int64])
    func dateTimeKeepsMicroseconds(_ microseconds: Int64) {
        #expect(DateTime(unixMicroseconds: microseconds).unixMicroseconds == microseconds)
    }

    @Test func dateTimeSaturates() {
        #expect(DateTime(unixMicroseconds: .max).ticks == .max)
        #expect(DateTime(unixMicroseconds: .min).ticks == 0)
        #expect(DateTime(ticks: .min).unixMicroseconds < 0)
    }
}
