/// The ids of the built-in types (Part 6, 5.1.2).
package enum BuiltInType: UInt8, Sendable, CaseIterable {
    case boolean = 1
    case sbyte, byte, int16, uint16, int32, uint32, int64, uint64, float, double, string, dateTime, guid, byteString
    case xmlElement, nodeId, expandedNodeId, statusCode, qualifiedName, localizedText, extensionObject, dataValue
    case variant, diagnosticInfo
}

/// A value of any built-in type, or an array of one (Part 6, 5.2.2.16).
///
/// The hot path does not build Variants: it decodes scalars in place. This is for attributes, filters, history and the
/// rarer kinds of readings.
package indirect enum Variant: Hashable, Sendable {
    case null
    case boolean(Bool)
    case sbyte(Int8)
    case byte(UInt8)
    case int16(Int16)
    case uint16(UInt16)
    case int32(Int32)
    case uint32(UInt32)
    case int64(Int64)
    case uint64(UInt64)
    case float(Float)
    case double(Double)
    case string(String?)
    case dateTime(DateTime)
    case guid(Guid)
    case byteString([UInt8]?)
    case xmlElement(String?)
    case nodeId(NodeId)
    case expandedNodeId(ExpandedNodeId)
    case statusCode(StatusCode)
    case qualifiedName(QualifiedName)
    case localizedText(LocalizedText)
    case extensionObject(ExtensionObject)
    case dataValue(DataValue)
    case variant(Variant)
    case diagnosticInfo(DiagnosticInfo)
    /// Elements are all of `type` (or Variants, where that is 24); dimensions are empty for a one-dimensional array.
    case array(type: BuiltInType, elements: [Variant], dimensions: [Int32])
}

extension Variant: BinaryCodable {
    package init(from decoder: inout BinaryDecoder) throws(DecodingError) {
        let mask = try decoder.uint8()
        let id = mask & 0x3F
        if id == 0 {
            // Null. Bits without a type have no meaning.
            guard mask == 0 else { throw decoder.failure(.invalidEncoding) }
            self = .null
            return
        }
        // Ids 26–31 are reserved; decoders shall accept them as ByteString (Part 6, 5.2.2.16).
        let type: BuiltInType
        if let known = BuiltInType(rawValue: id) {
            type = known
        } else if id <= 31 {
            type = .byteString
        } else {
            throw decoder.failure(.invalidEncoding)
        }
        self = try decoder.nested { inner throws(DecodingError) in
            guard mask & 0x80 != 0 else {
                // A Variant directly inside a Variant is only allowed as an array element.
                if type == .variant || type == .diagnosticInfo { throw inner.failure(.invalidEncoding) }
                return try Variant(scalar: type, from: &inner)
            }
            let elements = try inner.array { each throws(DecodingError) in try Variant(scalar: type, from: &each) }
            let dimensions =
                mask & 0x40 != 0 ? try inner.array { each throws(DecodingError) in try each.int32() } : []
            return .array(type: type, elements: elements, dimensions: dimensions)
        }
    }

    /// A scalar without its encoding byte.
    package init(scalar type: BuiltInType, from decoder: inout BinaryDecoder) throws(DecodingError) {
        switch type {
        case .boolean: self = .boolean(try decoder.boolean())
        case .sbyte: self = .sbyte(try decoder.integer())
        case .byte: self = .byte(try decoder.uint8())
        case .int16: self = .int16(try decoder.integer())
        case .uint16: self = .uint16(try decoder.uint16())
        case .int32: self = .int32(try decoder.int32())
        case .uint32: self = .uint32(try decoder.uint32())
        case .int64: self = .int64(try decoder.int64())
        case .uint64: self = .uint64(try decoder.uint64())
        case .float: self = .float(try decoder.float())
        case .double: self = .double(try decoder.double())
        case .string: self = .string(try decoder.string())
        case .dateTime: self = .dateTime(try DateTime(from: &decoder))
        case .guid: self = .guid(try Guid(from: &decoder))
        case .byteString: self = .byteString(try decoder.byteString())
        case .xmlElement: self = .xmlElement(try decoder.string())
        case .nodeId: self = .nodeId(try NodeId(from: &decoder))
        case .expandedNodeId: self = .expandedNodeId(try ExpandedNodeId(from: &decoder))
        case .statusCode: self = .statusCode(try StatusCode(from: &decoder))
        case .qualifiedName: self = .qualifiedName(try QualifiedName(from: &decoder))
        case .localizedText: self = .localizedText(try LocalizedText(from: &decoder))
        case .extensionObject: self = .extensionObject(try ExtensionObject(from: &decoder))
        case .dataValue:
            self = .dataValue(try decoder.nested { inner throws(DecodingError) in try DataValue(from: &inner) })
        case .variant: self = .variant(try Variant(from: &decoder))
        case .diagnosticInfo: self = .diagnosticInfo(try DiagnosticInfo(from: &decoder))
        }
    }

