/// A value with its status and timestamps (Part 4, 7.11; Part 6, 5.2.2.17).
package struct DataValue: BinaryCodable, Hashable {
    package var value: Variant
    /// Good where the server sent none.
    package var status: StatusCode
    package var sourceTimestamp: DateTime?
    /// Units of 10 picoseconds, 0 … 9999.
    package var sourcePicoseconds: UInt16?
    package var serverTimestamp: DateTime?
    package var serverPicoseconds: UInt16?

    /// Bits of the encoding mask (Part 6, table 24).
    package enum Mask {
        @usableFromInline package static let value: UInt8 = 0x01
        @usableFromInline package static let status: UInt8 = 0x02
        @usableFromInline package static let sourceTimestamp: UInt8 = 0x04
        @usableFromInline package static let serverTimestamp: UInt8 = 0x08
        @usableFromInline package static let sourcePicoseconds: UInt8 = 0x10
        @usableFromInline package static let serverPicoseconds: UInt8 = 0x20
    }

    package init(
        _ value: Variant,
        status: StatusCode = .good,
        sourceTimestamp: DateTime? = nil,
        serverTimestamp: DateTime? = nil
    ) {
        self.value = value
        self.status = status
        self.sourceTimestamp = sourceTimestamp
        self.serverTimestamp = serverTimestamp
    }

    package init(from decoder: inout BinaryDecoder) throws(DecodingError) {
        let mask = try decoder.uint8()
        value = mask & Mask.value != 0 ? try Variant(from: &decoder) : .null
        status = mask & Mask.status != 0 ? try StatusCode(from: &decoder) : .good
        sourceTimestamp = mask & Mask.sourceTimestamp != 0 ? try DateTime(from: &decoder) : nil
        sourcePicoseconds = mask & Mask.sourcePicoseconds != 0 ? try decoder.uint16() : nil
        serverTimestamp = mask & Mask.serverTimestamp != 0 ? try DateTime(from: &decoder) : nil
        serverPicoseconds = mask & Mask.serverPicoseconds != 0 ? try decoder.uint16() : nil
    }

    package func encode(to encoder: inout BinaryEncoder) {
        var mask: UInt8 = 0
        if value != .null { mask |= Mask.value }
        if status != .good { mask |= Mask.status }
        if sourceTimestamp != nil { mask |= Mask.sourceTimestamp }
        if serverTimestamp != nil { mask |= Mask.serverTimestamp }
        if sourcePicoseconds != nil { mask |= Mask.sourcePicoseconds }
        if serverPicoseconds != nil { mask |= Mask.serverPicoseconds }
        encoder.uint8(mask)
        if value != .null { value.encode(to: &encoder) }
        if status != .good { status.encode(to: &encoder) }
        sourceTimestamp?.encode(to: &encoder)
        if let sourcePicoseconds { encoder.integer(sourcePicoseconds) }
        serverTimestamp?.encode(to: &encoder)
        if let serverPicoseconds { encoder.integer(serverPicoseconds) }
    }
}
