package import FoundationEssentials

/// A look at one finished COPY row in memory: where it ends and what its columns are. Every step is bounds-checked; bytes
/// that are no such row are an error, never a trap.
///
/// Layout: Int16 7, then per column Int32 length (-1 for NULL) and bytes, all big-endian; the columns are well_id,
/// tag_node_id, "timestamp", value, quality, status_code, value_text.
package struct CopyRow {
    package static let columnCount = 7

    /// The row's bytes.
    package let bytes: UnsafeRawBufferPointer
    private let columns: [Range<Int>?]

    /// The row that begins at the start of `buffer`, or nil when `buffer` ends before the row does.
    /// - Throws: `protocol` when the bytes cannot be the start of a row.
    package init?(prefixOf buffer: UnsafeRawBufferPointer) throws(StoreError) {
        var columns: [Range<Int>?] = []
        columns.reserveCapacity(Self.columnCount)
        guard let end = try Self.scan(buffer, { columns.append($0) }) else { return nil }
        bytes = UnsafeRawBufferPointer(rebasing: buffer[..<end])
        self.columns = columns
    }

    /// The length in bytes of the row at the start of `buffer`, or nil when it is not all there.
    package static func length(prefixOf buffer: UnsafeRawBufferPointer) throws(StoreError) -> Int? {
        try scan(buffer) { _ in }
    }

    private static func scan(
        _ buffer: UnsafeRawBufferPointer,
        _ column: (Range<Int>?) -> Void
    ) throws(StoreError) -> Int? {
        guard buffer.count >= 2 else { return nil }
        let count = Int16(bigEndian: buffer.loadUnaligned(as: Int16.self))
        guard Int(count) == columnCount else {
            throw StoreError(.protocolViolation, "a COPY row of \(count) columns; \(columnCount) are expected")
        }
        var offset = 2
        for _ in 0..<columnCount {
            guard buffer.count - offset >= 4 else { return nil }
            let length = Int32(bigEndian: buffer.loadUnaligned(fromByteOffset: offset, as: Int32.self))
            offset += 4
            if length == -1 {
                column(nil)
                continue
            }
            guard length >= 0 else { throw StoreError(.protocolViolation, "a COPY column of length \(length)") }
            guard buffer.count - offset >= Int(length) else { return nil }
            column(offset..<offset + Int(length))
            offset += Int(length)
        }
        return offset
    }

    /// The bytes of a column, nil for NULL.
    package func column(_ index: Int) -> UnsafeRawBufferPointer? {
        columns[index].map { UnsafeRawBufferPointer(rebasing: bytes[$0]) }
    }

    package var wellID: UUID? { column(0).flatMap { UUID(bytes: $0) } }

    /// The node id, repaired where it is not UTF-8 and with NULs replaced, so that it can be stored as text.
    package var tagNodeID: String {
        guard let bytes = column(1) else { return "" }
        let text = String(decoding: bytes, as: UTF8.self)
        return text.utf8.contains(0) ? String(text.map { $0 == "\0" ? "\u{FFFD}" : $0 }) : text
    }

    /// Microseconds since 2000-01-01, as in the row.
    package var timestampMicrosecondsSince2000: Int64? {
        guard let bytes = column(2), bytes.count == 8 else { return nil }
        return Int64(bigEndian: bytes.loadUnaligned(as: Int64.self))
    }
}
