import CScadaProto
import FoundationEssentials

@testable import ControlAPI

/// Well-formed requests, made by hand.
enum Sample {
    static let tenant = "11111111-1111-4111-8111-111111111111"
    static let well = "33333333-3333-4333-8333-333333333333"
    static let connection = "44444444-4444-4444-8444-444444444444"
    static let tag = "55555555-5555-4555-8555-555555555555"
    static let otherTag = "66666666-6666-4666-8666-666666666666"

    static func uuid(_ text: String) -> UUID { UUID(uuidString: text) ?? UUID() }

    /// The fields that an AddConnection request cannot do without.
    static var addConnection: Wire {
        Wire().string(1, connection).string(2, tenant).string(3, "opc.tcp://10.0.0.7:4840")
    }

    /// The fields that a tag cannot do without.
    static func tag(_ id: String = tag) -> Wire {
        Wire().string(1, id).string(2, well).string(3, "ns=2;s=Well1.Pressure")
    }

    static var query: Wire { Wire().string(1, tenant).string(2, well) }
    static var gaps: Wire { Wire().string(1, tenant) }
    static var list: Wire { Wire().string(1, tenant) }
    static var endpointTarget: Wire { Wire().string(2, "opc.tcp://plc:4840/path") }
    static var test: Wire { Wire().string(1, tenant).message(2, endpointTarget) }
    static var browse: Wire { test }
}

/// Bytes → protobuf-c → checked value, as the dispatcher does it.
enum Decode {
    static func with<Message: ProtobufMessage, Value>(
        _ bytes: [UInt8],
        _ type: Message.Type,
        _ make: (Message) throws(ControlError) -> Value
    ) throws(ControlError) -> Value {
        // A copy whose end is the end of an allocation: reading past it is seen by the address sanitizer.
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        defer { copy.deallocate() }
        copy.copyBytes(from: bytes)
        return try Message.withUnpacked(UnsafeRawBufferPointer(copy), make)
    }

    static func query(_ wire: Wire, streamed: Bool = false) throws(ControlError) -> ReadingsQuery {
        try query(wire.bytes, streamed: streamed)
    }

    static func query(_ bytes: [UInt8], streamed: Bool = false) throws(ControlError) -> ReadingsQuery {
        try with(bytes, Scada__QueryReadingsRequest.self) { raw throws(ControlError) in
            try ReadingsQuery(raw, streamed: streamed)
        }
    }

    static func connection(_ bytes: [UInt8]) throws(ControlError) -> ConnectionDefinition {
        try with(bytes, Scada__AddConnectionRequest.self) { raw throws(ControlError) in try ConnectionDefinition(raw) }
    }

    static func connection(_ wire: Wire) throws(ControlError) -> ConnectionDefinition { try connection(wire.bytes) }

    static func list(_ bytes: [UInt8]) throws(ControlError) -> ConnectionsQuery {
        try with(bytes, Scada__ListConnectionsRequest.self) { raw throws(ControlError) in try ConnectionsQuery(raw) }
    }

    static func test(_ bytes: [UInt8]) throws(ControlError) -> ConnectionProbe {
        try with(bytes, Scada__TestConnectionRequest.self) { raw throws(ControlError) in try ConnectionProbe(raw) }
    }

    static func browse(_ bytes: [UInt8]) throws(ControlError) -> BrowseQuery {
        try with(bytes, Scada__BrowseNodesRequest.self) { raw throws(ControlError) in try BrowseQuery(raw) }
    }

    static func gaps(_ bytes: [UInt8]) throws(ControlError) -> GapsQuery {
        try with(bytes, Scada__ListGapsRequest.self) { raw throws(ControlError) in try GapsQuery(raw) }
    }
}

/// The error `body` throws; nil when it throws none.
func refusal<Value>(_ body: () throws(ControlError) -> Value) -> ControlError? {
    do {
        _ = try body()
        return nil
    } catch {
        return error
    }
}