    /// The built-in type; for an array that of its elements; nil for null.
    package var type: BuiltInType? {
        switch self {
        case .null: nil
        case .boolean: .boolean
        case .sbyte: .sbyte
        case .byte: .byte
        case .int16: .int16
        case .uint16: .uint16
        case .int32: .int32
        case .uint32: .uint32
        case .int64: .int64
        case .uint64: .uint64
        case .float: .float
        case .double: .double
        case .string: .string
        case .dateTime: .dateTime
        case .guid: .guid
        case .byteString: .byteString
        case .xmlElement: .xmlElement
        case .nodeId: .nodeId
        case .expandedNodeId: .expandedNodeId
        case .statusCode: .statusCode
        case .qualifiedName: .qualifiedName
        case .localizedText: .localizedText
        case .extensionObject: .extensionObject
        case .dataValue: .dataValue
        case .variant: .variant
        case .diagnosticInfo: .diagnosticInfo
        case .array(let type, _, _): type
        }
    }

    package func encode(to encoder: inout BinaryEncoder) {
        guard let type else { return encoder.uint8(0) }
        if case .array(_, let elements, let dimensions) = self {
            encoder.uint8(type.rawValue | 0x80 | (dimensions.isEmpty ? 0 : 0x40))
            encoder.array(elements) { $0.encodeScalar(to: &$1) }
            if !dimensions.isEmpty { encoder.array(dimensions) { $1.integer($0) } }
            return
        }
        encoder.uint8(type.rawValue)
        encodeScalar(to: &encoder)
    }

    /// The value without its encoding byte.
    package func encodeScalar(to encoder: inout BinaryEncoder) {
        switch self {
        case .null: break
        case .boolean(let value): encoder.boolean(value)
        case .sbyte(let value): encoder.integer(value)
        case .byte(let value): encoder.uint8(value)
        case .int16(let value): encoder.integer(value)
        case .uint16(let value): encoder.integer(value)
        case .int32(let value): encoder.integer(value)
        case .uint32(let value): encoder.integer(value)
        case .int64(let value): encoder.integer(value)
        case .uint64(let value): encoder.integer(value)
        case .float(let value): encoder.float(value)
        case .double(let value): encoder.double(value)
        case .string(let value): encoder.string(value)
        case .dateTime(let value): value.encode(to: &encoder)
        case .guid(let value): value.encode(to: &encoder)
        case .byteString(let value): encoder.byteString(value)
        case .xmlElement(let value): encoder.string(value)
        case .nodeId(let value): value.encode(to: &encoder)
        case .expandedNodeId(let value): value.encode(to: &encoder)
        case .statusCode(let value): value.encode(to: &encoder)
        case .qualifiedName(let value): value.encode(to: &encoder)
        case .localizedText(let value): value.encode(to: &encoder)
        case .extensionObject(let value): value.encode(to: &encoder)
        case .dataValue(let value): value.encode(to: &encoder)
        case .variant(let value): value.encode(to: &encoder)
        case .diagnosticInfo(let value): value.encode(to: &encoder)
        case .array(_, let elements, _): for element in elements { element.encodeScalar(to: &encoder) }
        }
    }
}
