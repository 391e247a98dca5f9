import OPCUACodec

/// The part of the OPC UA namespace that this server shows: what clients read to find their way (Part 5).
enum StandardNodes {
    /// Reference types (Part 3, 7).
    enum Reference {
        static let references: UInt32 = 31
        static let nonHierarchical: UInt32 = 32
        static let hierarchical: UInt32 = 33
        static let hasChild: UInt32 = 34
        static let organizes: UInt32 = 35
        static let hasTypeDefinition: UInt32 = 40
        static let aggregates: UInt32 = 44
        static let hasSubtype: UInt32 = 45
        static let hasProperty: UInt32 = 46
        static let hasComponent: UInt32 = 47
    }

    /// Object and variable types.
    enum TypeID {
        static let baseObject: UInt32 = 58
        static let folder: UInt32 = 61
        static let baseVariable: UInt32 = 62
        static let baseDataVariable: UInt32 = 63
        static let property: UInt32 = 68
        static let server: UInt32 = 2004
        static let serverCapabilities: UInt32 = 2013
        static let serverStatus: UInt32 = 2138
        static let buildInfo: UInt32 = 3051
        static let operationLimits: UInt32 = 11564
        static let analogItem: UInt32 = 2368
    }

    /// Data types (Part 6, annex A).
    enum DataTypeID {
        static let byte: UInt32 = 3
        static let uint16: UInt32 = 5
        static let uint32: UInt32 = 7
        static let double: UInt32 = 11
        static let string: UInt32 = 12
        static let dateTime: UInt32 = 13
        static let localizedText: UInt32 = 21
        static let utcTime: UInt32 = 294
        static let duration: UInt32 = 290
        static let buildInfo: UInt32 = 338
        static let serverState: UInt32 = 852
        static let serverStatus: UInt32 = 862
        static let range: UInt32 = 884
        static let euInformation: UInt32 = 887
    }

    /// Changes on command only.
    static let serviceLevel = FieldNode.standard(2267)

    struct Node: Sendable {
        var id: UInt32
        var name: String
        var nodeClass: NodeClass
        /// 0 at the root and in types.
        var parent: UInt32
        var reference: UInt32
        /// 0 for types.
        var typeDefinition: UInt32
        /// Of a variable.
        var dataType: UInt32 = 0
        var isArray = false
    }

    static let byID = Dictionary(uniqueKeysWithValues: all.map { ($0.id, $0) })
    static let children = Dictionary(grouping: all.filter { $0.parent != 0 }, by: \.parent)

    /// A reference type with everything derived from it.
    static func withSubtypes(_ id: UInt32) -> Set<UInt32> {
        var result: Set<UInt32> = [id]
        var open = [id]
        while let next = open.popLast() {
            for child in children[next] ?? [] where child.reference == Reference.hasSubtype {
                if result.insert(child.id).inserted { open.append(child.id) }
            }
        }
        return result
    }

    private static let all: [Node] = objects + serverVariables + limits + types

    private static func folder(_ id: UInt32, _ name: String, in parent: UInt32) -> Node {
        Node(
            id: id,
            name: name,
            nodeClass: .object,
            parent: parent,
            reference: Reference.organizes,
            typeDefinition: TypeID.folder
        )
    }

    private static func object(_ id: UInt32, _ name: String, _ type: UInt32, in parent: UInt32) -> Node {
        Node(
            id: id,
            name: name,
            nodeClass: .object,
            parent: parent,
            reference: Reference.hasComponent,
            typeDefinition: type
        )
    }

    private static func property(
        _ id: UInt32,
        _ name: String,
        _ dataType: UInt32,
        in parent: UInt32,
        array: Bool = false
    ) -> Node {
        Node(
            id: id,
            name: name,
            nodeClass: .variable,
            parent: parent,
            reference: Reference.hasProperty,
            typeDefinition: TypeID.property,
            dataType: dataType,
            isArray: array
        )
    }

    private static func variable(
        _ id: UInt32,
        _ name: String,
        _ dataType: UInt32,
        in parent: UInt32,
        type: UInt32 = TypeID.baseDataVariable
    ) -> Node {
        Node(
            id: id,
            name: name,
            nodeClass: .variable,
            parent: parent,
            reference: Reference.hasComponent,
            typeDefinition: type,
            dataType: dataType
        )
    }

    private static let objects: [Node] = [
        Node(id: 84, name: "Root", nodeClass: .object, parent: 0, reference: 0, typeDefinition: TypeID.folder),
        folder(85, "Objects", in: 84), folder(86, "Types", in: 84), folder(87, "Views", in: 84),
        folder(88, "ObjectTypes", in: 86), folder(89, "VariableTypes", in: 86), folder(90, "DataTypes", in: 86),
        folder(91, "ReferenceTypes", in: 86),
        Node(
            id: 2253,
            name: "Server",
            nodeClass: .object,
            parent: 85,
            reference: Reference.organizes,
            typeDefinition: TypeID.server
        ),
        object(2268, "ServerCapabilities", TypeID.serverCapabilities, in: 2253),
        object(11704, "OperationLimits", TypeID.operationLimits, in: 2268),
    ]

