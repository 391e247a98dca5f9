import OPCUACodec

/// Writes structures that the server describes as JSON objects, field by field.
///
/// Belongs to the connection's event loop; a class, because the encoder is copied and this is shared with nobody.
final class StructureText {
    /// What is known of the server's types.
    var types = StructureTypes()
    /// Encoding ids that were met and are not known: the server has to be asked.
    private(set) var unknown: Set<NodeId> = []

    /// More JSON than this of one value is not made: a few bytes can ask for much.
    static let maximumBytes = 16 << 20
    /// Of one message.
    static let maximumUnknown = 100

    func takeUnknown() -> [NodeId] {
        defer { unknown = [] }
        return Array(unknown)
    }

    /// nil where the type is not known, or the body is not what the server said it is.
    func json(of object: ExtensionObject) -> String? {
        guard case .binary(let bytes) = object.body else { return nil }
        guard let dataType = types.encodings[object.typeId] ?? StructureTypes.standard.encodings[object.typeId]
        else {
            if !types.undescribed.contains(object.typeId), unknown.count < Self.maximumUnknown {
                unknown.insert(object.typeId)
            }
            return nil
        }
        var text = ""
        do throws(DecodingError) {
            try BinaryDecoder.withBytes(bytes, limits: DecodingLimits(repairsUTF8: true)) {
                (decoder) throws(DecodingError) in
                try write(dataType, &decoder, &text)
                guard decoder.bytesLeft == 0 else { throw decoder.failure(.invalidLength) }
            }
        } catch {
            return nil
        }
        return text
    }

    private func write(
        _ dataType: NodeId,
        _ decoder: inout BinaryDecoder,
        _ text: inout String
    ) throws(DecodingError) {
        guard let structure = types.structures[dataType] ?? StructureTypes.standard.structures[dataType] else {
            throw decoder.failure(.unexpectedType)
        }
        try decoder.nested { inner throws(DecodingError) in
            switch structure.kind {
            case .plain: try write(structure.fields, &inner, &text)
            case .optionalFields:
                let mask = try inner.uint32()
                var bit: UInt32 = 1
                let present = structure.fields.filter { field in
                    guard field.isOptional else { return true }
                    defer { bit = bit &<< 1 }
                    return mask & bit != 0
                }
                try write(present, &inner, &text)
            case .union:
                let selected = Int(try inner.uint32())
                if selected == 0 {
                    text += "null"
                } else {
                    guard selected <= structure.fields.count else { throw inner.failure(.invalidEncoding) }
                    try write([structure.fields[selected - 1]], &inner, &text)
                }
            }
        }
    }

    private func write(
        _ fields: [StructureTypes.Field],
        _ decoder: inout BinaryDecoder,
        _ text: inout String
    ) throws(DecodingError) {
        text += "{"
        for (index, field) in fields.enumerated() {
            if index > 0 { text += "," }
            text += ValueText.quoted(field.name)
            text += ":"
            switch field.valueRank {
            case ..<0: try write(field.type, &decoder, &text)
            case 1: try write([try decoder.arrayLength()], field.type, &decoder, &text)
            default:
                let dimensions = try decoder.array { each throws(DecodingError) in Int(try each.int32()) }
                try write(try checked(dimensions, decoder), field.type, &decoder, &text)
            }
            guard text.utf8.count <= Self.maximumBytes else { throw decoder.failure(.arrayTooLong) }
        }
        text += "}"
    }

    /// Dimensions whose product can be in the bytes left.
    private func checked(_ dimensions: [Int], _ decoder: BinaryDecoder) throws(DecodingError) -> [Int] {
        guard dimensions.count <= decoder.limits.maximumNesting else { throw decoder.failure(.nestingTooDeep) }
        var product = 1
        for dimension in dimensions {
            let (next, overflow) = product.multipliedReportingOverflow(by: dimension)
            guard dimension >= 0, !overflow, next <= decoder.bytesLeft else { throw decoder.failure(.invalidLength) }
            product = next
        }
        return dimensions.isEmpty ? [0] : product == 0 ? [0] : dimensions
    }

    private func write(
        _ dimensions: [Int],
        _ type: StructureTypes.FieldType,
        _ decoder: inout BinaryDecoder,
        _ text: inout String
    ) throws(DecodingError) {
        guard let count = dimensions.first else { return try write(type, &decoder, &text) }
        text += "["
        let rest = Array(dimensions.dropFirst())
        for index in 0..<count {
            if index > 0 { text += "," }
            try write(rest, type, &decoder, &text)
            guard text.utf8.count <= Self.maximumBytes else { throw decoder.failure(.arrayTooLong) }
        }
        text += "]"
    }

    private func write(
        _ type: StructureTypes.FieldType,
        _ decoder: inout BinaryDecoder,
        _ text: inout String
    ) throws(DecodingError) {
        switch type {
        case .builtIn(let type): text += ValueText.json(try Variant(scalar: type, from: &decoder), self)
        case .structure(let dataType): try write(dataType, &decoder, &text)
        }
    }
}
