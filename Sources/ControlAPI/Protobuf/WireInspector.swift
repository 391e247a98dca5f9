import CProtobufC

/// Looks at a request before protobuf-c decodes it, for what protobuf-c does not do:
/// - a string with a NUL would end there unnoticed (C strings), and one that is not UTF-8 would pass;
/// - two bytes of input can cost a hundred bytes of memory (an empty element of a repeated message, an unknown field):
///   the number of fields is bounded;
/// - it names the field at fault.
enum WireInspector {
    /// Fields of one message, counting every element of a repeated one. Above all bounds of scada.proto.
    static let maxFieldsPerMessage = 65_536
    /// Nesting of messages; scada.proto needs 2.
    static let maxDepth = 8

    /// What is wrong, and where. `path` is empty for the message as a whole.
    private struct Finding: Error {
        var path: String
        var problem: String
    }

    static func inspect(
        _ bytes: UnsafeRawBufferPointer,
        _ descriptor: UnsafePointer<ProtobufCMessageDescriptor>
    ) throws(ControlError) {
        do {
            try inspect(bytes, descriptor, depth: 0)
        } catch {
            throw error.path.isEmpty
                ? ControlError(.invalidArgument, "the request \(error.problem)")
                : .invalid(error.path, error.problem)
        }
    }

    private static func inspect(
        _ bytes: UnsafeRawBufferPointer,
        _ descriptor: UnsafePointer<ProtobufCMessageDescriptor>,
        depth: Int
    ) throws(Finding) {
        guard depth < maxDepth else { throw Finding(path: "", problem: "is nested too deeply") }
        let fields = UnsafeBufferPointer(start: descriptor.pointee.fields, count: Int(descriptor.pointee.n_fields))
        var reader = WireReader(bytes)
        var count = 0
        // No request has more than one repeated field of strings or messages.
        var elements = 0
        while true {
            let next: (number: UInt32, value: WireReader.Value)?
            do {
                next = try reader.next()
            } catch {
                let name = String(cString: descriptor.pointee.name)
                throw Finding(path: "", problem: "holds bytes that are not a \(name) message")
            }
            guard let (number, value) = next else { return }
            count += 1
            guard count <= maxFieldsPerMessage else {
                throw Finding(path: "", problem: "has more than \(maxFieldsPerMessage) fields")
            }
            guard case .bytes(let content) = value, let field = fields.first(where: { $0.id == number }) else {
                continue
            }
            var name: String {
                String(cString: field.name) + (field.label == PROTOBUF_C_LABEL_REPEATED ? "[\(elements)]" : "")
            }
            switch field.type {
            case PROTOBUF_C_TYPE_STRING:
                if let problem = textProblem(content) { throw Finding(path: name, problem: problem) }
            case PROTOBUF_C_TYPE_MESSAGE:
                guard let inner = field.descriptor else { break }
                do {
                    let inner = inner.assumingMemoryBound(to: ProtobufCMessageDescriptor.self)
                    try inspect(content, inner, depth: depth + 1)
                } catch {
                    throw Finding(path: error.path.isEmpty ? name : "\(name).\(error.path)", problem: error.problem)
                }
            default:
                break
            }
            if field.label == PROTOBUF_C_LABEL_REPEATED { elements += 1 }
        }
    }

    private static func textProblem(_ bytes: UnsafeRawBufferPointer) -> String? {
        var isASCII = true
        for byte in bytes {
            if byte == 0 { return "contains a NUL character" }
            if byte >= 0x80 { isASCII = false }
        }
        return isASCII || String(validating: bytes, as: UTF8.self) != nil ? nil : "is not UTF-8"
    }
}
