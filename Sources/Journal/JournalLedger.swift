/// One segment file as the ledger knows it.
struct SegmentEntry: Equatable {
    var index: UInt64
    /// Position of the first record, and one past the last whole record.
    var base: Int64
    var end: Int64
    /// The file's size.
    var fileBytes: Int
    /// No record will be added.
    var isSealed: Bool
    /// The file, as such, is found again after power loss.
    var isDurable: Bool
    /// Something in it is not what was written: it is kept for people to look at instead of being removed.
    var isDamaged = false
    /// ``JournalFullPolicy/dropOldest`` took it: only its file is still to be removed.
    var isGivenUp = false

    var name: String { SegmentName(index: index, base: base).fileName }
}

/// What a tenant's journal knows about its positions, segments and rows: a value without files, threads or clocks.
struct JournalLedger {
    /// In the order of their bases, not overlapping.
    private(set) var segments: [SegmentEntry] = []
    /// One past the last record appended, synced, and stored in the database.
    private(set) var end: Int64 = 0
    private(set) var durable: Int64 = 0
    private(set) var forgotten: Int64 = 0
    /// nil until the caller first says what it still needs.
    private(set) var retained: Int64?
    /// What lies between `forgotten` and here was handed to a reader whose transaction may be under way.
    private(set) var pinnedEnd: Int64 = 0
    private(set) var rows = RowIndex()
    /// Bytes appended and not durable, and bytes appended and not yet in a file.
    private(set) var pendingBytes = 0
    private(set) var unwrittenBytes = 0
    private(set) var bytesOnDisk = 0

    /// Records that end here or before are needed by nobody.
    var removable: Int64 { min(forgotten, retained ?? Int64.max) }
    var backlogRows: Int64 { rows.total - rows.rows(below: forgotten) }
    /// Of the backlog, what may be stored already.
    var durableBacklogRows: Int64 { rows.rows(below: durable) - rows.rows(below: forgotten) }
    var oldestUnforgottenReceivedAt: Int64? { forgotten < end ? rows.receivedAt(from: forgotten) : nil }
    /// Where the oldest record that is still there begins: in the files, or else among those appended and in none yet.
    var oldest: Int64 { segments.first { $0.end > $0.base && !$0.isGivenUp }?.base ?? min(durable, end) }

    // MARK: Appending

    /// Takes a record of `length` bytes over and returns its position.
    mutating func append(length: Int, rows count: UInt32, receivedAt: Int64) -> Int64 {
        let position = end
        end += Int64(length)
        pendingBytes += length
        unwrittenBytes += length
        rows.append(position: position, end: end, rows: Int64(count), receivedAt: receivedAt)
        return position
    }

    /// The next record begins at or after `position`.
    mutating func advance(to position: Int64) {
        guard position > end else { return }
        end = position
        if pendingBytes == 0 {
            durable = position
        }
    }

    // MARK: Segments

    /// A new segment begins, and the one before gets no more records.
    mutating func open(_ segment: SegmentEntry) {
        if let last = segments.indices.last { segments[last].isSealed = true }
        segments.append(segment)
        bytesOnDisk += segment.fileBytes
    }

    mutating func sealLast() {
        if let last = segments.indices.last { segments[last].isSealed = true }
    }

    /// `bytes` of whole records were written to the last segment.
    mutating func wrote(_ bytes: Int) {
        guard let last = segments.indices.last else { return }
        segments[last].end += Int64(bytes)
        segments[last].fileBytes += bytes
        bytesOnDisk += bytes
        unwrittenBytes -= bytes
    }

    /// Everything up to `position` is on the disk, and so are all segment files.
    mutating func synced(upTo position: Int64?, bytes: Int) {
        pendingBytes -= bytes
        if let position { durable = max(durable, position) }
        if pendingBytes == 0 { durable = end }
        for index in segments.indices.reversed() {
            if segments[index].isDurable { break }
            segments[index].isDurable = true
        }
    }

    /// A sync failed: what is in the files beyond the durable position cannot be relied on and will be written again.
    /// - Returns: the segments that hold nothing durable and whose files may go.
    mutating func loseUnsynced() -> [SegmentEntry] {
        var useless: [SegmentEntry] = []
        for index in segments.indices where segments[index].end > durable || !segments[index].isDurable {
            segments[index].isSealed = true
            if segments[index].base >= durable && !segments[index].isDurable {
                useless.append(segments[index])
            }
            let end = max(segments[index].base, min(segments[index].end, durable))
            segments[index].end = end
        }
        segments.removeAll { segment in useless.contains { $0.index == segment.index } }
        bytesOnDisk = segments.reduce(0) { $0 + $1.fileBytes }
        unwrittenBytes = pendingBytes
        return useless
    }

    /// The size of a segment's file changed otherwise than by a record.
    mutating func setFileBytes(_ bytes: Int, of index: UInt64) {
        guard let place = segments.firstIndex(where: { $0.index == index }) else { return }
        bytesOnDisk += bytes - segments[place].fileBytes
        segments[place].fileBytes = bytes
    }

