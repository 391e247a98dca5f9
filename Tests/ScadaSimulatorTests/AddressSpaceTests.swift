import OPCUACodec
import Testing

@testable import scada_simulator

@Suite struct AddressSpaceTests {
    private let layout = FieldLayout(seed: 1, wells: 5..<8, counters: false)
    private var space: AddressSpace { AddressSpace(layout: layout, applicationURI: "urn:test") }

    /// Every node that is reachable from Root.
    private func everything(_ space: AddressSpace) -> Set<FieldNode> {
        var found: Set<FieldNode> = [.standard(84)]
        var open: [FieldNode] = [.standard(84)]
        while let node = open.popLast() {
            for reference in space.references(of: node, .forward) where found.insert(reference.target).inserted {
                open.append(reference.target)
            }
        }
        return found
    }

    @Test func `every node is reached from Root, found by its id, and knows its parent`() throws {
        let space = space
        let nodes = everything(space)
        #expect(nodes.isSuperset(of: StandardNodes.byID.keys.map(FieldNode.standard)))
        // Wells, 3 wells with 2 positions and 10 tags with 2 properties each.
        #expect(nodes.count == StandardNodes.byID.count + 1 + 3 * (1 + 2 + 10 * 3))
        for node in nodes {
            #expect(try space.node(space.id(of: node)) == node)
            let inverse = space.references(of: node, .inverse)
            #expect(inverse.count == (node == .standard(84) ? 0 : 1))
            for reference in inverse {
                let back = AddressSpace.Reference(type: reference.type, isForward: true, target: node)
                #expect(space.references(of: reference.target, .forward).contains(back))
            }
        }
    }

    @Test(
        arguments: [
            NodeId(2, "Well-00001.Power"), NodeId(2, "Well-00006.power"), NodeId(2, "Well-00006.Power.X"),
            NodeId(2, "Well-00006.Power."), NodeId(2, ""), NodeId(2, "Well-6"), NodeId(1, "Wells"), NodeId(999_999),
            NodeId(2, 84),
        ]
    )
    func `other ids are unknown`(id: NodeId) {
        #expect(throws: ServiceFailure(.badNodeIdUnknown)) { try space.node(id) }
    }

    @Test func `moved namespaces change the ids, not the nodes`() throws {
        var space = space
        let before = space.id(of: .tag(3))
        space.moveNamespaces()
        #expect(space.namespaces[Int(space.fieldNamespace)] == AddressSpace.fieldNamespaceURI)
        #expect(space.id(of: .tag(3)) == NodeId(3, "Well-00006.LiquidLevel"))
        #expect(throws: ServiceFailure(.badNodeIdUnknown)) { try space.node(before) }
        #expect(try space.node(space.id(of: .tag(3))) == .tag(3))
    }
}

@Suite struct ViewServiceTests {
    private func connected(wells: Int = 25) throws -> TestClient {
        let client = TestClient(TestClient.server(wells: wells, counters: false))
        try client.connect()
        return client
    }

    private func description(_ id: NodeId, mask: UInt32 = 0, type: UInt32 = 33) -> BrowseDescription {
        BrowseDescription(
            nodeId: id,
            browseDirection: .forward,
            referenceTypeId: NodeId(type),
            includeSubtypes: true,
            nodeClassMask: mask,
            resultMask: 63
        )
    }

    @Test func `a long list comes in parts, each once`() throws {
        let client = try connected()
        var result = try client.call(
            BrowseRequest(requestedMaxReferencesPerNode: 10, nodesToBrowse: [description(NodeId(2, "Wells"))])
        ).results[0]
        var names = result.references.map(\.browseName.name)
        var points: [[UInt8]] = []
        while let point = result.continuationPoint {
            points.append(point)
            result = try client.call(BrowseNextRequest(continuationPoints: [point])).results[0]
            names += result.references.map(\.browseName.name)
        }
        #expect(points.count == 2)
        #expect(names.count == 25 && Set(names).count == 25)
        let used = try client.call(BrowseNextRequest(continuationPoints: [points[0], [1, 2], nil]))
        #expect(used.results.map(\.statusCode) == Array(repeating: .badContinuationPointInvalid, count: 3))
    }

    @Test func `reference types and node classes select`() throws {
        let client = try connected()
        let tag = NodeId(2, "Well-00001.Vibration")
        let well = NodeId(2, "Well-00001")
        let results = try client.call(
            BrowseRequest(
                nodesToBrowse: [
                    description(tag, type: 46), description(tag, type: 40), description(tag, type: 35),
                    description(well, mask: NodeClass.object.rawValue), description(well, type: 47),
                    description(NodeId(2, "Nowhere")),
                ]
            )
        ).results
        #expect(results.map(\.references.count) == [2, 1, 0, 0, 10, 0])
        #expect(results[1].references[0].nodeId.nodeId == NodeId(2368))
        #expect(results[5].statusCode == .badNodeIdUnknown)
    }

    @Test func `paths lead to nodes`() throws {
        let client = try connected()
        func path(_ names: [QualifiedName]) -> BrowsePath {
            BrowsePath(
                startingNode: NodeId(85),
                relativePath: RelativePath(
                    elements: names.map {
                        RelativePathElement(referenceTypeId: NodeId(33), includeSubtypes: true, targetName: $0)
                    }
                )
            )
        }
        let names = ["Wells", "Well-00002", "Power"].map { QualifiedName(namespaceIndex: 2, name: $0) }
        let results = try client.call(
            TranslateBrowsePathsToNodeIdsRequest(
                browsePaths: [
                    path(names), path(names + [QualifiedName(name: "EURange")]), path([QualifiedName(name: "Nope")]),
                    path([]),
                ]
            )
        ).results
        #expect(results.map(\.statusCode) == [.good, .good, .badNoMatch, .badNothingToDo])
        #expect(results[0].targets.map(\.targetId.nodeId) == [NodeId(2, "Well-00002.Power")])
        #expect(results[1].targets.map(\.targetId.nodeId) == [NodeId(2, "Well-00002.Power.EURange")])
    }

    @Test func `every attribute that a node has can be read, no other`() throws {
        let client = try connected(wells: 1)
        let ids =
            StandardNodes.byID.keys.sorted().map { NodeId($0) } + [
                NodeId(2, "Wells"), NodeId(2, "Well-00001"), NodeId(2, "Well-00001.Latitude"),
                NodeId(2, "Well-00001.Power"), NodeId(2, "Well-00001.Power.EURange"),
                NodeId(2, "Well-00001.Power.EngineeringUnits"),
            ]
        for id in ids {
            let node = try client.server.space.node(id)
            let request = ReadRequest(
                timestampsToReturn: .both,
                nodesToRead: (0...27).map { ReadValueId(nodeId: id, attributeId: $0) }
            )
            for (attribute, value) in try client.call(request).results.enumerated() {
                if client.server.space.hasAttribute(UInt32(attribute), node) {
                    #expect(value.status == .good, "attribute \(attribute) of \(id)")
                } else {
                    #expect(value.status == .badAttributeIdInvalid, "attribute \(attribute) of \(id)")
                }
            }
        }
        let range = try client.call(
            ReadRequest(
                nodesToRead: [
                    ReadValueId(nodeId: NodeId(2, "Well-00001.Power.EURange"), attributeId: AttributeId.value)
                ]
            )
        ).results[0].value
        #expect(range == .extensionObject(ExtensionObject(OPCUACodec.Range(low: 0, high: 50))))
    }
}
