import SystemPackage

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Memory for reading segments: 1 MiB, more only while a larger record needs it. One owner at a time.
final class ReadBuffer: @unchecked Sendable {
    static let standardCapacity = 1 << 20

    private(set) var bytes: UnsafeMutableRawBufferPointer

    init() {
        bytes = .allocate(byteCount: Self.standardCapacity, alignment: 16)
    }

    deinit {
        bytes.deallocate()
    }

    /// Makes room for `capacity` bytes and keeps the first `count`.
    func grow(to capacity: Int, keeping count: Int) {
        guard capacity > bytes.count else { return }
        let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 16)
        larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<count]))
        bytes.deallocate()
        bytes = larger
    }

    var isStandard: Bool { bytes.count == Self.standardCapacity }
}

/// Walks over the records of one segment file, checking each.
struct SegmentScanner {
    enum Ending: Equatable {
        /// The end of the range, or the body asked to stop; `offset` is where the next record starts.
        case end
        /// The file says that nothing follows: what does is left from an earlier use of it.
        case endMark
        /// The bytes at `offset` are no record of this journal.
        case corrupt(reason: String)
        case unreadable(Errno)
    }

    let file: FileDescriptor
    let seed: UInt32
    /// Position of the segment's first record.
    let base: Int64
    let buffer: ReadBuffer

    func position(at offset: Int64) -> Int64 { base + offset - Int64(SegmentHeader.size) }

    /// Visits the records from file offset `start`, which must be a record's start, up to `limit`, where one must end.
    /// - Parameter body: returns whether to go on; the bytes it sees are good until it returns.
    /// - Returns: where the last whole record ended, and why there.
    func scan<E: Error>(
        from start: Int64,
        limit: Int64,
        _ body: (RecordHeader, UnsafeRawBufferPointer) throws(E) -> Bool
    ) throws(E) -> (offset: Int64, ending: Ending) {
        var offset = start
        // The buffer holds the file's bytes from `offset` on in buffer[used..<filled].
        var used = 0
        var filled = 0
        while offset < limit {
            if let failure = fill(RecordFormat.headerSize, offset, limit, &used, &filled) { return (offset, failure) }
            let length = Int(UnsafeRawBufferPointer(buffer.bytes).load(UInt32.self, at: used))
            guard length >= RecordFormat.headerSize, length <= RecordFormat.maximumLength,
                Int64(length) <= limit - offset
            else {
                let room = limit - offset
                return (offset, .corrupt(reason: "a record of \(length) bytes where \(room) bytes are left"))
            }
            if let failure = fill(length, offset, limit, &used, &filled) { return (offset, failure) }
            let record = UnsafeRawBufferPointer(rebasing: buffer.bytes[used..<used + length])
            let position = position(at: offset)
            guard RecordFormat.isIntact(record, seed: seed, position: position) else {
                return (offset, .corrupt(reason: "a record whose checksum does not match"))
            }
            let header = RecordFormat.decodeHeader(record, position: position)
            if header.kind == .end { return (offset, .endMark) }
            let payload = UnsafeRawBufferPointer(rebasing: record[RecordFormat.headerSize...])
            guard try body(header, payload) else { return (offset, .end) }
            used += length
            offset += Int64(length)
        }
        return (offset, .end)
    }

    /// Sees to it that `needed` bytes of the file from `offset` are in the buffer from `used` on.
    private func fill(
        _ needed: Int,
        _ offset: Int64,
        _ limit: Int64,
        _ used: inout Int,
        _ filled: inout Int
    ) -> Ending? {
        if filled - used >= needed { return nil }
        guard Int64(needed) <= limit - offset else {
            return .corrupt(reason: "\(limit - offset) bytes, too few for a record")
        }
        if used > 0 {
            let kept = filled - used
            if kept > 0, let start = buffer.bytes.baseAddress { memmove(start, start + used, kept) }
            filled = kept
            used = 0
        }
        buffer.grow(to: needed, keeping: filled)
        while filled < needed {
            let from = offset + Int64(filled)
            let count = Int(min(Int64(buffer.bytes.count - filled), limit - from))
            switch readFully(file, UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[filled..<filled + count]), from)
            {
            case .failure(let errno): return .unreadable(errno)
            case .success(0): return .corrupt(reason: "the file ends before its record does")
            case .success(let read): filled += read
            }
        }
        return nil
    }
}

/// pread(2) until `bytes` is full or the file ends; returns the bytes read.
func readFully(
    _ file: FileDescriptor,
    _ bytes: UnsafeMutableRawBufferPointer,
    _ offset: Int64
) -> Result<Int, Errno> {
    var done = 0
    while done < bytes.count {
        let count = pread(
            file.rawValue,
            bytes.baseAddress.map { $0 + done },
            bytes.count - done,
            off_t(offset) + off_t(done)
        )
        if count == 0 { break }
        if count < 0 {
            if errno == EINTR { continue }
            return .failure(Errno(rawValue: errno))
        }
        done += count
    }
    return .success(done)
}
