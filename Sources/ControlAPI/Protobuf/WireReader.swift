/// Walks the fields of one serialized protobuf message (https://protobuf.dev/programming-guides/encoding) without
/// decoding it. A value: no allocation.
struct WireReader {
    enum Value {
        case varint(UInt64)
        case fixed64
        case fixed32
        case bytes(UnsafeRawBufferPointer)
    }

    /// The bytes do not follow the encoding.
    struct Malformed: Error {}

    private let bytes: UnsafeRawBufferPointer
    private var offset = 0

    init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
    }

    /// The next field; nil at the end.
    mutating func next() throws(Malformed) -> (number: UInt32, value: Value)? {
        guard offset < bytes.count else { return nil }
        let key = try varint()
        guard key <= UInt64(UInt32.max), key >> 3 != 0 else { throw Malformed() }
        let number = UInt32(key >> 3)
        switch key & 7 {
        case 0: return (number, .varint(try varint()))
        case 1:
            _ = try take(8)
            return (number, .fixed64)
        case 2:
            let length = try varint()
            guard length <= UInt64(bytes.count) else { throw Malformed() }
            return (number, .bytes(try take(Int(length))))
        case 5:
            _ = try take(4)
            return (number, .fixed32)
        default: throw Malformed()
        }
    }

    private mutating func varint() throws(Malformed) -> UInt64 {
        var result: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 70, by: 7) {
            guard offset < bytes.count else { throw Malformed() }
            let byte = bytes[offset]
            offset += 1
            result |= UInt64(byte & 0x7F) << shift
            if byte & 0x80 == 0 { return result }
        }
        throw Malformed()
    }

    private mutating func take(_ count: Int) throws(Malformed) -> UnsafeRawBufferPointer {
        guard count <= bytes.count - offset else { throw Malformed() }
        defer { offset += count }
        return UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count])
    }
}
