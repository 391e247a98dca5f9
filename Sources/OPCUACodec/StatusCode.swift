/// The result of an operation or the quality of a value (Part 4, 7.39). Names are in `StatusCode+Names.swift`.
package struct StatusCode: BinaryCodable, Hashable, RawRepresentable {
    package var rawValue: UInt32

    @inlinable package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Bits 30–31 of the code (Part 4, table 183).
    package enum Severity: UInt32, Sendable { case good, uncertain, bad, reserved }

    @inlinable package var isGood: Bool { rawValue >> 30 == 0 }
    @inlinable package var isUncertain: Bool { rawValue >> 30 == 1 }
    /// The reserved severity 3 is treated as bad.
    @inlinable package var isBad: Bool { rawValue >> 31 == 1 }

    /// The code without its info bits: what the tables of names list.
    package var withoutInfoBits: StatusCode { StatusCode(rawValue: rawValue & 0xFFFF_0000) }

    /// InfoType is DataValue and the overflow bit is set: the item's queue lost values (Part 4, table 185).
    @inlinable package var hasOverflow: Bool { rawValue & 0x0C00 == 0x0400 && rawValue & 0x0080 != 0 }

    package init(from decoder: inout BinaryDecoder) throws(DecodingError) { rawValue = try decoder.uint32() }
    package func encode(to encoder: inout BinaryEncoder) { encoder.integer(rawValue) }
}

extension StatusCode: CustomStringConvertible {
    /// The symbolic name and the number: `BadNodeIdUnknown (0x80340000)`.
    package var description: String {
        let digits = String(rawValue, radix: 16, uppercase: true)
        let number = "0x" + String(repeating: "0", count: 8 - digits.count) + digits
        guard let name = withoutInfoBits.name else { return number }
        return "\(name) (\(number))"
    }
}