    mutating func markDamaged(_ index: UInt64) {
        guard let place = segments.firstIndex(where: { $0.index == index }) else { return }
        segments[place].isDamaged = true
    }

    mutating func remove(_ index: UInt64) {
        guard let place = segments.firstIndex(where: { $0.index == index }) else { return }
        bytesOnDisk -= segments[place].fileBytes
        segments.remove(at: place)
    }

    // MARK: Forgetting

    mutating func forget(upTo position: Int64) {
        let position = min(position, durable)
        guard position > forgotten else { return }
        forgotten = position
        rows.forget(below: position)
    }

    /// The database knows less than it did: what it lacks and is still here counts as not stored again. The rows are not
    /// counted anew, so the backlog's count goes without them.
    mutating func rewind(to position: Int64) {
        forgotten = min(forgotten, max(position, oldest))
    }

    mutating func retain(from position: Int64) {
        retained = max(retained ?? 0, position)
    }

    /// The segments whose files may go: needed by nobody, and followed by a durable one, so that after power loss the
    /// positions still go on from here.
    func removableSegments() -> ArraySlice<SegmentEntry> {
        guard let keeper = segments.lastIndex(where: \.isDurable) else { return [] }
        return segments[..<keeper].prefix { $0.isSealed && ($0.end <= removable || $0.isGivenUp) }
    }

    /// Takes ``removableSegments()`` out of use: nobody reads them from now on, only their files are still to be removed.
    mutating func takeRemovable() -> [SegmentEntry] {
        let taken = removableSegments()
        for index in taken.indices { segments[index].isGivenUp = true }
        return Array(taken)
    }

    /// Whether the last segment is worth replacing by an empty one because nobody needs what is in it.
    /// - Parameter minimum: bytes it must have.
    func lastSegmentIsSpent(minimum: Int) -> Bool {
        guard pendingBytes == 0, let last = segments.last else { return false }
        return last.end > last.base && last.end <= removable && last.fileBytes >= minimum
    }

    /// The segment to give up next, when room must be made: the oldest that no transaction under way is reading.
    func segmentToDrop() -> SegmentEntry? {
        guard let keeper = segments.lastIndex(where: \.isDurable) else { return nil }
        return segments[..<keeper].first { segment in
            segment.isSealed && (segment.isGivenUp || segment.end <= forgotten || segment.base >= pinnedEnd)
        }
    }

    /// Gives up the segment that ``segmentToDrop()`` names, and those of its rows that were not stored: nobody reads it
    /// from now on. It stays in the books until its file was removed.
    /// - Returns: the segment as it was before.
    mutating func giveUpOldest() -> SegmentEntry? {
        guard let segment = segmentToDrop(), let place = segments.firstIndex(where: { $0.index == segment.index })
        else { return nil }
        let start = max(segment.base, forgotten)
        if start < segment.end && !segment.isGivenUp {
            rows.remove(start..<segment.end, rows: rows.rows(below: segment.end) - rows.rows(below: start))
        }
        segments[place].isGivenUp = true
        return segment
    }

    // MARK: Reading

    /// What lies before `position` was handed to a reader; another one may have been handed more.
    mutating func pin(_ position: Int64) { pinnedEnd = max(pinnedEnd, position) }

    /// No transaction is under way.
    mutating func unpin() { pinnedEnd = 0 }

    /// The segment in which the next record at or after `position` is; nil when there is none.
    func segment(holding position: Int64) -> SegmentEntry? {
        // A segment that was superseded before anything in it was durable is empty, and out of order.
        segments.first { $0.end > position && $0.end > $0.base && !$0.isGivenUp }
    }

    /// See ``TenantJournal/flushBoundary(from:maximumRows:)``.
    func flushBoundary(from position: Int64, maximumRows: Int) -> (end: Int64, rows: Int64, oldestReceivedAt: Int64?) {
        // What is forgotten is stored, and not counted any more.
        let start = max(position, forgotten)
        guard start < min(durable, rows.end) else { return (start, 0, nil) }
        let (end, count) = rows.boundary(from: start, limit: durable, maximumRows: Int64(max(maximumRows, 0)))
        return (end, count, rows.receivedAt(from: start))
    }

    // MARK: Recovery

    /// Takes over a segment that was found at the start; in the order of their bases.
    mutating func recovered(_ segment: SegmentEntry) {
        segments.append(segment)
        bytesOnDisk += segment.fileBytes
    }

    mutating func recovered(_ header: RecordHeader) {
        rows.append(
            position: header.position.rawValue,
            end: header.endPosition.rawValue,
            rows: Int64(header.rowCount),
            receivedAt: header.receivedAtMicroseconds
        )
    }

    /// All were found: everything there is counts as durable, and positions go on at or after `end`.
    mutating func finishRecovery(end: Int64) {
        self.end = max(end, segments.last?.end ?? 0)
        durable = self.end
        forgotten = min(oldest, self.end)
    }
}
