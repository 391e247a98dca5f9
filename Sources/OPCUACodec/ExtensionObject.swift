/// A structure of any type with the id of its encoding in front (Part 6, 5.2.2.15).
package struct ExtensionObject: BinaryCodable, Hashable {
    package enum Body: Hashable, Sendable {
        case none
        case binary([UInt8])
        case xml([UInt8])
    }

    /// The id of the encoding (not of the data type), for example `DataChangeNotification_Encoding_DefaultBinary`.
    package var typeId: NodeId
    package var body: Body

    package init(typeId: NodeId = .null, body: Body = .none) {
        self.typeId = typeId
        self.body = body
    }

    package static let null = ExtensionObject()

    /// Wraps a structure with a well-known binary encoding.
    package init(_ structure: some BinaryStructure) {
        typeId = type(of: structure).binaryEncodingId
        body = .binary(structure.encoded)
    }

    /// The structure inside, if it is a `T`; nil when it is something else.
    package func decoded<T: BinaryStructure>(
        as type: T.Type,
        limits: DecodingLimits = DecodingLimits()
    ) throws(DecodingError) -> T? {
        guard typeId == T.binaryEncodingId, case .binary(let bytes) = body else { return nil }
        return try T(decoding: bytes, limits: limits)
    }

    package init(from decoder: inout BinaryDecoder) throws(DecodingError) {
        typeId = try NodeId(from: &decoder)
        switch try decoder.uint8() {
        case 0: body = .none
        case 1: body = .binary(try decoder.byteString() ?? [])
        case 2: body = .xml(try decoder.byteString() ?? [])
        default: throw decoder.failure(.invalidEncoding)
        }
    }

    package func encode(to encoder: inout BinaryEncoder) {
        typeId.encode(to: &encoder)
        switch body {
        case .none: encoder.uint8(0)
        case .binary(let bytes):
            encoder.uint8(1)
            encoder.byteString(bytes)
        case .xml(let bytes):
            encoder.uint8(2)
            encoder.byteString(bytes)
        }
    }
}

/// A structure of the OPC UA namespace with a known encoding id.
package protocol BinaryStructure: BinaryCodable, Equatable {
    static var binaryEncodingId: NodeId { get }
}

/// A service request (Part 4, 7.32): its first field is the request header.
package protocol ServiceRequest: BinaryStructure {
    associatedtype Response: ServiceResponse
    var requestHeader: RequestHeader { get set }
}

/// A service response (Part 4, 7.33): its first field is the response header.
package protocol ServiceResponse: BinaryStructure {
    var responseHeader: ResponseHeader { get set }
}

extension BinaryStructure {
    /// The body of a message: the encoding id, then the structure (Part 6, 6.7.2.2).
    package var messageBody: [UInt8] {
        var encoder = BinaryEncoder(reservingCapacity: 512)
        Self.binaryEncodingId.encode(to: &encoder)
        encode(to: &encoder)
        return encoder.bytes
    }
}
