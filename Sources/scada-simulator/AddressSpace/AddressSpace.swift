import OPCUACodec

/// Which nodes there are, how they are called and how they hang together.
///
/// Objects/Wells/Well-00001/CasingPressure and so on; string node ids of the field's namespace, such as
/// `ns=2;s=Well-00001.CasingPressure`. Values are the server's business.
struct AddressSpace: Sendable {
    static let fieldNamespaceURI = "urn:scada-simulator:field"
    private static let standardNamespaceURI = "http://opcfoundation.org/UA/"

    let layout: FieldLayout
    private(set) var namespaces: [String]
    private(set) var fieldNamespace: UInt16 = 2
    /// Tags that were taken away while the server runs.
    var removedTags: Set<Int> = []

    init(layout: FieldLayout, applicationURI: String) {
        self.layout = layout
        namespaces = [Self.standardNamespaceURI, applicationURI, Self.fieldNamespaceURI]
    }

    /// Gives the field's namespace another index, as servers do that load their models in another order after a restart.
    mutating func moveNamespaces() {
        namespaces.insert("urn:scada-simulator:moved-\(namespaces.count - 2)", at: Int(fieldNamespace))
        fieldNamespace += 1
    }

    // MARK: Finding

    /// - Throws: `badNodeIdUnknown`.
    func node(_ id: NodeId) throws(ServiceFailure) -> FieldNode {
        guard let node = find(id) else { throw ServiceFailure(.badNodeIdUnknown) }
        if case .tag(let tag) = node, removedTags.contains(tag) { throw ServiceFailure(.badNodeIdUnknown) }
        return node
    }

    private func find(_ id: NodeId) -> FieldNode? {
        switch id.identifier {
        case .numeric(let number) where id.namespaceIndex == 0:
            return StandardNodes.byID[number] == nil ? nil : .standard(number)
        case .string(let text) where id.namespaceIndex == fieldNamespace:
            return find(text)
        default: return nil
        }
    }

    /// A field node by its string identifier.
    func find(_ text: String) -> FieldNode? {
        if text == "Wells" { return .wells }
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard let first = parts.first, let well = layout.well(named: first) else { return nil }
        switch parts.count {
        case 1: return .well(well)
        case 2:
            if parts[1] == "Latitude" { return .latitude(well) }
            if parts[1] == "Longitude" { return .longitude(well) }
            return TagKind(name: parts[1]).map { .tag(tag($0, of: well)) }
        case 3:
            guard let kind = TagKind(name: parts[1]) else { return nil }
            if parts[2] == "EURange" { return .euRange(tag(kind, of: well)) }
            if parts[2] == "EngineeringUnits" { return .engineeringUnits(tag(kind, of: well)) }
            return nil
        default: return nil
        }
    }

    private func tag(_ kind: TagKind, of well: Int) -> Int { well * FieldLayout.tagsPerWell + kind.rawValue }

    // MARK: Naming

    func id(of node: FieldNode) -> NodeId {
        let text: String
        switch node {
        case .standard(let number): return NodeId(number)
        case .wells: text = "Wells"
        case .well(let well): text = layout.name(ofWell: well)
        case .latitude(let well): text = layout.name(ofWell: well) + ".Latitude"
        case .longitude(let well): text = layout.name(ofWell: well) + ".Longitude"
        case .tag(let tag): text = layout.identifier(ofTag: tag)
        case .euRange(let tag): text = layout.identifier(ofTag: tag) + ".EURange"
        case .engineeringUnits(let tag): text = layout.identifier(ofTag: tag) + ".EngineeringUnits"
        }
        return NodeId(fieldNamespace, text)
    }

    func browseName(of node: FieldNode) -> QualifiedName {
        switch node {
        case .standard(let number): QualifiedName(name: StandardNodes.byID[number]?.name)
        case .wells: QualifiedName(namespaceIndex: fieldNamespace, name: "Wells")
        case .well(let well): QualifiedName(namespaceIndex: fieldNamespace, name: layout.name(ofWell: well))
        case .latitude: QualifiedName(namespaceIndex: fieldNamespace, name: "Latitude")
        case .longitude: QualifiedName(namespaceIndex: fieldNamespace, name: "Longitude")
        case .tag(let tag): QualifiedName(namespaceIndex: fieldNamespace, name: layout.kind(ofTag: tag).name)
        // Properties of the standard keep its namespace (Part 8, 5.6.3).
        case .euRange: QualifiedName(name: "EURange")
        case .engineeringUnits: QualifiedName(name: "EngineeringUnits")
        }
    }

    func nodeClass(of node: FieldNode) -> NodeClass {
        switch node {
        case .standard(let number): StandardNodes.byID[number]?.nodeClass ?? .unspecified
        case .wells, .well: .object
        default: .variable
        }
    }

