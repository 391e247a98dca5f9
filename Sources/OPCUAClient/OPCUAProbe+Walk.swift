import OPCUACodec

extension OPCUAProbe {
    /// The nodes below another one, handed out while they are found: folders before what is in them, siblings in the
    /// server's order. What is listed is what `browse` lists; `offset` does not count. Needs `connect` before.
    ///
    /// Memory does not grow with what is handed out: kept are the identifiers against circles (8 bytes a node, 500,000
    /// nodes at most) and the nodes that are still to be gone into. The start is handed out itself where it is a variable.
    ///
    /// - Parameter each: gets some nodes at a time and the figures so far, also when none match; false ends the walk. The
    ///   server is not asked for more before it returns.
    package func walk(
        _ options: BrowseOptions,
        each: @Sendable ([ProbedNode], WalkSummary) async -> Bool
    ) async throws(ProbeError) -> WalkSummary {
        try await named { () async throws(OPCUAClientError) in
            session.step = .browse
            let start = try beginning(options)
            var walk = Walk(start: start)
            if let itself = try await variable(start) { walk.waiting = [Waiting(node: itself, depth: 0)] }
            let filter = options.filter.lowercased()
            while !walk.waiting.isEmpty {
                let part = walk.take(session.limits.nodesPerBrowse)
                session.step = .browse
                let results = try await references(of: part.map(\.node.nodeID), isStart: part[0].depth == 0)
                var found: [Found] = []
                for (entry, references) in zip(part, results) {
                    if entry.depth > 0 || entry.node.nodeClass == .variable {
                        guard walk.summary.seen < Self.maximumVisited else {
                            walk.summary.end = .tooMany
                            break
                        }
                        walk.summary.seen += 1
                        if matches(entry.node, options, filter) {
                            guard walk.summary.matched < options.limit else {
                                walk.summary.end = .limit
                                break
                            }
                            walk.summary.matched += 1
                            var match = Found(node: entry.node)
                            note(references, about: &match)
                            found.append(match)
                        }
                    }
                    guard entry.depth < options.maximumDepth else { continue }
                    for reference in references where isListed(reference) {
                        let id = reference.nodeId.nodeId
                        guard walk.isNew(id) else { continue }
                        let node = probed(reference, parent: entry.node.nodeID, path: entry.node.path)
                        walk.next.append(Waiting(node: node, depth: entry.depth + 1))
                    }
                }
                let nodes = found.isEmpty ? [] : try await described(found, readsValues: options.readsValues)
                let goesOn = await each(nodes, walk.summary)
                guard walk.summary.end == .complete else { break }
                guard goesOn else {
                    walk.summary.end = .stopped
                    break
                }
                walk.goDown()
            }
            return walk.summary
        }
    }

    private struct Waiting {
        var node: ProbedNode
        var depth: Int
    }

    /// Where a walk stands.
    private struct Walk {
        /// To be gone into, the next one last.
        var waiting: [Waiting]
        /// Found since the last turn, in order.
        var next: [Waiting] = []
        var summary = WalkSummary()
        /// Hashes of 64 bits: a collision, expected once in ten million walks of that size, would leave out a node.
        private var visited: Set<Int>

        init(start: NodeId) {
            waiting = [
                Waiting(
                    node: ProbedNode(
                        nodeID: start,
                        stableNodeID: "",
                        parent: start,
                        path: [],
                        browseName: QualifiedName(namespaceIndex: 0, name: nil),
                        displayName: "",
                        nodeClass: .object
                    ),
                    depth: 0
                )
            ]
            visited = [start.hashValue]
        }

        mutating func isNew(_ id: NodeId) -> Bool {
            visited.count <= OPCUAProbe.maximumVisited && visited.insert(id.hashValue).inserted
        }

        /// The next ones, all of one depth.
        mutating func take(_ most: Int) -> [Waiting] {
            let depth = waiting.last?.depth
            let part = waiting.suffix(max(1, most)).reversed().prefix { $0.depth == depth }
            waiting.removeLast(part.count)
            return Array(part)
        }

        mutating func goDown() {
            waiting.append(contentsOf: next.reversed())
            next.removeAll(keepingCapacity: true)
        }
    }

    /// The node as one that is handed out; nil unless it is a variable.
    private func variable(_ id: NodeId) async throws(OPCUAClientError) -> ProbedNode? {
        let values = try await session.read(
            [AttributeId.nodeClass, AttributeId.browseName, AttributeId.displayName].map {
                ReadValueId(nodeId: id, attributeId: $0)
            }
        )
        guard case .int32(let number) = values[0].value, number == Int32(NodeClass.variable.rawValue) else {
            return nil
        }
        var reference = ReferenceDescription()
        reference.nodeId = ExpandedNodeId(id)
        reference.nodeClass = .variable
        if case .qualifiedName(let name) = values[1].value { reference.browseName = name }
        if case .localizedText(let text) = values[2].value { reference.displayName = text }
        return probed(reference, parent: id, path: [])
    }
}
