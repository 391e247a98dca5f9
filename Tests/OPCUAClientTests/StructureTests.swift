import OPCUACodec
import Synchronization
import Testing

@testable import OPCUAClient

/// Asking a server about its structures when the first value of one comes.
@Suite("Structures that the server describes", .timeLimit(.minutes(4)))
struct StructureTests {
    static let encoding = NodeId(2, 100)
    static let pump = NodeId(2, 1)
    static let state = NodeId(2, 2)
    static let flow = NodeId(2, 3)
    static let duration = NodeId(290)
    static let anything = NodeId(2, 4)

    /// A first value that is a structure, then a number.
    static func values(_ request: ServerDouble.Request, number: UInt32? = nil) -> ServerDouble.Answer? {
        guard request.type == PublishRequest.binaryEncodingId, request.count < 2 else { return nil }
        var message = ServerDouble.message(number ?? UInt32(request.count) + 1)
        if request.count == 0 {
            let object = ExtensionObject(typeId: encoding, body: .binary([1, 2, 3]))
            message.notificationData.append(
                ExtensionObject(
                    DataChangeNotification(
                        monitoredItems: [
                            MonitoredItemNotification(clientHandle: 0, value: DataValue(.extensionObject(object)))
                        ]
                    )
                )
            )
        }
        return .body(
            PublishResponse(
                responseHeader: ServerDouble.header(request),
                subscriptionId: 1,
                notificationMessage: message
            ).messageBody
        )
    }

    static let parents: [NodeId: NodeId] = [
        encoding: pump, state: WellKnownNodeId.enumeration, duration: WellKnownNodeId.double, anything: NodeId(22),
    ]

    static func definition(_ node: NodeId) -> Variant {
        func field(_ name: String, _ type: NodeId, rank: Int32 = -1) -> StructureField {
            StructureField(name: name, dataType: type, valueRank: rank)
        }
        switch node {
        case pump:
            return .extensionObject(
                ExtensionObject(
                    StructureDefinition(
                        structureType: .structure,
                        fields: [
                            field("State", state), field("Flows", flow, rank: 1), field("Since", duration),
                            field("More", anything), field("Value", NodeId(26)),
                        ]
                    )
                )
            )
        case flow:
            var optional = field("Unit", NodeId(12))
            optional.isOptional = true
            return .extensionObject(
                ExtensionObject(
                    StructureDefinition(
                        structureType: .structureWithOptionalFields,
                        fields: [field("Rate", NodeId(11)), optional]
                    )
                )
            )
        case state: return .extensionObject(ExtensionObject(EnumDefinition()))
        default: return .null
        }
    }

    /// What a server that describes its types says.
    static func described(_ request: ServerDouble.Request) -> ServerDouble.Answer? {
        if let browse = request.decoded(as: BrowseRequest.self) {
            return .body(
                BrowseResponse(
                    responseHeader: ServerDouble.header(request),
                    results: browse.nodesToBrowse.map { node in
                        guard node.browseDirection == .inverse, let parent = parents[node.nodeId] else {
                            return BrowseResult()
                        }
                        return BrowseResult(references: [ReferenceDescription(nodeId: ExpandedNodeId(parent))])
                    }
                ).messageBody
            )
        }
        guard let read = request.decoded(as: ReadRequest.self),
            read.nodesToRead.contains(where: { $0.attributeId == 23 })
        else { return nil }
        return .body(
            ReadResponse(
                responseHeader: ServerDouble.header(request),
                results: read.nodesToRead.map {
                    $0.attributeId == 23
                        ? DataValue(definition($0.nodeId)) : DataValue(.boolean($0.nodeId == anything))
                }
            ).messageBody
        )
    }

    @Test func theFirstValueWaitsForItsDescription() async throws {
        let server = try await ServerDouble { request in
            Self.values(request) ?? Self.described(request) ?? .usual
        }
        try await ConnectionTests.with(server) { _, consumer in
            #expect(await consumer.wait { $0.contexts.count == 2 })
            let record = consumer.record.withLock { $0 }
            #expect(record.contexts.map(\.sequenceNumber) == [1, 2], "in order, none twice")
            #expect(record.aborted >= 1)
            let types = record.structures.last
            #expect(types?.encodings == [Self.encoding: Self.pump])
            #expect(
                types?.structures[Self.pump]
                    == StructureTypes.Structure(
                        .plain,
                        [
                            .init("State", .builtIn(.int32)), .init("Flows", .structure(Self.flow), valueRank: 1),
                            .init("Since", .builtIn(.double)), .init("More", .builtIn(.extensionObject)),
                            .init("Value", .builtIn(.variant)),
                        ]
                    )
            )
            #expect(
                types?.structures[Self.flow]
                    == StructureTypes.Structure(
                        .optionalFields,
                        [.init("Rate", .builtIn(.double)), .init("Unit", .builtIn(.string), isOptional: true)]
                    )
            )
        }
    }

    @Test func aServerThatDescribesNothingIsAskedOnce() async throws {
        let server = try await ServerDouble { request in
            if request.type == BrowseRequest.binaryEncodingId {
                return .body(ServerDouble.fault(request, .badServiceUnsupported))
            }
            return Self.values(request) ?? .usual
        }
        try await ConnectionTests.with(server) { _, consumer in
            #expect(await consumer.wait { $0.contexts.count == 2 })
            let types = consumer.record.withLock { $0.structures.last }
            #expect(types?.undescribed == [Self.encoding])
            #expect(server.count(BrowseRequest.binaryEncodingId) == 1)
            #expect(server.connections == 1)
        }
    }

    /// WinCC drops a connection that reads types: once, not at each value.
    @Test func winCCIsNotAskedForTypesAgain() async throws {
        let told = Mutex<Set<Int>>([])
        let server = try await ServerDouble { request in
            if request.type == BrowseRequest.binaryEncodingId { return .close }
            // A structure over each connection.
            guard request.type == PublishRequest.binaryEncodingId else { return .usual }
            let isFirst = told.withLock { $0.insert(request.connection).inserted }
            guard isFirst else { return .usual }
            var first = request
            first.count = 0
            return Self.values(first, number: UInt32(request.connection)) ?? .usual
        }
        try await ConnectionTests.with(server) { _, consumer in
            #expect(await consumer.wait { $0.contexts.count >= 1 && $0.statuses.last?.connects == 2 })
            await server.dropConnections()
            #expect(await consumer.wait { $0.contexts.count >= 2 && $0.statuses.last?.connects == 3 })
            #expect(server.count(BrowseRequest.binaryEncodingId) == 1)
        }
    }
}
