/// A node of the server's address space. Nodes of the field are computed from their names: a server with a million
/// tags holds no node objects.
enum FieldNode: Hashable, Sendable {
    /// A node of the OPC UA namespace, by its number.
    case standard(UInt32)
    case wells
    case well(Int)
    case latitude(Int)
    case longitude(Int)
    case tag(Int)
    case euRange(Int)
    case engineeringUnits(Int)
}

/// Attribute ids (Part 6, annex A.1).
enum AttributeId {
    static let nodeId: UInt32 = 1
    static let nodeClass: UInt32 = 2
    static let browseName: UInt32 = 3
    static let displayName: UInt32 = 4
    static let description: UInt32 = 5
    static let writeMask: UInt32 = 6
    static let userWriteMask: UInt32 = 7
    static let isAbstract: UInt32 = 8
    static let symmetric: UInt32 = 9
    static let inverseName: UInt32 = 10
    static let eventNotifier: UInt32 = 12
    static let value: UInt32 = 13
    static let dataType: UInt32 = 14
    static let valueRank: UInt32 = 15
    static let arrayDimensions: UInt32 = 16
    static let accessLevel: UInt32 = 17
    static let userAccessLevel: UInt32 = 18
    static let minimumSamplingInterval: UInt32 = 19
    static let historizing: UInt32 = 20
    static let dataTypeDefinition: UInt32 = 23
}
