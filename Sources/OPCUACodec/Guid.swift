/// A Guid (Part 6, 5.2.2.6): Data1–3 little-endian, Data4 as eight bytes in order.
package struct Guid: BinaryCodable, Hashable, CustomStringConvertible {
    package var data1: UInt32
    package var data2: UInt16
    package var data3: UInt16
    /// The last eight bytes, the first of them in the most significant place.
    package var data4: UInt64

    package init(data1: UInt32, data2: UInt16, data3: UInt16, data4: UInt64) {
        self.data1 = data1
        self.data2 = data2
        self.data3 = data3
        self.data4 = data4
    }

    package init(from decoder: inout BinaryDecoder) throws(DecodingError) {
        data1 = try decoder.integer()
        data2 = try decoder.integer()
        data3 = try decoder.integer()
        data4 = UInt64(bigEndian: UInt64(littleEndian: try decoder.uint64()))
    }

    package func encode(to encoder: inout BinaryEncoder) {
        encoder.integer(data1)
        encoder.integer(data2)
        encoder.integer(data3)
        encoder.integer(data4.byteSwapped)
    }

    /// 8-4-4-4-12 hexadecimal digits, lower case (Part 6, 5.1.3).
    package var description: String {
        let fourth = data4 >> 48
        let fifth = data4 & 0xFFFF_FFFF_FFFF
        return [
            Guid.hex(UInt64(data1), 8), Guid.hex(UInt64(data2), 4), Guid.hex(UInt64(data3), 4),
            Guid.hex(fourth, 4), Guid.hex(fifth, 12),
        ].joined(separator: "-")
    }

    /// Parses the form `description` writes, in either case; nil for anything else.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.map(\.utf8.count) == [8, 4, 4, 4, 12] else { return nil }
        guard parts.allSatisfy({ $0.utf8.allSatisfy(Guid.isHexDigit) }) else { return nil }
        guard let data1 = UInt32(parts[0], radix: 16), let data2 = UInt16(parts[1], radix: 16),
            let data3 = UInt16(parts[2], radix: 16), let fourth = UInt64(parts[3], radix: 16),
            let fifth = UInt64(parts[4], radix: 16)
        else { return nil }
        self.init(data1: data1, data2: data2, data3: data3, data4: fourth << 48 | fifth)
    }

    private static func isHexDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x46, 0x61...0x66: true
        default: false
        }
    }

    private static func hex(_ value: UInt64, _ width: Int) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: width - digits.count) + digits
    }
}
