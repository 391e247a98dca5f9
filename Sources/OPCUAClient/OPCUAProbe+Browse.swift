import OPCUACodec

extension OPCUAProbe {
    /// The nodes below another one, level by level: objects and variables along hierarchical references (Part 4, 5.9).
    ///
    /// Properties are not listed; EngineeringUnits become the variable's unit. Below the Server object and the types it
    /// does not go unless it begins there: nobody's tags are there, and some servers (WinCC) drop a connection that reads
    /// types. Needs `connect` before.
    package func browse(_ options: BrowseOptions) async throws(ProbeError) -> ProbedPage {
        try await named { () async throws(OPCUAClientError) in
            session.step = .browse
            return try await walk(options, from: try beginning(options))
        }
    }

    func beginning(_ options: BrowseOptions) throws(OPCUAClientError) -> NodeId {
        guard let start = options.start.resolved(namespaces: session.namespaces) else {
            throw OPCUAClientError(
                .invalidConfiguration,
                "the namespace of the node to begin with is not in the server's table",
                status: .badNodeIdUnknown,
                advice: "It knows \(session.namespaces.joined(separator: ", "))"
            )
        }
        return start
    }

    /// Nodes remembered against circles and for paging: a bound for hostile address spaces.
    static let maximumVisited = 500_000

    /// What one level hands to the next.
    struct Found {
        var node: ProbedNode
        /// Known once its own references have been browsed.
        var unitNode: NodeId?
    }

    private func walk(_ options: BrowseOptions, from start: NodeId) async throws(OPCUAClientError) -> ProbedPage {
        var visited: Set<NodeId> = [start]
        var level = [(id: start, path: [String]())]
        var page: [Found] = []
        var matched = 0
        var depth = 0
        let filter = options.filter.lowercased()
        // The references of a level are its children: one more level is browsed than returned, for `hasChildren`.
        var previous: [Int] = []
        while !level.isEmpty, depth <= options.maximumDepth {
            var next: [(id: NodeId, path: [String])] = []
            var places: [Int] = []
            var rest = level.enumerated().map { (position: $0.offset, id: $0.element.id, path: $0.element.path) }[...]
            while !rest.isEmpty {
                let part = rest.prefix(session.limits.nodesPerBrowse)
                rest = rest.dropFirst(part.count)
                let results = try await references(of: part.map(\.id), isStart: depth == 0)
                for (parent, references) in zip(part, results) {
                    if depth > 0, previous[parent.position] >= 0 {
                        note(references, about: &page[previous[parent.position]])
                    }
                    guard depth < options.maximumDepth else { continue }
                    for reference in references where isListed(reference) {
                        let id = reference.nodeId.nodeId
                        guard visited.count < Self.maximumVisited, visited.insert(id).inserted else { continue }
                        let node = probed(reference, parent: parent.id, path: parent.path)
                        var place = -1
                        if matches(node, options, filter) {
                            matched += 1
                            if matched > options.offset + options.limit { return try await finish(page, options, true) }
                            if matched > options.offset {
                                place = page.count
                                page.append(Found(node: node))
                            }
                        }
                        next.append((id, node.path))
                        places.append(place)
                    }
                }
            }
            level = next
            previous = places
            depth += 1
        }
        return try await finish(page, options, false)
    }

    func isListed(_ reference: ReferenceDescription) -> Bool {
        reference.nodeId.serverIndex == 0 && reference.referenceTypeId != WellKnownNodeId.hasProperty
            && (reference.nodeClass == .object || reference.nodeClass == .variable)
    }

    func matches(_ node: ProbedNode, _ options: BrowseOptions, _ filter: String) -> Bool {
        if options.variablesOnly && node.nodeClass != .variable { return false }
        return filter.isEmpty || node.displayName.lowercased().contains(filter)
            || node.stableNodeID.lowercased().contains(filter)
    }

    func note(_ references: [ReferenceDescription], about found: inout Found) {
        found.node.hasChildren = found.node.hasChildren || references.contains(where: isListed)
        found.unitNode =
            references.first {
                $0.referenceTypeId == WellKnownNodeId.hasProperty && $0.browseName.name == "EngineeringUnits"
                    && $0.browseName.namespaceIndex == 0
            }?.nodeId.nodeId
    }

    func probed(_ reference: ReferenceDescription, parent: NodeId, path: [String]) -> ProbedNode {
        let id = reference.nodeId.nodeId
        let name = reference.displayName.text ?? reference.browseName.name ?? "\(id)"
        var stable = "\(id)"
        if id.namespaceIndex > 0, session.namespaces.indices.contains(Int(id.namespaceIndex)) {
            let uri = session.namespaces[Int(id.namespaceIndex)]
            if !uri.isEmpty { stable = "\(ExpandedNodeId(id, namespaceUri: uri))" }
        }
        var node = ProbedNode(
            nodeID: id,
            stableNodeID: stable,
            parent: parent,
            path: path + [name],
            browseName: reference.browseName,
            displayName: name,
            nodeClass: reference.nodeClass
        )
        // Not gone into, but there is something.
        node.hasChildren = Self.skipped.contains(id)
        return node
    }

    private static let skipped: Set<NodeId> = [WellKnownNodeId.server, WellKnownNodeId.typesFolder]

    // MARK: Attributes

