/// Identifies a node in a server's address space (Part 3, 8.2; binary form Part 6, 5.2.2.9).
package struct NodeId: BinaryCodable, Hashable {
    package enum Identifier: Hashable, Sendable {
        case numeric(UInt32)
        case string(String)
        case guid(Guid)
        case opaque([UInt8])
    }

    package var namespaceIndex: UInt16
    package var identifier: Identifier

    package init(namespaceIndex: UInt16 = 0, identifier: Identifier) {
        self.namespaceIndex = namespaceIndex
        self.identifier = identifier
    }

    /// A node of the OPC UA namespace (index 0).
    package init(_ numeric: UInt32) { self.init(identifier: .numeric(numeric)) }
    package init(_ namespaceIndex: UInt16, _ numeric: UInt32) {
        self.init(namespaceIndex: namespaceIndex, identifier: .numeric(numeric))
    }
    package init(_ namespaceIndex: UInt16, _ string: String) {
        self.init(namespaceIndex: namespaceIndex, identifier: .string(string))
    }

    package static let null = NodeId(0)
    package var isNull: Bool { self == .null }

    package init(from decoder: inout BinaryDecoder) throws(DecodingError) {
        let encoding = try decoder.uint8()
        try self.init(encoding: encoding, from: &decoder)
    }

    /// The rest of a NodeId whose encoding byte has been read; the two flag bits of ExpandedNodeId must be cleared.
    init(encoding: UInt8, from decoder: inout BinaryDecoder) throws(DecodingError) {
        switch encoding {
        case 0: self.init(identifier: .numeric(UInt32(try decoder.uint8())))
        case 1:
            let namespace = UInt16(try decoder.uint8())
            self.init(namespaceIndex: namespace, identifier: .numeric(UInt32(try decoder.uint16())))
        case 2:
            let namespace = try decoder.uint16()
            self.init(namespaceIndex: namespace, identifier: .numeric(try decoder.uint32()))
        case 3:
            let namespace = try decoder.uint16()
            self.init(namespaceIndex: namespace, identifier: .string(try decoder.string() ?? ""))
        case 4:
            let namespace = try decoder.uint16()
            self.init(namespaceIndex: namespace, identifier: .guid(try Guid(from: &decoder)))
        case 5:
            let namespace = try decoder.uint16()
            self.init(namespaceIndex: namespace, identifier: .opaque(try decoder.byteString() ?? []))
        default: throw decoder.failure(.invalidEncoding)
        }
    }

    package func encode(to encoder: inout BinaryEncoder) { encode(flags: 0, to: &encoder) }

    func encode(flags: UInt8, to encoder: inout BinaryEncoder) {
        switch identifier {
        case .numeric(let value) where namespaceIndex == 0 && value <= 0xFF:
            encoder.uint8(0 | flags)
            encoder.uint8(UInt8(value))
        case .numeric(let value) where namespaceIndex <= 0xFF && value <= 0xFFFF:
            encoder.uint8(1 | flags)
            encoder.uint8(UInt8(namespaceIndex))
            encoder.integer(UInt16(value))
        case .numeric(let value):
            encoder.uint8(2 | flags)
            encoder.integer(namespaceIndex)
            encoder.integer(value)
        case .string(let value):
            encoder.uint8(3 | flags)
            encoder.integer(namespaceIndex)
            encoder.string(value)
        case .guid(let value):
            encoder.uint8(4 | flags)
            encoder.integer(namespaceIndex)
            value.encode(to: &encoder)
        case .opaque(let value):
            encoder.uint8(5 | flags)
            encoder.integer(namespaceIndex)
            encoder.byteString(value)
        }
    }
}

/// A NodeId that may name its namespace by URI and may live in another server (Part 6, 5.2.2.10).
package struct ExpandedNodeId: BinaryCodable, Hashable {
    package var nodeId: NodeId
    package var namespaceUri: String?
    package var serverIndex: UInt32

    package init(_ nodeId: NodeId, namespaceUri: String? = nil, serverIndex: UInt32 = 0) {
        self.nodeId = nodeId
        self.namespaceUri = namespaceUri
        self.serverIndex = serverIndex
    }

    package static let null = ExpandedNodeId(.null)

    package init(from decoder: inout BinaryDecoder) throws(DecodingError) {
        let encoding = try decoder.uint8()
        nodeId = try NodeId(encoding: encoding & 0x3F, from: &decoder)
        namespaceUri = encoding & 0x80 != 0 ? try decoder.string() : nil
        serverIndex = encoding & 0x40 != 0 ? try decoder.uint32() : 0
    }

    package func encode(to encoder: inout BinaryEncoder) {
        let flags: UInt8 = (namespaceUri == nil ? 0 : 0x80) | (serverIndex == 0 ? 0 : 0x40)
        nodeId.encode(flags: flags, to: &encoder)
        if let namespaceUri { encoder.string(namespaceUri) }
        if serverIndex != 0 { encoder.integer(serverIndex) }
    }
}