    /// 0 where there is none.
    func typeDefinition(of node: FieldNode) -> UInt32 {
        switch node {
        case .standard(let number): StandardNodes.byID[number]?.typeDefinition ?? 0
        case .wells, .well: StandardNodes.TypeID.folder
        case .tag: StandardNodes.TypeID.analogItem
        default: StandardNodes.TypeID.property
        }
    }

    /// Of a variable; 0 otherwise.
    func dataType(of node: FieldNode) -> UInt32 {
        switch node {
        case .standard(let number): StandardNodes.byID[number]?.dataType ?? 0
        case .wells, .well: 0
        case .latitude, .longitude, .tag: StandardNodes.DataTypeID.double
        case .euRange: StandardNodes.DataTypeID.range
        case .engineeringUnits: StandardNodes.DataTypeID.euInformation
        }
    }

    func isArray(_ node: FieldNode) -> Bool {
        if case .standard(let number) = node { return StandardNodes.byID[number]?.isArray ?? false }
        return false
    }

    /// The server's clock, and the status that contains it.
    func changesByItself(_ node: FieldNode) -> Bool { node == .standard(2258) || node == .standard(2256) }

    func hasAttribute(_ attribute: UInt32, _ node: FieldNode) -> Bool {
        switch attribute {
        case AttributeId.nodeId...AttributeId.userWriteMask: return true
        case AttributeId.isAbstract:
            let kind = nodeClass(of: node)
            return kind == .objectType || kind == .variableType || kind == .dataType || kind == .referenceType
        case AttributeId.symmetric, AttributeId.inverseName: return nodeClass(of: node) == .referenceType
        case AttributeId.eventNotifier: return nodeClass(of: node) == .object
        case AttributeId.value, AttributeId.accessLevel...AttributeId.historizing:
            return nodeClass(of: node) == .variable
        case AttributeId.dataType, AttributeId.valueRank, AttributeId.arrayDimensions:
            let kind = nodeClass(of: node)
            return kind == .variable || kind == .variableType
        default: return false
        }
    }

    // MARK: References

    struct Reference: Equatable, Sendable {
        var type: UInt32
        var isForward: Bool
        var target: FieldNode
    }

    func references(of node: FieldNode, _ direction: BrowseDirection) -> [Reference] {
        var result: [Reference] = []
        if direction != .inverse { result = forward(node) }
        if direction != .forward, let parent = parent(node) {
            result.append(Reference(type: parent.type, isForward: false, target: parent.node))
        }
        return result
    }

    private func forward(_ node: FieldNode) -> [Reference] {
        var result: [Reference] = []
        let type = typeDefinition(of: node)
        if type != 0 { result.append(reference(StandardNodes.Reference.hasTypeDefinition, .standard(type))) }
        switch node {
        case .standard(let number):
            result += (StandardNodes.children[number] ?? []).map { reference($0.reference, .standard($0.id)) }
            if number == 85 { result.append(reference(StandardNodes.Reference.organizes, .wells)) }
        case .wells:
            result += (0..<layout.wellCount).map { reference(StandardNodes.Reference.organizes, .well($0)) }
        case .well(let well):
            for kind in TagKind.allCases {
                let tag = tag(kind, of: well)
                if removedTags.contains(tag) { continue }
                result.append(reference(StandardNodes.Reference.hasComponent, .tag(tag)))
            }
            result.append(reference(StandardNodes.Reference.hasProperty, .latitude(well)))
            result.append(reference(StandardNodes.Reference.hasProperty, .longitude(well)))
        case .tag(let tag):
            result.append(reference(StandardNodes.Reference.hasProperty, .euRange(tag)))
            result.append(reference(StandardNodes.Reference.hasProperty, .engineeringUnits(tag)))
        case .latitude, .longitude, .euRange, .engineeringUnits: break
        }
        return result
    }

    private func reference(_ type: UInt32, _ target: FieldNode) -> Reference {
        Reference(type: type, isForward: true, target: target)
    }

    private func parent(_ node: FieldNode) -> (node: FieldNode, type: UInt32)? {
        switch node {
        case .standard(let number):
            guard let entry = StandardNodes.byID[number], entry.parent != 0 else { return nil }
            return (.standard(entry.parent), entry.reference)
        case .wells: return (.standard(85), StandardNodes.Reference.organizes)
        case .well: return (.wells, StandardNodes.Reference.organizes)
        case .latitude(let well), .longitude(let well): return (.well(well), StandardNodes.Reference.hasProperty)
        case .tag(let tag): return (.well(layout.well(ofTag: tag)), StandardNodes.Reference.hasComponent)
        case .euRange(let tag), .engineeringUnits(let tag): return (.tag(tag), StandardNodes.Reference.hasProperty)
        }
    }
}
