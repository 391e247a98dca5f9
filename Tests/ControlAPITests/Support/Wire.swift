/// A protobuf message made by hand, so that field numbers and types are written down a second time, away from the
/// generated code.
struct Wire {
    var bytes: [UInt8] = []

    init() {}

    private mutating func varint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    private mutating func key(_ number: Int, _ type: UInt64) { varint(UInt64(number) << 3 | type) }

    func int(_ number: Int, _ value: Int64) -> Wire {
        var copy = self
        copy.key(number, 0)
        copy.varint(UInt64(bitPattern: value))
        return copy
    }

    func bool(_ number: Int, _ value: Bool) -> Wire { int(number, value ? 1 : 0) }

    func double(_ number: Int, _ value: Double) -> Wire {
        var copy = self
        copy.key(number, 1)
        withUnsafeBytes(of: value.bitPattern.littleEndian) { copy.bytes.append(contentsOf: $0) }
        return copy
    }

    func data(_ number: Int, _ value: [UInt8]) -> Wire {
        var copy = self
        copy.key(number, 2)
        copy.varint(UInt64(value.count))
        copy.bytes.append(contentsOf: value)
        return copy
    }

    func string(_ number: Int, _ value: String) -> Wire { data(number, Array(value.utf8)) }

    func message(_ number: Int, _ value: Wire) -> Wire { data(number, value.bytes) }
}

/// A protobuf message taken apart by hand.
struct Unwired {
    struct NotProtobuf: Error {}

    private var fields: [Int: [(number: UInt64, bytes: [UInt8])]] = [:]

    init(_ bytes: [UInt8]) throws {
        var place = 0
        func byte() throws -> UInt8 {
            guard place < bytes.count else { throw NotProtobuf() }
            defer { place += 1 }
            return bytes[place]
        }
        func varint() throws -> UInt64 {
            var value: UInt64 = 0
            for shift in stride(from: UInt64(0), to: 70, by: 7) {
                let next = try byte()
                value |= UInt64(next & 0x7F) << shift
                if next < 0x80 { return value }
            }
            throw NotProtobuf()
        }
        func fixed(_ count: Int) throws -> UInt64 {
            var value: UInt64 = 0
            for index in 0..<count { value |= UInt64(try byte()) << UInt64(8 * index) }
            return value
        }
        while place < bytes.count {
            let key = try varint()
            var entry: (number: UInt64, bytes: [UInt8]) = (0, [])
            switch key & 7 {
            case 0: entry.number = try varint()
            case 1: entry.number = try fixed(8)
            case 5: entry.number = try fixed(4)
            case 2:
                let count = Int(try varint())
                guard count <= bytes.count - place else { throw NotProtobuf() }
                entry.bytes = Array(bytes[place..<place + count])
                place += count
            default: throw NotProtobuf()
            }
            fields[Int(key >> 3), default: []].append(entry)
        }
    }

    var numbers: [Int] { fields.keys.sorted() }
    func strings(_ number: Int) -> [String] {
        fields[number, default: []].map { String(decoding: $0.bytes, as: UTF8.self) }
    }
    func string(_ number: Int) -> String { strings(number).last ?? "" }
    func data(_ number: Int) -> [[UInt8]] { fields[number, default: []].map(\.bytes) }
    func int(_ number: Int) -> Int64 { Int64(bitPattern: fields[number]?.last?.number ?? 0) }
    func bool(_ number: Int) -> Bool { int(number) != 0 }
    func double(_ number: Int) -> Double { Double(bitPattern: fields[number]?.last?.number ?? 0) }
    func messages(_ number: Int) throws -> [Unwired] { try fields[number, default: []].map { try Unwired($0.bytes) } }
}
