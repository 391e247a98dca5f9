import NIOCore
import OPCUACodec

/// Reads how structures are put together (Part 3, 8.49; Part 5, 9): encoding node → data type → DataTypeDefinition, and so
/// on for the types of its fields.
extension ClientSession {
    private enum DataType {
        case plain(BuiltInType)
        case structure(StructureDefinition)
        /// The server does not tell.
        case undescribed
    }

    /// Types looked at for one question: a bound for hostile servers.
    private static let maximumTypes = 500
    /// Subtypes above each other.
    private static let maximumDepth = 20
    /// Part 5, 11.
    private static let hasEncoding = NodeId(38)
    private static let hasSubtype = NodeId(45)
    /// Part 6, A.1.
    private static let isAbstract: UInt32 = 8

    func describe(
        _ encodings: [NodeId],
        until deadline: NIODeadline,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) -> StructureTypes {
        var types = StructureTypes()
        let dataTypes = try await sources(of: encodings, Self.hasEncoding, until: deadline)
        var known: [NodeId: DataType] = [:]
        var wanted = Set(dataTypes.values)
        while !wanted.isEmpty {
            guard known.count + wanted.count <= Self.maximumTypes else {
                throw OPCUAClientError(.protocolViolation, "a structure consists of too many types")
            }
            try await look(up: Array(wanted), into: &known, until: deadline)
            var next: Set<NodeId> = []
            for case .structure(let definition) in known.values {
                for field in definition.fields where Self.builtIn(field.dataType) == nil && known[field.dataType] == nil
                {
                    next.insert(field.dataType)
                }
            }
            wanted = next
        }
        for case (let id, .structure(let definition)) in known {
            types.structures[id] = Self.structure(definition, known)
        }
        for (encoding, dataType) in dataTypes where types.structures[dataType] != nil {
            types.encodings[encoding] = dataType
        }
        return types
    }

    /// Reads DataTypeDefinition; what has none, or is an enumeration, is what its supertype is.
    private func look(
        up nodes: [NodeId],
        into known: inout [NodeId: DataType],
        until deadline: NIODeadline,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) {
        try checkTime(deadline)
        let values = try await read(
            nodes.flatMap {
                [
                    ReadValueId(nodeId: $0, attributeId: AttributeId.dataTypeDefinition),
                    ReadValueId(nodeId: $0, attributeId: Self.isAbstract),
                ]
            }
        )
        var abstract: Set<NodeId> = []
        var rest: [NodeId: NodeId] = [:]
        for (index, node) in nodes.enumerated() {
            if values[2 * index + 1].value == .boolean(true) { abstract.insert(node) }
            if case .extensionObject(let object) = values[2 * index].value,
                let definition = try? object.decoded(as: StructureDefinition.self)
            {
                known[node] = abstract.contains(node) ? .plain(.extensionObject) : .structure(definition)
            } else {
                rest[node] = node
            }
        }
        for _ in 0..<Self.maximumDepth where !rest.isEmpty {
            let parents = try await sources(of: Array(Set(rest.values)), Self.hasSubtype, until: deadline)
            for (node, ancestor) in rest {
                guard let parent = parents[ancestor] else {
                    known[node] = .undescribed
                    rest[node] = nil
                    continue
                }
                rest[node] = parent
                guard let type = Self.builtIn(parent) else { continue }
                // A structure that is not abstract has to be described.
                known[node] =
                    type == .extensionObject && !abstract.contains(node) ? .undescribed : .plain(type)
                rest[node] = nil
            }
        }
        for node in rest.keys { known[node] = .undescribed }
    }

    /// The nodes that references of this kind come from.
    private func sources(
        of nodes: [NodeId],
        _ reference: NodeId,
        until deadline: NIODeadline,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) -> [NodeId: NodeId] {
        var found: [NodeId: NodeId] = [:]
        var rest = nodes[...]
        while !rest.isEmpty {
            try checkTime(deadline)
            let part = Array(rest.prefix(max(1, min(100, Int(limits.maxNodesPerBrowse ?? 100)))))
            rest = rest.dropFirst(part.count)
            let response = try await call(
                BrowseRequest(
                    requestedMaxReferencesPerNode: 0,
                    nodesToBrowse: part.map {
                        BrowseDescription(
                            nodeId: $0,
                            browseDirection: .inverse,
                            referenceTypeId: reference,
                            includeSubtypes: true
                        )
                    }
                )
            )
            for (node, result) in zip(part, response.results) {
                if let first = result.references.first { found[node] = first.nodeId.nodeId }
            }
        }
        return found
    }

    private func checkTime(_ deadline: NIODeadline) throws(OPCUAClientError) {
        guard NIODeadline.now() < deadline else {
            throw OPCUAClientError(.timeout, "the server takes too long to describe a structure", status: .badTimeout)
        }
    }

    /// What values of a type of the OPC UA namespace are encoded as; nil for all others (Part 6, 5.1.2).
    private static func builtIn(_ node: NodeId) -> BuiltInType? {
        guard node.namespaceIndex == 0, case .numeric(let id) = node.identifier else { return nil }
        switch id {
        // Number, Integer and UInteger are abstract: whichever comes is said with the value.
        case 26, 27, 28: return .variant
        // Enumeration.
        case 29: return .int32
        case 1...25: return BuiltInType(rawValue: UInt8(id))
        default: return nil
        }
    }

    /// nil where not all is known.
    private static func structure(
        _ definition: StructureDefinition,
        _ known: [NodeId: DataType]
    ) -> StructureTypes.Structure? {
        let kind: StructureTypes.Structure.Kind
        var mayBeSubtypes = false
        switch definition.structureType {
        case .structure: kind = .plain
        case .structureWithOptionalFields: kind = .optionalFields
        case .union: kind = .union
        // Part 3, 8.49: here IsOptional means that subtypes are allowed.
        case .structureWithSubtypedValues: (kind, mayBeSubtypes) = (.plain, true)
        case .unionWithSubtypedValues: (kind, mayBeSubtypes) = (.union, true)
        default: return nil
        }
        var fields: [StructureTypes.Field] = []
        for field in definition.fields {
            guard field.valueRank == -1 || field.valueRank >= 1 else { return nil }
            var type: StructureTypes.FieldType
            switch (builtIn(field.dataType), known[field.dataType]) {
            case (let builtIn?, _): type = .builtIn(builtIn)
            case (nil, .plain(let builtIn)): type = .builtIn(builtIn)
            case (nil, .structure): type = .structure(field.dataType)
            case _ where StructureTypes.standard.structures[field.dataType] != nil: type = .structure(field.dataType)
            default: return nil
            }
            if mayBeSubtypes, field.isOptional {
                switch type {
                case .structure, .builtIn(.extensionObject): type = .builtIn(.extensionObject)
                case .builtIn: type = .builtIn(.variant)
                }
            }
            fields.append(
                StructureTypes.Field(
                    field.name ?? "",
                    type,
                    valueRank: field.valueRank,
                    isOptional: field.isOptional && kind == .optionalFields
                )
            )
        }
        return StructureTypes.Structure(kind, fields)
    }
}