    /// Reads the attributes of what is returned.
    private func finish(_ found: [Found], _ options: BrowseOptions, _ hasMore: Bool) async throws(OPCUAClientError)
        -> ProbedPage
    {
        ProbedPage(
            nodes: try await described(found, readsValues: options.readsValues),
            nextOffset: hasMore ? options.offset + options.limit : nil
        )
    }

    func described(_ found: [Found], readsValues: Bool) async throws(OPCUAClientError) -> [ProbedNode] {
        var found = found
        session.step = .read
        var wanted: [ReadValueId] = []
        var takers: [(Int, (inout ProbedNode, DataValue) -> Void)] = []
        func want(
            _ i: Int,
            _ attribute: UInt32,
            of node: NodeId? = nil,
            _ take: @escaping (inout ProbedNode, DataValue) -> Void
        ) {
            wanted.append(ReadValueId(nodeId: node ?? found[i].node.nodeID, attributeId: attribute))
            takers.append((i, take))
        }
        for i in found.indices {
            want(i, AttributeId.description) {
                if case .localizedText(let text) = $1.value { $0.description = "\(text)" }
            }
            guard found[i].node.nodeClass == .variable else { continue }
            want(i, AttributeId.dataType) { node, value in
                guard case .nodeId(let type) = value.value else { return }
                node.dataType = type
                node.dataTypeName = Self.name(ofType: type)
            }
            want(i, AttributeId.valueRank) { if case .int32(let rank) = $1.value { $0.valueRank = rank } }
            want(i, AttributeId.userAccessLevel) { node, value in
                // Part 3, 8.57: bit 0 current value readable, bit 2 history readable.
                guard case .byte(let level) = value.value else { return }
                node.isReadable = level & 1 != 0
                node.isHistoryReadable = level & 4 != 0
            }
            if readsValues { want(i, AttributeId.value) { $0.value = $1 } }
            if let unit = found[i].unitNode {
                want(i, AttributeId.value, of: unit) { node, value in
                    guard case .extensionObject(let object) = value.value,
                        let information = try? object.decoded(as: EUInformation.self)
                    else { return }
                    node.unit = "\(information.displayName)"
                }
            }
        }
        // Nothing may come back for a node that is bad: each attribute has its own status.
        for ((i, take), value) in zip(takers, try await session.read(wanted)) { take(&found[i].node, value) }
        return found.map(\.node)
    }

    /// Types of the OPC UA namespace by name, others by id: the server's type nodes are not read.
    private static func name(ofType type: NodeId) -> String {
        guard type.namespaceIndex == 0, case .numeric(let number) = type.identifier else { return "\(type)" }
        if let builtIn = UInt8(exactly: number).flatMap(BuiltInType.init(rawValue:)) {
            let name = "\(builtIn)"
            switch builtIn {
            case .sbyte: return "SByte"
            case .uint16, .uint32, .uint64: return "UInt" + name.dropFirst(4)
            default: return name.prefix(1).uppercased() + name.dropFirst()
            }
        }
        switch type {
        case WellKnownNodeId.number: return "Number"
        case WellKnownNodeId.enumeration: return "Enumeration"
        // Part 3, 8.23 and 8.13: aliases of DateTime and Double.
        case NodeId(294): return "UtcTime"
        case NodeId(290): return "Duration"
        default: return "\(type)"
        }
    }

    // MARK: References

    /// The references of each node, continuation points followed to the end (Part 4, 5.9.2 and 5.9.3).
    func references(of nodes: [NodeId], isStart: Bool) async throws(OPCUAClientError)
        -> [[ReferenceDescription]]
    {
        let asked = nodes.filter { isStart || !Self.skipped.contains($0) }
        var found: [NodeId: [ReferenceDescription]] = [:]
        if !asked.isEmpty {
            let results = try await session.call(
                BrowseRequest(
                    requestedMaxReferencesPerNode: 1000,
                    nodesToBrowse: asked.map {
                        BrowseDescription(
                            nodeId: $0,
                            browseDirection: .forward,
                            referenceTypeId: WellKnownNodeId.hierarchicalReferences,
                            includeSubtypes: true,
                            nodeClassMask: NodeClass.object.rawValue | NodeClass.variable.rawValue,
                            // All fields of ReferenceDescription.
                            resultMask: 63
                        )
                    }
                )
            ).results
            var open: [(node: NodeId, point: [UInt8])] = []
            for (node, result) in zip(asked, results) {
                if result.statusCode.isBad {
                    // A node below that cannot be browsed is shown without children; the one asked for is an error.
                    guard !isStart else { throw .service("Browse of \(node)", result.statusCode) }
                    continue
                }
                found[node] = result.references
                if let point = result.continuationPoint, !point.isEmpty { open.append((node, point)) }
            }
            try await follow(open, into: &found)
        }
        return nodes.map { found[$0] ?? [] }
    }

    private func follow(
        _ points: [(node: NodeId, point: [UInt8])],
        into found: inout [NodeId: [ReferenceDescription]]
    ) async throws(OPCUAClientError) {
        var open = points
        while !open.isEmpty {
            let results = try await session.call(BrowseNextRequest(continuationPoints: open.map(\.point))).results
            var still: [(node: NodeId, point: [UInt8])] = []
            for (each, result) in zip(open, results) where !result.statusCode.isBad {
                found[each.node, default: []] += result.references
                // A server that always says there is more must not keep us here for ever.
                if let point = result.continuationPoint, !point.isEmpty, !result.references.isEmpty,
                    found[each.node, default: []].count < Self.maximumVisited
                {
                    still.append((each.node, point))
                }
            }
            open = still
        }
    }
}
