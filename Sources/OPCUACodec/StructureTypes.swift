/// How a server's own structures are put together, as its DataTypeDefinition attributes tell (Part 3, 8.49). Node ids hold
/// within one session: namespace indexes may move.
package struct StructureTypes: Sendable, Equatable {
    /// What a field, or an element of it, is encoded as.
    package enum FieldType: Sendable, Hashable {
        case builtIn(BuiltInType)
        /// A structure of this data type, without its encoding id (Part 6, 5.2.6).
        case structure(NodeId)
    }

    package struct Field: Sendable, Equatable {
        package var name: String
        package var type: FieldType
        /// -1 scalar, 1 array, more: dimensions first (Part 3, 5.6.2; Part 6, 5.2.5).
        package var valueRank: Int32
        package var isOptional: Bool

        package init(_ name: String, _ type: FieldType, valueRank: Int32 = -1, isOptional: Bool = false) {
            self.name = name
            self.type = type
            self.valueRank = valueRank
            self.isOptional = isOptional
        }
    }

    package struct Structure: Sendable, Equatable {
        package enum Kind: Sendable {
            /// All fields one after another (Part 6, 5.2.6).
            case plain
            /// A mask says which of the optional fields are there (Part 6, 5.2.7).
            case optionalFields
            /// A number says which single field is there (Part 6, 5.2.8).
            case union
        }

        package var kind: Kind
        package var fields: [Field]

        package init(_ kind: Kind, _ fields: [Field]) {
            self.kind = kind
            self.fields = fields
        }
    }

    /// By data type.
    package var structures: [NodeId: Structure] = [:]
    /// The data type of each encoding id.
    package var encodings: [NodeId: NodeId] = [:]
    /// Encoding ids of which the server does not tell enough.
    package var undescribed: Set<NodeId> = []

    package init() {}

    package mutating func merge(_ other: StructureTypes) {
        structures.merge(other.structures) { $1 }
        encodings.merge(other.encodings) { $1 }
        undescribed.formUnion(other.undescribed)
    }
}

extension StructureTypes {
    /// Structures of the OPC UA namespace that process values have, which many servers do not describe (Part 8, 5.6.2 to
    /// 5.6.8; Part 5, 12).
    package static let standard: StructureTypes = {
        var types = StructureTypes()
        func add(_ encoding: UInt32, _ dataType: UInt32, _ fields: [Field]) {
            types.encodings[NodeId(encoding)] = NodeId(dataType)
            types.structures[NodeId(dataType)] = Structure(.plain, fields)
        }
        // Range
        add(886, 884, [Field("Low", .builtIn(.double)), Field("High", .builtIn(.double))])
        // EUInformation
        add(
            889,
            887,
            [
                Field("NamespaceUri", .builtIn(.string)), Field("UnitId", .builtIn(.int32)),
                Field("DisplayName", .builtIn(.localizedText)), Field("Description", .builtIn(.localizedText)),
            ]
        )
        // ComplexNumberType, DoubleComplexNumberType
        add(12_181, 12_171, [Field("Real", .builtIn(.float)), Field("Imaginary", .builtIn(.float))])
        add(12_182, 12_172, [Field("Real", .builtIn(.double)), Field("Imaginary", .builtIn(.double))])
        // XVType
        add(12_090, 12_080, [Field("X", .builtIn(.double)), Field("Value", .builtIn(.float))])
        // TimeZoneDataType
        add(8917, 8912, [Field("Offset", .builtIn(.int16)), Field("DaylightSavingInOffset", .builtIn(.boolean))])
        return types
    }()
}
