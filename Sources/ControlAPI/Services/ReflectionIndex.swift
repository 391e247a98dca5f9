import CScadaProto

/// The proto files of this server by name and by the symbols they declare, made from the FileDescriptorSet that
/// scripts/generate-proto commits. Reads only the fields it needs of google/protobuf/descriptor.proto.
struct ReflectionIndex: Sendable {
    struct File: Sendable, Equatable {
        var name: String
        /// A serialized FileDescriptorProto.
        var bytes: [UInt8]
        var dependencies: [String]
    }

    private(set) var files: [String: File] = [:]
    /// Full names of services, sorted.
    private(set) var services: [String] = []
    /// Full name of a service, method, message, field, enum or enum value → file name.
    private(set) var symbols: [String: String] = [:]

    /// The committed descriptors; read at the first use.
    static let shared: ReflectionIndex? = {
        let bytes = UnsafeRawBufferPointer(start: scada_descriptor_set_start(), count: scada_descriptor_set_length())
        return try? ReflectionIndex(bytes)
    }()

    /// A FileDescriptorSet.
    init(_ set: UnsafeRawBufferPointer) throws(WireReader.Malformed) {
        for file in try Self.fields(set, 1) { try add(file) }
        services.sort()
    }

    /// The file and everything it imports, itself first.
    func filesNeeded(for name: String) -> [File] {
        var result: [File] = []
        var waiting = [name]
        while let next = waiting.popLast() {
            guard let file = files[next], !result.contains(where: { $0.name == next }) else { continue }
            result.append(file)
            waiting.append(contentsOf: file.dependencies)
        }
        return result
    }

    /// FileDescriptorProto: 1 name, 2 package, 3 dependency, 4 message_type, 5 enum_type, 6 service.
    private mutating func add(_ bytes: UnsafeRawBufferPointer) throws(WireReader.Malformed) {
        let name = try Self.name(bytes)
        let package = try Self.fields(bytes, 2).first.map { String(decoding: $0, as: UTF8.self) } ?? ""
        let dependencies = try Self.fields(bytes, 3).map { String(decoding: $0, as: UTF8.self) }
        files[name] = File(name: name, bytes: Array(bytes), dependencies: dependencies)
        let scope = package.isEmpty ? "" : package + "."
        for message in try Self.fields(bytes, 4) { try add(message: message, scope: scope, file: name) }
        for type in try Self.fields(bytes, 5) { try add(enumeration: type, scope: scope, file: name) }
        for service in try Self.fields(bytes, 6) {
            // ServiceDescriptorProto: 1 name, 2 method.
            let full = scope + (try Self.name(service))
            services.append(full)
            symbols[full] = name
            for method in try Self.fields(service, 2) { symbols["\(full).\(try Self.name(method))"] = name }
        }
    }

    /// DescriptorProto: 1 name, 2 field, 3 nested_type, 4 enum_type.
    private mutating func add(
        message: UnsafeRawBufferPointer,
        scope: String,
        file: String
    ) throws(WireReader.Malformed) {
        let full = scope + (try Self.name(message))
        symbols[full] = file
        for field in try Self.fields(message, 2) { symbols["\(full).\(try Self.name(field))"] = file }
        for nested in try Self.fields(message, 3) { try add(message: nested, scope: full + ".", file: file) }
        for type in try Self.fields(message, 4) { try add(enumeration: type, scope: full + ".", file: file) }
    }

    /// EnumDescriptorProto: 1 name, 2 value. Values live in the scope of the enum, not in the enum.
    private mutating func add(
        enumeration: UnsafeRawBufferPointer,
        scope: String,
        file: String
    ) throws(WireReader.Malformed) {
        symbols[scope + (try Self.name(enumeration))] = file
        for value in try Self.fields(enumeration, 2) { symbols[scope + (try Self.name(value))] = file }
    }

    private static func name(_ message: UnsafeRawBufferPointer) throws(WireReader.Malformed) -> String {
        try fields(message, 1).first.map { String(decoding: $0, as: UTF8.self) } ?? ""
    }

    /// The contents of all length-delimited fields with this number.
    private static func fields(
        _ message: UnsafeRawBufferPointer,
        _ number: UInt32
    ) throws(WireReader.Malformed) -> [UnsafeRawBufferPointer] {
        var found: [UnsafeRawBufferPointer] = []
        var reader = WireReader(message)
        while let field = try reader.next() {
            if field.number == number, case .bytes(let content) = field.value { found.append(content) }
        }
        return found
    }
}
