/// Growable raw memory into which COPY rows are written, and from which the journal writes them to disk without a copy.
///
/// Ownership: exactly one owner at a time, and only the owner touches it. An encoder fills it, then hands it to
/// ``TenantJournal/append(_:priority:)``; from the moment that call returns a position the journal owns it, until it gives it
/// back to its ``RowBufferPool``: when it is durable, or, where there is memory to keep it so long, when it is stored. In
/// between several may read it and nobody writes. If `append` throws, the caller owns it again. That rule, not a lock, is why
/// the class may be `@unchecked Sendable`.
///
/// The state lives behind one pointer instead of in stored properties, so that the inlined hot path pays for no
/// exclusivity check; what remains of `reserve` and `advance` is a comparison and two stores.
package final class RowBuffer: @unchecked Sendable {
    /// Bytes kept free in front of the rows. The journal puts its record header there, so that header and rows are one
    /// contiguous piece for the checksum and for pwritev(2).
    @usableFromInline package static let headroom = RecordFormat.headerSize

    @usableFromInline
    package struct Storage {
        /// Start of the allocation; the rows start `RowBuffer.headroom` behind it.
        @usableFromInline package var base: UnsafeMutableRawPointer
        /// Where the next byte goes.
        @usableFromInline package var cursor: UnsafeMutableRawPointer
        /// One past the last usable byte.
        @usableFromInline package var limit: UnsafeMutableRawPointer
        @usableFromInline package var rowCount: Int

        @usableFromInline
        package init(base: UnsafeMutableRawPointer, capacity: Int) {
            self.base = base
            cursor = base + RowBuffer.headroom
            limit = base + RowBuffer.headroom + capacity
            rowCount = 0
        }
    }

    @usableFromInline package let storage: UnsafeMutablePointer<Storage>

    /// - Parameter capacity: bytes of rows that fit before the buffer has to grow.
    package init(capacity: Int = 16 * 1024) {
        let capacity = max(capacity, 64)
        storage = .allocate(capacity: 1)
        storage.initialize(to: Storage(base: Self.allocate(capacity), capacity: capacity))
    }

    deinit {
        storage.pointee.base.deallocate()
        storage.deallocate()
    }

    private static func allocate(_ capacity: Int) -> UnsafeMutableRawPointer {
        .allocate(byteCount: headroom + capacity, alignment: 16)
    }

    /// Bytes of rows written so far.
    @inlinable
    package var count: Int { storage.pointee.cursor - storage.pointee.base - RowBuffer.headroom }

    /// Rows written so far: the sum of what ``advance(_:rows:)`` was told.
    @inlinable
    package var rowCount: Int { storage.pointee.rowCount }

    @inlinable
    package var isEmpty: Bool { count == 0 }

    /// Bytes of rows that fit without growing.
    package var capacity: Int { storage.pointee.limit - storage.pointee.base - RowBuffer.headroom }

    /// Bytes of memory the buffer takes, filled or not.
    var footprint: Int { storage.pointee.limit - storage.pointee.base }

    /// Makes room for `byteCount` more bytes and returns where to write them. The pointer is good until the next call of
    /// `reserve`; what was written becomes part of the buffer by ``advance(_:rows:)``, and is forgotten without it, so an
    /// encoder may give up a half-written row at no cost.
    @inlinable @inline(__always)
    package func reserve(_ byteCount: Int) -> UnsafeMutableRawPointer {
        let cursor = storage.pointee.cursor
        if storage.pointee.limit - cursor >= byteCount { return cursor }
        return grow(byteCount)
    }

    /// Takes over `byteCount` bytes written at the pointer that ``reserve(_:)`` returned, no more than were reserved, being
    /// `rows` whole rows.
    @inlinable @inline(__always)
    package func advance(_ byteCount: Int, rows: Int = 1) {
        assert(byteCount >= 0 && storage.pointee.limit - storage.pointee.cursor >= byteCount)
        storage.pointee.cursor += byteCount
        storage.pointee.rowCount &+= rows
    }

    /// Copies `bytes` in: for tests and rare paths; the hot path writes through ``reserve(_:)``.
    package func append(_ bytes: UnsafeRawBufferPointer, rows: Int = 1) {
        let target = reserve(bytes.count)
        if let source = bytes.baseAddress { target.copyMemory(from: source, byteCount: bytes.count) }
        advance(bytes.count, rows: rows)
    }

    /// Takes over what is in `other`, the journal's header included, in place of what is here.
    func copy(_ other: RowBuffer) {
        removeAll()
        let target = reserve(other.count) - Self.headroom
        target.copyMemory(from: other.storage.pointee.base, byteCount: Self.headroom + other.count)
        advance(other.count, rows: other.rowCount)
    }

    /// Empties the buffer and keeps its memory.
    package func removeAll() {
        storage.pointee.cursor = storage.pointee.base + RowBuffer.headroom
        storage.pointee.rowCount = 0
    }

    /// The rows, for reading.
    package func withUnsafeBytes<R, E: Error>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
        try body(UnsafeRawBufferPointer(start: storage.pointee.base + RowBuffer.headroom, count: count))
    }

    /// Headroom and rows together: the journal's record.
    var record: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: storage.pointee.base, count: RowBuffer.headroom + count)
    }

    /// Doubles until `byteCount` more bytes fit. Outlined, so that the inlined path stays small.
    @usableFromInline
    @inline(never)
    package func grow(_ byteCount: Int) -> UnsafeMutableRawPointer {
        precondition(byteCount >= 0, "a RowBuffer cannot reserve a negative number of bytes")
        let used = count
        let rows = rowCount
        let capacity = max(capacity * 2, used + byteCount)
        let base = Self.allocate(capacity)
        base.copyMemory(from: storage.pointee.base, byteCount: RowBuffer.headroom + used)
        storage.pointee.base.deallocate()
        storage.pointee = Storage(base: base, capacity: capacity)
        storage.pointee.cursor += used
        storage.pointee.rowCount = rows
        return storage.pointee.cursor
    }
}
