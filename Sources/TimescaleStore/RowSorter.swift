internal import Glibc

/// Brings COPY rows into the order (well, tag, timestamp), run after run of bounded memory.
///
/// What TimescaleDB compresses straight from a COPY is best when it comes sorted: a tag's rows side by side fill its
/// segments, and the server's own sort finds nothing left to do. An index takes sorted rows faster where a run has many of
/// each well. Runs are cut by bytes, whatever the rows hold, so memory stays within the bytes of a run, one row, and some 30
/// bytes for each row of a run. Rows of a tag with one timestamp keep their order, or have the opposite one where the newest
/// come first.
///
/// Owned by one flush, used on its database thread.
package struct RowSorter {
    /// What the rows are sorted for.
    package enum Purpose: Sendable {
        /// The index on (well_id, timestamp).
        case index
        /// TimescaleDB's columnstore. A tag's newest row comes first, as in its `compress_orderby`: the server sorts rows
        /// that come the other way round all over again, a third of all it did with them.
        case columnstore

        /// Bytes of rows held at most before they go out: of usual rows about 100,000, or 300,000. For the index, larger runs
        /// gain little more.
        package var runBytes: Int { self == .index ? 8 << 20 : 24 << 20 }
    }

    /// Usual rows of a run for the index, about.
    package static let usualIndexRunRows = 100_000

    private struct Row {
        var start: Int
        var length: Int32
        var group: Int32
        var timestamp: Int64
    }

    private struct Tally {
        private(set) var count = 0
        private(set) var isSorted = true
        private var newest = Int64.min

        mutating func add(_ timestamp: Int64) {
            count += 1
            if timestamp < newest { isSorted = false }
            newest = timestamp
        }
    }

    /// Bytes of a row, about: what a run's index has room for at first.
    private static let usualLength = 80

    private let runBytes: Int
    private let isNewestFirst: Bool
    private var bytes: [UInt8] = []

    /// - Parameter runBytes: nil for what the purpose wants.
    package init(for purpose: Purpose, runBytes: Int? = nil) {
        self.runBytes = runBytes ?? purpose.runBytes
        isNewestFirst = purpose == .columnstore
    }

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
        let sent = try bytes.withUnsafeBytes { try send($0, sink) }
        bytes.removeFirst(sent)
    }

    private func send(
        _ all: UnsafeRawBufferPointer,
        _ sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws -> Int {
        var groups = Groups()
        var rows: [Row] = []
        rows.reserveCapacity(all.count / Self.usualLength)
        // Of each group: how many rows, the newest so far, and whether each was newer than the one before.
        var tallies: [Tally] = []
        var end = 0
        while true {
            let group: Int
            let length: Int
            let timestamp: Int64
            if let guess = groups.expected, let usual = groups.keys[guess].match(all, at: end) {
                group = guess
                (length, timestamp) = usual
                groups.take(guess)
            } else {
                let rest = UnsafeRawBufferPointer(rebasing: all[end...])
                guard let whole = try CopyRow.length(prefixOf: rest) else { break }
                length = whole
                let key: Key
                (key, timestamp) = try Self.look(at: UnsafeRawBufferPointer(rebasing: rest[..<whole]))
                group = groups.index(of: key)
                if group == tallies.count { tallies.append(Tally()) }
            }
            tallies[group].add(timestamp)
            rows.append(Row(start: end, length: Int32(length), group: Int32(group), timestamp: timestamp))
            end += length
        }
        // A tag's rows come in order of time, as a rule: spreading them over their tags is all the sorting there is.
        let keys = groups.keys
        var starts = [Int](repeating: 0, count: keys.count)
        var place = 0
        for group in keys.indices.sorted(by: { keys[$0] < keys[$1] }) {
            starts[group] = place
            place += tallies[group].count
        }
        var next = starts
        var step = 1
        if isNewestFirst {
            for group in keys.indices { next[group] += tallies[group].count - 1 }
            step = -1
        }
        var order = [Int32](repeating: 0, count: rows.count)
        for index in rows.indices {
            let group = Int(rows[index].group)
            order[next[group]] = Int32(index)
            next[group] += step
        }
        for group in keys.indices where !tallies[group].isSorted {
            let range = starts[group]..<starts[group] + tallies[group].count
            order[range].sort { (rows[Int($0)].timestamp, $0) < (rows[Int($1)].timestamp, $1) }
            if isNewestFirst { order[range].reverse() }
        }
        guard let base = all.baseAddress, !order.isEmpty else { return end }
        let longest = Int(rows.lazy.map(\.length).max() ?? 0)
        let size = max(Self.outputBytes, longest)
        let buffer = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
        defer { buffer.deallocate() }
        var filled = 0
        for index in order {
            let row = rows[Int(index)]
            let length = Int(row.length)
            if filled + length > size {
                try sink(UnsafeRawBufferPointer(start: buffer, count: filled))
                filled = 0
            }
            (buffer + filled).copyMemory(from: base + row.start, byteCount: length)
            filled += length
        }
        try sink(UnsafeRawBufferPointer(start: buffer, count: filled))
        return end
    }

    /// Bytes handed to the sink at once, but for a longer row.
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

    /// The tags of a run, numbered in the order in which they come.
    private struct Groups {
        private(set) var keys: [Key] = []
        private var hashes: [UInt64] = []
        /// Which came after each the last time. Tags report in turn, so that this is nearly always the next one, and to
        /// compare it is all there is to do.
        private var successors: [Int] = []
        private var last: Int?
        /// Numbers by hash, the next free place taken; a power of two, at most half of it in use.
        private var places = [Int32](repeating: -1, count: 256)

        /// The tag that came after the last one the last time.
        var expected: Int? {
            guard let last else { return nil }
            let guess = successors[last]
            return guess >= 0 ? guess : nil
        }

        /// It came.
        mutating func take(_ group: Int) { last = group }

        mutating func index(of key: Key) -> Int {
            let found = find(key)
            if let last { successors[last] = found }
            last = found
            return found
        }

        private mutating func find(_ key: Key) -> Int {
            let hash = key.hash
            var place = Int(truncatingIfNeeded: hash) & (places.count - 1)
            while places[place] >= 0 {
                let index = Int(places[place])
                if hashes[index] == hash, keys[index] == key { return index }
                place = (place + 1) & (places.count - 1)
            }
            places[place] = Int32(keys.count)
            keys.append(key)
            hashes.append(hash)
            successors.append(-1)
            if keys.count * 2 > places.count { grow() }
            return keys.count - 1
        }

        private mutating func grow() {
            places = [Int32](repeating: -1, count: places.count * 2)
            for (index, hash) in hashes.enumerated() {
                var place = Int(truncatingIfNeeded: hash) & (places.count - 1)
                while places[place] >= 0 { place = (place + 1) & (places.count - 1) }
                places[place] = Int32(index)
            }
        }
    }

    /// Well and tag, compared by bytes. Points into the run's bytes and is gone with the run.
    private struct Key: Comparable {
        var well: UnsafeRawBufferPointer
        var tag: UnsafeRawBufferPointer

        /// Looks at the row that begins at `start` for one of this well and tag.
        /// - Returns: its length in bytes and its timestamp; nil where it is of another, or not all there.
        @inline(__always)
        func match(_ all: UnsafeRawBufferPointer, at start: Int) -> (length: Int, timestamp: Int64)? {
            guard let base = all.baseAddress, let known = well.baseAddress else { return nil }
            // Column count, well with its length, tag with its length, the timestamp's length: 30 bytes at least.
            let prefix = 2 + 4 + 16 + 4 + tag.count + 4
            let available = all.count - start
            guard available >= prefix + 8 else { return nil }
            let row = base + start
            let first = known - 6
            var offset = 0
            while offset < prefix {
                // The last word lies over the one before.
                let at = min(offset, prefix - 8)
                guard
                    row.loadUnaligned(fromByteOffset: at, as: UInt64.self)
                        == first.loadUnaligned(fromByteOffset: at, as: UInt64.self)
                else { return nil }
                offset += 8
            }
            let timestamp = Int64(bigEndian: row.loadUnaligned(fromByteOffset: prefix, as: Int64.self))
            offset = prefix + 8
            for _ in 3..<CopyRow.columnCount {
                guard available - offset >= 4 else { return nil }
                let length = Int(Int32(bigEndian: row.loadUnaligned(fromByteOffset: offset, as: Int32.self)))
                offset += 4
                if length == -1 { continue }
                guard length >= 0, available - offset >= length else { return nil }
                offset += length
            }
            return (offset, timestamp)
        }

        static func == (left: Self, right: Self) -> Bool {
            compare(left.tag, right.tag) == 0 && compare(left.well, right.well) == 0
        }

        static func < (left: Self, right: Self) -> Bool {
            let wells = compare(left.well, right.well)
            return wells == 0 ? compare(left.tag, right.tag) < 0 : wells < 0
        }

        var hash: UInt64 { Self.mix(tag, Self.mix(well, UInt64(truncatingIfNeeded: tag.count))) }

        private static func mix(_ bytes: UnsafeRawBufferPointer, _ start: UInt64) -> UInt64 {
            var hash = start
            var offset = 0
            func take(_ word: UInt64) {
                hash = (hash ^ word) &* 0x9E37_79B9_7F4A_7C15
                hash ^= hash >> 29
            }
            while offset + 8 <= bytes.count {
                take(bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
                offset += 8
            }
            while offset < bytes.count {
                take(UInt64(bytes[offset]))
                offset += 1
            }
            return hash
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
