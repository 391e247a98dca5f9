import DequeModule

/// Durable records that are still in memory, until the database has them: a flush reads them from here instead of from their
/// file, without system calls, copies and a second look at the checksum.
///
/// Only a shorter way: what is not here is in the files all the same, and records may be missing anywhere in between. A value
/// without locks; positions are those of the journal.
struct RecentRecords {
    /// By position, not overlapping.
    private(set) var records: Deque<PendingRecord> = []
    /// Memory the records take, ``RowBuffer/footprint``.
    private(set) var bytes = 0

    /// Whether most of a large buffer is empty: then `record` is not worth its memory.
    static func isWasteful(_ record: PendingRecord) -> Bool {
        record.buffer.footprint > 2 * record.length + 4096
    }

    /// Takes over a record that became durable after those before.
    mutating func append(_ record: PendingRecord) {
        records.append(record)
        bytes += record.buffer.footprint
    }

    /// Takes out the records that end at or before `position`.
    mutating func remove(upTo position: Int64) -> [PendingRecord] {
        var removed: [PendingRecord] = []
        while let first = records.first, first.end <= position {
            bytes -= first.buffer.footprint
            removed.append(records.removeFirst())
        }
        return removed
    }

    /// The records that follow each other without a gap from `position` on, `maximumCount` at most.
    func run(from position: Int64, maximumCount: Int) -> [PendingRecord] {
        let first = index(from: position)
        var next = position
        return Array(
            records[first...].prefix(maximumCount).prefix { record in
                defer { next = record.end }
                return record.position == next
            }
        )
    }

    /// Where the first record at or behind `position` begins; nil when there is none.
    func start(from position: Int64) -> Int64? {
        let index = index(from: position)
        return index < records.endIndex ? records[index].position : nil
    }

    /// The first record at or behind `position`.
    private func index(from position: Int64) -> Int {
        var low = records.startIndex
        var high = records.endIndex
        while low < high {
            let middle = (low + high) / 2
            if records[middle].position < position { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
