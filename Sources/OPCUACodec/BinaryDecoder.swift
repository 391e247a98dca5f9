/// Reads OPC UA binary (Part 6, 5.2) from memory it does not own, without copying.
///
/// Valid only while the memory behind `base` is: create it inside `withUnsafeBytes` and let nothing of it escape. Every
/// read is checked against the end of the region. Not thread safe, no I/O, no clock.
package struct BinaryDecoder {
    @usableFromInline let base: UnsafeRawPointer
    /// Length of the region in bytes.
    @usableFromInline package let count: Int
    /// Offset of the next byte to read, 0 … count.
    @usableFromInline package var offset: Int
    @usableFromInline package let limits: DecodingLimits
    @usableFromInline var nesting: Int

    @inlinable
    package init(_ bytes: UnsafeRawBufferPointer, limits: DecodingLimits = DecodingLimits()) {
        // An empty buffer may have no base address; any non-null pointer does, as nothing is read through it.
        self.base = bytes.baseAddress ?? UnsafeRawPointer(bitPattern: 1).unsafelyUnwrapped
        self.count = bytes.count
        self.offset = 0
        self.limits = limits
        self.nesting = 0
    }

    /// Decodes from an array's memory.
    package static func withBytes<R, E: Error>(
        _ bytes: [UInt8],
        limits: DecodingLimits = DecodingLimits(),
        _ body: (inout BinaryDecoder) throws(E) -> R
    ) throws(E) -> R {
        let outcome: Result<R, E> = bytes.withUnsafeBytes { region in
            var decoder = BinaryDecoder(region, limits: limits)
            do throws(E) { return .success(try body(&decoder)) } catch { return .failure(error) }
        }
        return try outcome.get()
    }

    /// The bytes not read yet.
    @inlinable package var rest: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: base + offset, count: count &- offset)
    }

    @inlinable package var bytesLeft: Int { count &- offset }

    @inlinable package func failure(_ code: DecodingError.Code) -> DecodingError {
        DecodingError(code: code, offset: offset)
    }

    /// Moves past `length` bytes and returns where they start.
    @inlinable
    package mutating func take(_ length: Int) throws(DecodingError) -> UnsafeRawPointer {
        guard length >= 0, length <= count &- offset else { throw failure(.truncated) }
        let start = base + offset
        offset &+= length
        return start
    }

    @inlinable
    package mutating func integer<T: FixedWidthInteger>(_ type: T.Type = T.self) throws(DecodingError) -> T {
        let start = try take(MemoryLayout<T>.size)
        return T(littleEndian: start.loadUnaligned(as: T.self))
    }

    @inlinable package mutating func uint8() throws(DecodingError) -> UInt8 { try integer() }
    @inlinable package mutating func uint16() throws(DecodingError) -> UInt16 { try integer() }
    @inlinable package mutating func uint32() throws(DecodingError) -> UInt32 { try integer() }
    @inlinable package mutating func uint64() throws(DecodingError) -> UInt64 { try integer() }
    @inlinable package mutating func int32() throws(DecodingError) -> Int32 { try integer() }
    @inlinable package mutating func int64() throws(DecodingError) -> Int64 { try integer() }
    @inlinable package mutating func float() throws(DecodingError) -> Float { Float(bitPattern: try integer()) }
    @inlinable package mutating func double() throws(DecodingError) -> Double { Double(bitPattern: try integer()) }
    /// Part 6, 5.2.2.1: any non-zero byte is true.
    @inlinable package mutating func boolean() throws(DecodingError) -> Bool { try uint8() != 0 }

    /// The bytes of a String, ByteString or XmlElement in place; nil for the null value (Part 6, 5.2.2.4).
    @inlinable
    package mutating func lengthPrefixed() throws(DecodingError) -> UnsafeRawBufferPointer? {
        let length = Int(try int32())
        if length < 0 {
            // Part 6 says -1; decoders in the field treat every negative length as null.
            return nil
        }
        guard length <= count &- offset else { throw failure(.invalidLength) }
        let start = try take(length)
        return UnsafeRawBufferPointer(start: start, count: length)
    }

    /// A String; nil is the null string, which is not the empty string. Bytes that are not UTF-8 are an error unless the
    /// limits say to repair them.
    package mutating func string() throws(DecodingError) -> String? {
        guard let bytes = try lengthPrefixed() else { return nil }
        if limits.repairsUTF8 { return String(decoding: bytes, as: UTF8.self) }
        guard let string = String(validating: bytes, as: UTF8.self) else { throw failure(.invalidUTF8) }
        return string
    }

    package mutating func byteString() throws(DecodingError) -> [UInt8]? {
        guard let bytes = try lengthPrefixed() else { return nil }
        return [UInt8](bytes)
    }

    /// The element count of an array; -1 (null) reads as 0. Elements take at least `minimumElementSize` bytes each.
    @inlinable
    package mutating func arrayLength(minimumElementSize: Int = 1) throws(DecodingError) -> Int {
        let length = Int(try int32())
        if length <= 0 { return 0 }
        guard length <= limits.maximumArrayLength else { throw failure(.arrayTooLong) }
        let (needed, overflow) = length.multipliedReportingOverflow(by: minimumElementSize)
        guard !overflow, needed <= count &- offset else { throw failure(.invalidLength) }
        return length
    }

    package mutating func array<T>(
        of element: (inout BinaryDecoder) throws(DecodingError) -> T
    ) throws(DecodingError) -> [T] {
        let length = try arrayLength()
        var result: [T] = []
        // The length came from the peer: what an element takes in memory may be many times its encoded size.
        result.reserveCapacity(min(length, 1024))
        for _ in 0..<length { result.append(try element(&self)) }
        return result
    }

    /// Runs `body` one level deeper; throws when that is below the nesting limit.
    package mutating func nested<R>(
        _ body: (inout BinaryDecoder) throws(DecodingError) -> R
    ) throws(DecodingError) -> R {
        guard nesting < limits.maximumNesting else { throw failure(.nestingTooDeep) }
        nesting += 1
        defer { nesting -= 1 }
        return try body(&self)
    }
}

/// A type with an OPC UA binary encoding (Part 6, 5.2).
package protocol BinaryCodable: Sendable {
    init(from decoder: inout BinaryDecoder) throws(DecodingError)
    func encode(to encoder: inout BinaryEncoder)
}
