import OPCUACodec

/// The view service set (Part 4, 5.8).
extension FieldServer {
    func browse(_ request: BrowseRequest, _ session: Session) throws(ServiceFailure) -> BrowseResponse {
        guard request.view.viewId.isNull else { throw ServiceFailure(.badViewIdUnknown) }
        let subtypes = NodeId(StandardNodes.Reference.hasSubtype)
        try cutIfTypes(request.nodesToBrowse.contains { $0.referenceTypeId == subtypes }, session)
        let asked = Int(request.requestedMaxReferencesPerNode)
        let results = try each(request.nodesToBrowse, limits.nodesPerCall) { description in
            browse(description, maximum: asked == 0 ? 10_000 : min(asked, 10_000), offset: 0, session)
        }
        return BrowseResponse(results: results)
    }

    func browseNext(_ request: BrowseNextRequest, _ session: Session) throws(ServiceFailure) -> BrowseNextResponse {
        let results = try each(request.continuationPoints, limits.nodesPerCall) { point in
            guard let point, let id = Self.continuationID(point),
                let continuation = session.continuations.removeValue(forKey: id)
            else { return BrowseResult(statusCode: .badContinuationPointInvalid) }
            if request.releaseContinuationPoints { return BrowseResult(statusCode: .good) }
            return browse(
                continuation.description,
                maximum: continuation.maximum,
                offset: continuation.offset,
                session
            )
        }
        return BrowseNextResponse(results: results)
    }

    private func browse(
        _ description: BrowseDescription,
        maximum: Int,
        offset: Int,
        _ session: Session
    ) -> BrowseResult {
        let node: FieldNode
        do throws(ServiceFailure) { node = try space.node(description.nodeId) } catch {
            return BrowseResult(statusCode: error.status)
        }
        guard description.browseDirection.rawValue <= BrowseDirection.both.rawValue else {
            return BrowseResult(statusCode: .badBrowseDirectionInvalid)
        }
        guard let types = referenceTypes(description.referenceTypeId, description.includeSubtypes) else {
            return BrowseResult(statusCode: .badReferenceTypeIdInvalid)
        }
        let mask = description.nodeClassMask
        let all = space.references(of: node, description.browseDirection).filter { reference in
            (types.isEmpty || types.contains(reference.type))
                && (mask == 0 || space.nodeClass(of: reference.target).rawValue & mask != 0)
        }
        let end = min(offset + maximum, all.count)
        guard offset <= end else { return BrowseResult(statusCode: .good) }
        var continuationPoint: [UInt8]?
        if end < all.count {
            continuationPoint = remember(
                Session.BrowseContinuation(description: description, maximum: maximum, offset: end),
                session
            )
        }
        return BrowseResult(
            statusCode: .good,
            continuationPoint: continuationPoint,
            references: all[offset..<end].map { describe($0, description.resultMask) }
        )
    }

    /// Empty means all; nil that there is no such type.
    private func referenceTypes(_ id: NodeId, _ includeSubtypes: Bool) -> Set<UInt32>? {
        if id.isNull { return [] }
        guard id.namespaceIndex == 0, case .numeric(let number) = id.identifier,
            StandardNodes.byID[number]?.nodeClass == .referenceType
        else {
            // A type of the standard that no reference here has: nothing matches, which is no error.
            return id.namespaceIndex == 0 ? [.max] : nil
        }
        return includeSubtypes ? StandardNodes.withSubtypes(number) : [number]
    }

    private func describe(_ reference: AddressSpace.Reference, _ mask: UInt32) -> ReferenceDescription {
        // Bits of the result mask: Part 4, table 38.
        var result = ReferenceDescription(nodeId: ExpandedNodeId(space.id(of: reference.target)))
        if mask & 1 != 0 { result.referenceTypeId = NodeId(reference.type) }
        result.isForward = reference.isForward
        if mask & 4 != 0 { result.nodeClass = space.nodeClass(of: reference.target) }
        let name = space.browseName(of: reference.target)
        if mask & 8 != 0 { result.browseName = name }
        if mask & 16 != 0 { result.displayName = LocalizedText(name.name, locale: nil) }
        if mask & 32 != 0 {
            result.typeDefinition = ExpandedNodeId(NodeId(space.typeDefinition(of: reference.target)))
        }
        return result
    }

    private func remember(_ continuation: Session.BrowseContinuation, _ session: Session) -> [UInt8] {
        if session.continuations.count >= Session.maximumContinuations, let oldest = session.continuations.keys.min() {
            session.continuations[oldest] = nil
        }
        let id = session.nextContinuation
        session.nextContinuation += 1
        session.continuations[id] = continuation
        return withUnsafeBytes(of: id.littleEndian) { Array($0) }
    }

    static func continuationID(_ bytes: [UInt8]) -> UInt64? {
        guard bytes.count == 8 else { return nil }
        return bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    func translate(
        _ request: TranslateBrowsePathsToNodeIdsRequest,
        _ session: Session
    ) throws(ServiceFailure) -> TranslateBrowsePathsToNodeIdsResponse {
        let results = try each(request.browsePaths, limits.nodesPerCall) { follow($0) }
        return TranslateBrowsePathsToNodeIdsResponse(results: results)
    }

    private func follow(_ path: BrowsePath) -> BrowsePathResult {
        var nodes: [FieldNode]
        do throws(ServiceFailure) { nodes = [try space.node(path.startingNode)] } catch {
            return BrowsePathResult(statusCode: error.status)
        }
        guard !path.relativePath.elements.isEmpty else { return BrowsePathResult(statusCode: .badNothingToDo) }
        for element in path.relativePath.elements {
            guard let wanted = element.targetName.name, !wanted.isEmpty else {
                return BrowsePathResult(statusCode: .badBrowseNameInvalid)
            }
            guard let types = referenceTypes(element.referenceTypeId, element.includeSubtypes) else {
                return BrowsePathResult(statusCode: .badReferenceTypeIdInvalid)
            }
            nodes = nodes.flatMap { node in
                space.references(of: node, element.isInverse ? .inverse : .forward).filter { reference in
                    (types.isEmpty || types.contains(reference.type))
                        && space.browseName(of: reference.target) == element.targetName
                }.map(\.target)
            }
        }
        guard !nodes.isEmpty else { return BrowsePathResult(statusCode: .badNoMatch) }
        return BrowsePathResult(
            statusCode: .good,
            targets: nodes.map {
                BrowsePathTarget(targetId: ExpandedNodeId(space.id(of: $0)), remainingPathIndex: .max)
            }
        )
    }
}