    private static let serverVariables: [Node] = [
        property(2254, "ServerArray", DataTypeID.string, in: 2253, array: true),
        property(2255, "NamespaceArray", DataTypeID.string, in: 2253, array: true),
        property(2267, "ServiceLevel", DataTypeID.byte, in: 2253),
        property(2994, "Auditing", WellKnownBoolean.id, in: 2253),
        variable(2256, "ServerStatus", DataTypeID.serverStatus, in: 2253, type: TypeID.serverStatus),
        variable(2257, "StartTime", DataTypeID.utcTime, in: 2256),
        variable(2258, "CurrentTime", DataTypeID.utcTime, in: 2256),
        variable(2259, "State", DataTypeID.serverState, in: 2256),
        variable(2260, "BuildInfo", DataTypeID.buildInfo, in: 2256, type: TypeID.buildInfo),
        variable(2992, "SecondsTillShutdown", DataTypeID.uint32, in: 2256),
        variable(2993, "ShutdownReason", DataTypeID.localizedText, in: 2256),
        variable(2262, "ProductUri", DataTypeID.string, in: 2260),
        variable(2263, "ManufacturerName", DataTypeID.string, in: 2260),
        variable(2261, "ProductName", DataTypeID.string, in: 2260),
        variable(2264, "SoftwareVersion", DataTypeID.string, in: 2260),
        variable(2265, "BuildNumber", DataTypeID.string, in: 2260),
        variable(2266, "BuildDate", DataTypeID.utcTime, in: 2260),
    ]

    private enum WellKnownBoolean { static let id: UInt32 = 1 }

    private static let limits: [Node] = [
        property(2269, "ServerProfileArray", DataTypeID.string, in: 2268, array: true),
        property(2271, "LocaleIdArray", DataTypeID.string, in: 2268, array: true),
        property(2272, "MinSupportedSampleRate", DataTypeID.duration, in: 2268),
        property(2735, "MaxBrowseContinuationPoints", DataTypeID.uint16, in: 2268),
        property(2736, "MaxQueryContinuationPoints", DataTypeID.uint16, in: 2268),
        property(2737, "MaxHistoryContinuationPoints", DataTypeID.uint16, in: 2268),
        property(24095, "MaxSessions", DataTypeID.uint32, in: 2268),
        property(24098, "MaxSubscriptionsPerSession", DataTypeID.uint32, in: 2268),
        property(24104, "MaxMonitoredItemsPerSubscription", DataTypeID.uint32, in: 2268),
        property(31916, "MaxMonitoredItemsQueueSize", DataTypeID.uint32, in: 2268),
        property(11705, "MaxNodesPerRead", DataTypeID.uint32, in: 11704),
        property(12165, "MaxNodesPerHistoryReadData", DataTypeID.uint32, in: 11704),
        property(11710, "MaxNodesPerBrowse", DataTypeID.uint32, in: 11704),
        property(11712, "MaxNodesPerTranslateBrowsePathsToNodeIds", DataTypeID.uint32, in: 11704),
        property(11714, "MaxMonitoredItemsPerCall", DataTypeID.uint32, in: 11704),
    ]

    private static func type(_ id: UInt32, _ name: String, _ kind: NodeClass, in parent: UInt32) -> Node {
        // The roots of the four hierarchies of types lie in folders.
        let reference = (88...91).contains(parent) ? Reference.organizes : Reference.hasSubtype
        return Node(id: id, name: name, nodeClass: kind, parent: parent, reference: reference, typeDefinition: 0)
    }

    private static let types: [Node] = [
        type(31, "References", .referenceType, in: 91), type(32, "NonHierarchicalReferences", .referenceType, in: 31),
        type(33, "HierarchicalReferences", .referenceType, in: 31), type(34, "HasChild", .referenceType, in: 33),
        type(35, "Organizes", .referenceType, in: 33), type(40, "HasTypeDefinition", .referenceType, in: 32),
        type(44, "Aggregates", .referenceType, in: 34), type(45, "HasSubtype", .referenceType, in: 34),
        type(46, "HasProperty", .referenceType, in: 44), type(47, "HasComponent", .referenceType, in: 44),
        type(58, "BaseObjectType", .objectType, in: 88), type(61, "FolderType", .objectType, in: 58),
        type(2004, "ServerType", .objectType, in: 58), type(2013, "ServerCapabilitiesType", .objectType, in: 58),
        type(11564, "OperationLimitsType", .objectType, in: 61),
        type(62, "BaseVariableType", .variableType, in: 89), type(63, "BaseDataVariableType", .variableType, in: 62),
        type(68, "PropertyType", .variableType, in: 62), type(2138, "ServerStatusType", .variableType, in: 63),
        type(3051, "BuildInfoType", .variableType, in: 63), type(2365, "DataItemType", .variableType, in: 63),
        type(15318, "BaseAnalogType", .variableType, in: 2365), type(2368, "AnalogItemType", .variableType, in: 15318),
        type(24, "BaseDataType", .dataType, in: 90), type(1, "Boolean", .dataType, in: 24),
        type(26, "Number", .dataType, in: 24), type(27, "Integer", .dataType, in: 26),
        type(28, "UInteger", .dataType, in: 26), type(3, "Byte", .dataType, in: 28),
        type(5, "UInt16", .dataType, in: 28), type(7, "UInt32", .dataType, in: 28),
        type(11, "Double", .dataType, in: 26), type(290, "Duration", .dataType, in: 11),
        type(12, "String", .dataType, in: 24), type(13, "DateTime", .dataType, in: 24),
        type(294, "UtcTime", .dataType, in: 13), type(21, "LocalizedText", .dataType, in: 24),
        type(22, "Structure", .dataType, in: 24), type(29, "Enumeration", .dataType, in: 24),
        type(338, "BuildInfo", .dataType, in: 22), type(852, "ServerState", .dataType, in: 29),
        type(862, "ServerStatusDataType", .dataType, in: 22), type(884, "Range", .dataType, in: 22),
        type(887, "EUInformation", .dataType, in: 22),
    ]
}
