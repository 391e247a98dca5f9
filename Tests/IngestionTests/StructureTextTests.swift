import OPCUACodec
import Testing

@testable import Ingestion

/// Structures by their definitions (Part 6, 5.2.6 to 5.2.8).
@Suite struct StructureTextTests {
    static let encoding = NodeId(2, 100)
    static let dataType = NodeId(2, 1)
    static let inner = NodeId(2, 2)

    static func text(
        _ kind: StructureTypes.Structure.Kind = .plain,
        _ fields: [StructureTypes.Field],
        _ fill: (inout BinaryEncoder) -> Void
    ) -> String? {
        let structures = StructureText()
        structures.types.encodings[encoding] = dataType
        structures.types.structures[dataType] = .init(kind, fields)
        structures.types.structures[inner] = .init(
            .plain,
            [.init("x", .builtIn(.int16)), .init("s", .builtIn(.string))]
        )
        var encoder = BinaryEncoder()
        fill(&encoder)
        return structures.json(of: ExtensionObject(typeId: encoding, body: .binary(encoder.bytes)))
    }

    @Test func aPlainStructure() {
        let fields: [StructureTypes.Field] = [
            .init("number", .builtIn(.double)), .init("te\"xt", .builtIn(.string)), .init("on", .builtIn(.boolean)),
            .init("mode", .builtIn(.int32)), .init("large", .builtIn(.int64)), .init("any", .builtIn(.variant)),
            .init("bad", .builtIn(.float)),
        ]
        let text = Self.text(.plain, fields) {
            $0.double(1.5)
            $0.string("Öl\n")
            $0.boolean(true)
            $0.integer(Int32(-3))
            $0.integer(Int64.max)
            Variant.array(type: .byte, elements: [.byte(1), .byte(2)], dimensions: []).encode(to: &$0)
            $0.float(.nan)
        }
        #expect(
            text
                == #"{"number":1.5,"te\"xt":"Öl\n","on":true,"mode":-3,"large":9223372036854775807,"any":[1,2],"bad":"nan"}"#
        )
    }

    @Test func structuresInsideStructuresAndArraysOfThem() {
        let fields: [StructureTypes.Field] = [
            .init("one", .structure(Self.inner)), .init("many", .structure(Self.inner), valueRank: 1),
            .init("none", .builtIn(.double), valueRank: 1), .init("grid", .builtIn(.byte), valueRank: 2),
        ]
        let text = Self.text(.plain, fields) {
            $0.integer(Int16(7))
            $0.string(nil)
            $0.integer(Int32(2))
            for index in 1...2 as ClosedRange<Int16> {
                $0.integer(index)
                $0.string("a")
            }
            $0.integer(Int32(-1))
            $0.array([2, 3] as [Int32]) { $1.integer($0) }
            for byte in 1...6 as ClosedRange<UInt8> { $0.uint8(byte) }
        }
        #expect(
            text
                == #"{"one":{"x":7,"s":null},"many":[{"x":1,"s":"a"},{"x":2,"s":"a"}],"none":[],"grid":[[1,2,3],[4,5,6]]}"#
        )
    }

    @Test(
        arguments: [
            (0b00, #"{"always":1}"#), (0b01, #"{"first":2,"always":1}"#), (0b10, #"{"always":1,"second":3}"#),
            (0b11, #"{"first":2,"always":1,"second":3}"#),
        ] as [(UInt32, String)]
    )
    func optionalFields(mask: UInt32, expected: String) {
        let fields: [StructureTypes.Field] = [
            .init("first", .builtIn(.byte), isOptional: true), .init("always", .builtIn(.byte)),
            .init("second", .builtIn(.byte), isOptional: true),
        ]
        let text = Self.text(.optionalFields, fields) {
            $0.integer(mask)
            if mask & 1 != 0 { $0.uint8(2) }
            $0.uint8(1)
            if mask & 2 != 0 { $0.uint8(3) }
        }
        #expect(text == expected)
    }

    @Test(arguments: [(0, "null"), (1, #"{"a":5}"#), (2, #"{"b":"t"}"#), (3, nil)] as [(UInt32, String?)])
    func unions(selected: UInt32, expected: String?) {
        let fields: [StructureTypes.Field] = [.init("a", .builtIn(.byte)), .init("b", .builtIn(.string))]
        let text = Self.text(.union, fields) {
            $0.integer(selected)
            if selected == 1 { $0.uint8(5) }
            if selected == 2 { $0.string("t") }
        }
        #expect(text == expected)
    }

    /// A body that is not what was described is not guessed at.
    @Test func whatDoesNotFitIsLeftAlone() {
        let fields: [StructureTypes.Field] = [.init("a", .builtIn(.int32))]
        #expect(Self.text(.plain, fields) { $0.integer(Int16(1)) } == nil)
        #expect(Self.text(.plain, fields) { $0.integer(Int64(1)) } == nil)
        #expect(Self.text(.plain, [.init("a", .structure(NodeId(9, 9)))]) { $0.uint8(0) } == nil)
        #expect(Self.text(.plain, [.init("a", .builtIn(.byte), valueRank: 1)]) { $0.integer(Int32.max) } == nil)
        let grid: [StructureTypes.Field] = [.init("a", .builtIn(.byte), valueRank: 2)]
        for dimensions: [Int32] in [[.max, .max], [-1, 2], [65_536, 65_536]] {
            #expect(Self.text(.plain, grid) { $0.array(dimensions) { $1.integer($0) } } == nil)
        }
        #expect(Self.text(.plain, grid) { $0.array([0, 1_000_000] as [Int32]) { $1.integer($0) } } == #"{"a":[]}"#)
    }

    /// A type that contains itself without end.
    @Test func nestingIsBounded() {
        let fields: [StructureTypes.Field] = [.init("a", .structure(Self.dataType))]
        #expect(Self.text(.plain, fields) { _ in } == nil)
    }

    /// A long name for each byte of the body.
    @Test func whatIsWrittenIsBounded() {
        let structures = StructureText()
        let name = String(repeating: "n", count: 10_000)
        structures.types.encodings[Self.encoding] = Self.dataType
        structures.types.structures[Self.dataType] = .init(
            .plain,
            [.init("all", .structure(Self.inner), valueRank: 1)]
        )
        structures.types.structures[Self.inner] = .init(.plain, [.init(name, .builtIn(.byte))])
        var encoder = BinaryEncoder()
        encoder.array([UInt8](repeating: 1, count: 5_000)) { $1.uint8($0) }
        #expect(structures.json(of: ExtensionObject(typeId: Self.encoding, body: .binary(encoder.bytes))) == nil)
    }

    @Test func theStandardsOwnNeedNoDescription() throws {
        for dataType in StructureTypes.standard.encodings.values {
            #expect(StructureTypes.standard.structures[dataType] != nil)
        }
        let range = ExtensionObject(OPCUACodec.Range(low: 0, high: 1.5))
        #expect(StructureText().json(of: range) == #"{"Low":0.0,"High":1.5}"#)
    }

    @Test func theUnknownIsRememberedUntilItIsAskedFor() {
        let structures = StructureText()
        let object = ExtensionObject(typeId: Self.encoding, body: .binary([1, 2, 3]))
        #expect(ValueText.stored(.extensionObject(object), structures).text == "AQID")
        #expect(
            ValueText.json(
                .array(type: .extensionObject, elements: [.extensionObject(object)], dimensions: []),
                structures
            ) == #"["AQID"]"#
        )
        #expect(structures.takeUnknown() == [Self.encoding])
        #expect(structures.takeUnknown() == [])
        structures.types.undescribed = [Self.encoding]
        #expect(ValueText.stored(.extensionObject(object), structures).text == "AQID")
        #expect(structures.takeUnknown() == [])
        _ = ValueText.stored(.extensionObject(ExtensionObject(typeId: Self.inner)), structures)
        #expect(structures.takeUnknown() == [], "nothing to decode")
    }
}
