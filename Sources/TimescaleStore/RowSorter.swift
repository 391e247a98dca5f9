internal import Glibc

/// Brings COPY rows into the order (well, tag, timestamp), run after run of bounded memory.
///
/// What TimescaleDB compresses straight from a COPY is best when it comes sorted: a tag's rows side by side fill its
/// segments, and the server's own sort finds nothing left to do. Runs are cut by bytes, whatever the rows hold, so memory
/// stays within ``runBytes``, one row, and some 30 bytes for each row of a run. Rows of a tag with one timestamp keep their order.
///
/// Owned by one flush, used on its database thread.
package struct RowSorter {
    /// Bytes of rows held at most before they go out: about 300,000 usual rows.
    package static let runBytes = 24 << 20

    private struct Row {
        var start: Int
        var length: Int32
        var group: Int32
        var timestamp: Int64
    }

    private let runBytes: Int
    private var bytes: [UInt8] = []

    package init(runBytes: Int = Self.runBytes) { self.runBytes = runBytes }

    /// Takes bytes, which may end within a row; full runs go to `sink`, sorted.
    package mutating func add(_ more: UnsafeRawBufferPointer, _ sink: (UnsafeRawBufferPointer) throws -> Void) throws {
        if bytes.isEmpty { bytes.reserveCapacity(runBytes) }
        if !bytes.isEmpty, bytes.count + more.count > runBytes { try emit(sink) }
        bytes.append(contentsOf: more)
    }

    /// The last run.
    /// - Throws: `protocol` when the rows end within one.
    package mutating func finish(_ sink: (UnsafeRawBufferPointer) throws -> Void) throws {
        try emit(sink)
        guard bytes.isEmpty else { throw StoreError(.protocolViolation, "the batch ends within a row") }
    }

    /// Sends the whole rows and keeps the part of one that is left.
    private mutating func emit(_ sink: (UnsafeRawBufferPointer) throws -> Void) throws {
        let sent = try bytes.withUnsafeBytes { try Self.send($0, sink) }
        bytes.removeFirst(sent)
    }

    private static func send(
        _ all: UnsafeRawBufferPointer,
        _ sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws -> Int {
        var groups: [Key: Int32] = [:]
        var keys: [Key] = []
        var rows: [Row] = []
        var sizes: [Int] = []
        var end = 0
        while let length = try CopyRow.length(prefixOf: UnsafeRawBufferPointer(rebasing: all[end...])) {
            let row = UnsafeRawBufferPointer(rebasing: all[end..<end + length])
            let (key, timestamp) = try look(at: row)
            let group = groups[key] ?? Int32(keys.count)
            if Int(group) == keys.count {
                groups[key] = group
                keys.append(key)
                sizes.append(0)
            }
            sizes[Int(group)] += 1
            rows.append(Row(start: end, length: Int32(length), group: group, timestamp: timestamp))
            end += length
        }
        // A tag's rows come in order of time, as a rule: spreading them over their tags is all the sorting there is.
        var starts = [Int](repeating: 0, count: keys.count)
        var place = 0
        for group in keys.indices.sorted(by: { keys[$0] < keys[$1] }) {
            starts[group] = place
            place += sizes[group]
        }
        var next = starts
        var order = [Int32](repeating: 0, count: rows.count)
        for index in rows.indices {
            let group = Int(rows[index].group)
            order[next[group]] = Int32(index)
            next[group] += 1
        }
        for group in keys.indices {
            let range = starts[group]..<next[group]
            let isSorted = range.dropFirst().allSatisfy {
                rows[Int(order[$0 - 1])].timestamp <= rows[Int(order[$0])].timestamp
            }
            if isSorted { continue }
            order[range].sort { (rows[Int($0)].timestamp, $0) < (rows[Int($1)].timestamp, $1) }
        }
        var buffer: [UInt8] = []
        buffer.reserveCapacity(outputBytes)
        for index in order {
            let row = rows[Int(index)]
            buffer.append(contentsOf: all[row.start..<row.start + Int(row.length)])
            guard buffer.count >= outputBytes else { continue }
            try buffer.withUnsafeBytes { try sink($0) }
            buffer.removeAll(keepingCapacity: true)
        }
        if !buffer.isEmpty { try buffer.withUnsafeBytes { try sink($0) } }
        return end
    }

    /// Bytes handed to the sink at once.
    private static let outputBytes = 256 << 10

    /// Where the well id begins and the timestamp is, by the layout in ``CopyRow``.
    private static func look(at row: UnsafeRawBufferPointer) throws(StoreError) -> (Key, Int64) {
        let wellEnd = 2 + 4 + 16
        guard row.count >= wellEnd + 4,
            Int32(bigEndian: row.loadUnaligned(fromByteOffset: 2, as: Int32.self)) == 16
        else { throw StoreError(.protocolViolation, "a COPY row without a well id") }
        let tagLength = Int(Int32(bigEndian: row.loadUnaligned(fromByteOffset: wellEnd, as: Int32.self)))
        let tagEnd = wellEnd + 4 + max(0, tagLength)
        guard tagLength >= 0, row.count >= tagEnd + 12,
            Int32(bigEndian: row.loadUnaligned(fromByteOffset: tagEnd, as: Int32.self)) == 8
        else { throw StoreError(.protocolViolation, "a COPY row without a tag or a timestamp") }
        let timestamp = Int64(bigEndian: row.loadUnaligned(fromByteOffset: tagEnd + 4, as: Int64.self))
        let well = UnsafeRawBufferPointer(rebasing: row[6..<wellEnd])
        let tag = UnsafeRawBufferPointer(rebasing: row[(wellEnd + 4)..<tagEnd])
        return (Key(well: well, tag: tag), timestamp)
    }

    /// Well and tag, compared by bytes. Points into the run's bytes and is gone with the run.
    private struct Key: Hashable, Comparable {
        var well: UnsafeRawBufferPointer
        var tag: UnsafeRawBufferPointer

        static func == (left: Self, right: Self) -> Bool {
            compare(left.tag, right.tag) == 0 && compare(left.well, right.well) == 0
        }

        static func < (left: Self, right: Self) -> Bool {
            let wells = compare(left.well, right.well)
            return wells == 0 ? compare(left.tag, right.tag) < 0 : wells < 0
        }

        func hash(into hasher: inout Hasher) {
            hasher.combine(bytes: well)
            hasher.combine(bytes: tag)
        }

        private static func compare(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Int {
            guard let a = left.baseAddress, let b = right.baseAddress, left.count > 0, right.count > 0 else {
                return left.count - right.count
            }
            let order = Int(memcmp(a, b, min(left.count, right.count)))
            return order == 0 ? left.count - right.count : order
        }
    }
}
