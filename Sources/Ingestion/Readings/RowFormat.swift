import FoundationEssentials
import Journal
import OPCUACodec

/// The binary COPY form of a row of `scada_readings`: columns well_id, tag_node_id, "timestamp", value, quality, status_code,
/// value_text; each an Int32 length (-1 for NULL) and its bytes, big-endian (PostgreSQL documentation, COPY, "Binary Format").
enum RowFormat {
    static let columnCount: Int16 = 7
    /// Microseconds from 1970-01-01 to PostgreSQL's epoch 2000-01-01.
    static let epochMicroseconds: Int64 = 946_684_800_000_000
    /// Bytes behind the prefix of a row without text: timestamp, value, the longest quality, status code, no text.
    static let largestTail = 8 + 12 + 13 + 12 + 4

    /// The row up to the timestamp's bytes. The caller frees it.
    static func prefix(of key: TagKey) -> UnsafeMutableRawBufferPointer {
        let node = Array(key.nodeID.utf8)
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 2 + 4 + 16 + 4 + node.count + 4, alignment: 8)
        var offset = 0
        func put<T: FixedWidthInteger>(_ value: T) {
            memory.storeBytes(of: value.bigEndian, toByteOffset: offset, as: T.self)
            offset += MemoryLayout<T>.size
        }
        put(columnCount)
        put(Int32(16))
        withUnsafeBytes(of: key.wellID.uuid) { bytes in
            UnsafeMutableRawBufferPointer(rebasing: memory[offset..<offset + 16]).copyMemory(from: bytes)
        }
        offset += 16
        put(Int32(node.count))
        node.withUnsafeBytes { bytes in
            UnsafeMutableRawBufferPointer(rebasing: memory[offset..<offset + node.count]).copyMemory(from: bytes)
        }
        offset += node.count
        put(Int32(8))
        return memory
    }

    /// The 16 bytes of the well's id in what ``prefix(of:)`` made.
    static func wellID(inPrefix prefix: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: prefix[6..<22])
    }

    /// The UTF-8 of the node id in what ``prefix(of:)`` made.
    static func nodeID(inPrefix prefix: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: prefix[26..<prefix.count - 4])
    }

    /// Writes what follows the prefix and returns how many bytes that took, at most ``largestTail`` and the text.
    ///
    /// - Parameters:
    ///   - number: NULL in the column `value` when nil.
    ///   - text: NULL in `value_text` when nil; must be UTF-8 without NUL.
    @inline(__always)
    static func writeTail(
        at target: UnsafeMutableRawPointer,
        microseconds: Int64,
        number: Double?,
        status: UInt32,
        text: UnsafeRawBufferPointer?
    ) -> Int {
        var cursor = target
        @inline(__always) func put<T: FixedWidthInteger>(_ value: T) {
            cursor.storeBytes(of: value.bigEndian, as: T.self)
            cursor += MemoryLayout<T>.size
        }
        put(microseconds &- epochMicroseconds)
        if let number {
            put(Int32(8))
            put(number.bitPattern)
        } else {
            put(Int32(-1))
        }
        if status >> 30 == 0 {
            // "Good", its length in front.
            put(UInt64(0x0000_0004_476F_6F64))
        } else if status >> 30 == 1 {
            put(Int32(9))
            // "Uncertai" and "n".
            put(UInt64(0x556E_6365_7274_6169))
            put(UInt8(0x6E))
        } else {
            put(Int32(3))
            put(UInt16(0x4261))
            put(UInt8(0x64))
        }
        if status == 0 {
            put(Int32(-1))
        } else {
            put(Int32(8))
            put(Int64(status))
        }
        if let text {
            put(Int32(truncatingIfNeeded: text.count))
            if let base = text.baseAddress { cursor.copyMemory(from: base, byteCount: text.count) }
            cursor += text.count
        } else {
            put(Int32(-1))
        }
        return cursor - target
    }

    /// Bytes behind the prefix of ``Journal/RowBuffer/appendGood(_:_:_:_:)``'s rows.
    static let goodTail = 8 + 12 + 8 + 4 + 4

    /// Copies in words of 16 bytes: reads and writes up to 15 bytes more than `length`.
    @inline(__always)
    static func copyPrefix(_ prefix: UnsafeRawPointer, _ length: Int, to target: UnsafeMutableRawPointer) {
        var offset = 0
        while offset < length {
            (target + offset).storeBytes(
                of: (prefix + offset).loadUnaligned(as: SIMD2<UInt64>.self),
                as: SIMD2<UInt64>.self
            )
            offset &+= 16
        }
    }
}

extension RowBuffer {
    /// Appends the row of a good number without text: what ``RowFormat/writeTail(at:microseconds:number:status:text:)`` writes
    /// for it, in five stores.
    /// - Parameter prefix: of a ``PrefixStore``.
    @inline(__always)
    func appendGood(_ prefix: UnsafeRawPointer, _ length: Int, _ microseconds: Int64, _ number: Double) {
        // The prefix's last word of 16 bytes ends inside the tail.
        let wanted = length &+ RowFormat.goodTail
        let start = storage.pointee.cursor
        let target = storage.pointee.limit - start >= wanted ? start : grow(wanted)
        RowFormat.copyPrefix(prefix, length, to: target)
        let tail = target + length
        tail.storeBytes(of: (microseconds &- RowFormat.epochMicroseconds).bigEndian, as: Int64.self)
        tail.storeBytes(of: Int32(8).bigEndian, toByteOffset: 8, as: Int32.self)
        tail.storeBytes(of: number.bitPattern.bigEndian, toByteOffset: 12, as: UInt64.self)
        // "Good" with its length in front, neither status code nor text.
        tail.storeBytes(of: UInt64(0x0000_0004_476F_6F64).bigEndian, toByteOffset: 20, as: UInt64.self)
        tail.storeBytes(of: UInt64.max, toByteOffset: 28, as: UInt64.self)
        storage.pointee.cursor = target + wanted
        storage.pointee.rowCount &+= 1
    }
}
