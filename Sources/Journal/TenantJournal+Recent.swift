import Synchronization

/// Records kept in memory until they are stored: see ``RecentRecords``.
extension TenantJournal {
    /// Moves what lies in much too large a buffer, as the last part of a burst does, into a smaller one: records that nobody
    /// but the journal's thread has, and that may be kept.
    func compact(_ records: inout [PendingRecord]) {
        guard directory.configuration.maximumRecentBytes > 0 else { return }
        for index in records.indices where RecentRecords.isWasteful(records[index]) {
            let large = records[index].buffer
            let small = directory.buffers.take(capacity: large.count)
            small.copy(large)
            records[index].buffer = small
            directory.buffers.put(large)
        }
    }

    /// Takes out of `records`, which became durable just now, those for which there is memory. The others, and what is not
    /// worth keeping any more, are left for ``recycle(_:)``.
    func keepRecent(_ records: inout [PendingRecord], _ state: inout State) {
        let limit = directory.configuration.maximumRecentBytes
        // The database is away, or slower than what comes: the files are what that is for.
        let isBehind = state.ledger.durable - state.ledger.forgotten > 4 * Int64(limit)
        if isBehind || state.isClosing {
            records += dropRecent(upTo: .max, &state)
            return
        }
        records.removeAll { record in
            guard !RecentRecords.isWasteful(record), record.end > state.ledger.forgotten,
                directory.recent.reserve(record.buffer.footprint, for: recentAccount)
            else { return false }
            state.recent.append(record)
            return true
        }
    }

    /// Takes out what ends at or before `position`, for ``recycle(_:)``.
    func dropRecent(upTo position: Int64, _ state: inout State) -> [PendingRecord] {
        let before = state.recent.bytes
        let dropped = state.recent.remove(upTo: position)
        if !dropped.isEmpty { directory.recent.release(before - state.recent.bytes, for: recentAccount) }
        return dropped
    }

    /// Gives the buffers back to the pool, but for those that somebody still reads.
    func recycle(_ records: inout [PendingRecord]) {
        while var record = records.popLast() {
            if isKnownUniquelyReferenced(&record.buffer) { directory.buffers.put(record.buffer) }
        }
    }
}
