/// Writes OPC UA binary (Part 6, 5.2) into a growing array.
///
/// Meant for requests and for what a simulator prepares ahead: not the path of readings, which are decoded only.
package struct BinaryEncoder: Sendable {
    package var bytes: [UInt8]

    package init(reservingCapacity capacity: Int = 256) {
        bytes = []
        bytes.reserveCapacity(capacity)
    }

    @inlinable
    package mutating func integer<T: FixedWidthInteger>(_ value: T) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    package mutating func uint8(_ value: UInt8) { bytes.append(value) }
    package mutating func boolean(_ value: Bool) { bytes.append(value ? 1 : 0) }
    package mutating func float(_ value: Float) { integer(value.bitPattern) }
    package mutating func double(_ value: Double) { integer(value.bitPattern) }

    /// nil is written as the null string, which is not the empty string.
    package mutating func string(_ value: String?) {
        guard let value else { return integer(Int32(-1)) }
        integer(Int32(value.utf8.count))
        bytes.append(contentsOf: value.utf8)
    }

    package mutating func byteString(_ value: [UInt8]?) {
        guard let value else { return integer(Int32(-1)) }
        integer(Int32(value.count))
        bytes.append(contentsOf: value)
    }

    package mutating func array<T>(_ elements: [T], _ element: (T, inout BinaryEncoder) -> Void) {
        integer(Int32(elements.count))
        for each in elements { element(each, &self) }
    }
}

extension BinaryCodable {
    /// The encoded bytes of this value alone.
    package var encoded: [UInt8] {
        var encoder = BinaryEncoder()
        encode(to: &encoder)
        return encoder.bytes
    }

    /// Decodes a value that must fill `bytes` to the end or be followed by what a newer version of the structure adds.
    package init(decoding bytes: [UInt8], limits: DecodingLimits = DecodingLimits()) throws(DecodingError) {
        self = try BinaryDecoder.withBytes(bytes, limits: limits) { decoder throws(DecodingError) in
            try Self(from: &decoder)
        }
    }
}
