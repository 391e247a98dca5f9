import Synchronization
import SystemPackage

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Reads a tenant's durable records back: what the database writer streams, and what recovery replays.
///
/// What is not stored yet is usually still in memory (``RecentRecords``), the rest is read from the segments. That blocks on
/// the disk, so it is for threads of one's own, never for the cooperative pool. Runs while the journal appends, rotates and
/// removes. Holds no file and no memory between calls: the 1 MiB buffer for the segments comes from a small pool of the
/// directory, so that a thousand tenants do not hold a thousand of them.
package struct JournalReader: Sendable {
    let journal: TenantJournal
    /// Whether what was read counts as in use by a transaction until it is forgotten or released.
    let pins: Bool

    /// Visits the records from `position` on, oldest first.
    ///
    /// With ``JournalFullPolicy/dropOldest`` what was delivered stays in the journal until it is forgotten or until
    /// ``release()``: so that a record is never both stored and reported as abandoned. Several may read at the same time.
    ///
    /// - Parameters:
    ///   - position: where a record begins or ended: 0, the database's checkpoint, or what `read` returned. Positions at
    ///     which nothing is any more (given up, damaged, skipped) are passed over.
    ///   - upTo: no record that ends behind it is delivered; nor is one that is not durable.
    ///   - maximumBytes: stops before a record with which the payloads would exceed it, but delivers one in any case.
    ///   - body: gets the record's header and payload; the bytes are good until it returns. What it throws ends the reading
    ///     and is passed on.
    /// - Returns: where to read on: the end of the last record delivered, or, when there was nothing more, `upTo` or the
    ///   durable position, whichever is first.
    /// - Throws: ``JournalError/Code/corruptRecord`` or ``JournalError/Code/missingSegment`` with the position after the
    ///   damage as ``JournalError/resumePosition``; ``JournalError/Code/inputOutput``, with that position only if the medium
    ///   is the cause, because otherwise the records are still there and want another attempt; or what `body` throws.
    package func read(
        from position: JournalPosition,
        upTo: JournalPosition = .highest,
        maximumBytes: Int = Int.max,
        _ body: (RecordHeader, UnsafeRawBufferPointer) throws -> Void
    ) throws -> JournalPosition {
        var reading = Reading(position: position.rawValue, upTo: upTo.rawValue, maximumBytes: maximumBytes)
        defer { pin(reading.position) }
        var missing: UInt64?
        while !reading.isFinished {
            let segment: SegmentEntry
            let bound: Int64
            switch locate(&reading) {
            case .nothing: return JournalPosition(rawValue: reading.position)
            case .memory(let records):
                try visit(records, &reading, body)
                continue
            case .file(let found, let end): (segment, bound) = (found, end)
            }
            let path = journal.folder + "/" + segment.name
            let file: FileDescriptor
            do throws(Errno) {
                file = try openFile(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
            } catch {
                // Removed between looking it up and opening it: then it is not in the ledger any more either.
                guard error == .noSuchFileOrDirectory, missing != segment.index else {
                    throw lost(segment, path, error)
                }
                missing = segment.index
                continue
            }
            defer { closeQuietly(file) }
            let buffer = journal.directory.takeReadBuffer()
            defer { journal.directory.putReadBuffer(buffer) }
            let scanner = SegmentScanner(file: file, seed: journal.seed, base: segment.base, buffer: buffer)
            try visit(scanner, segment, bound: bound, &reading, path, body)
        }
        return JournalPosition(rawValue: reading.position)
    }

    /// The transactions that what was read belonged to have failed or are over: the journal may give it up again if it has to.
    package func release() {
        journal.state.withLock { $0.ledger.unpin() }
    }

    private struct Reading {
        var position: Int64
        let upTo: Int64
        let maximumBytes: Int
        var delivered = 0
        var isFinished = false

        /// Gives `body` the next record, unless the reading ends before it.
        /// - Returns: whether it did.
        mutating func deliver(
            _ record: RecordHeader,
            _ payload: UnsafeRawBufferPointer,
            _ body: (RecordHeader, UnsafeRawBufferPointer) throws -> Void
        ) throws -> Bool {
            let isTooMuch = delivered > 0 && payload.count > maximumBytes - delivered
            if record.endPosition.rawValue > upTo || isTooMuch {
                isFinished = true
                return false
            }
            try body(record, payload)
            delivered += max(payload.count, 1)
            position = record.endPosition.rawValue
            return true
        }
    }

    private enum Place {
        case nothing
        /// The next records, in order.
        case memory([PendingRecord])
        /// The segment to read next, and up to where.
        case file(SegmentEntry, Int64)
    }

    /// Records taken from memory at once: they are held meanwhile.
    private static let maximumRun = 16

    /// Where the next records are.
    private func locate(_ reading: inout Reading) -> Place {
        let position = reading.position
        let (place, start) = journal.state.withLock { state -> (Place, Int64) in
            let durable = state.ledger.durable
            let bound = min(reading.upTo, durable)
            guard position < bound, let segment = state.ledger.segment(holding: position), segment.base < bound else {
                // Nothing there, or a hole up to the end.
                return (.nothing, max(position, bound))
            }
            if pins { state.ledger.pin(min(segment.end, durable)) }
            let start = max(position, segment.base)
            let records = state.recent.run(from: start, maximumCount: Self.maximumRun)
            if let last = records.last {
                if pins { state.ledger.pin(last.end) }
                return (.memory(records), start)
            }
            return (.file(segment, min(segment.end, durable, state.recent.start(from: start) ?? .max)), start)
        }
        reading.position = start
        return place
    }

    private func visit(
        _ records: [PendingRecord],
        _ reading: inout Reading,
        _ body: (RecordHeader, UnsafeRawBufferPointer) throws -> Void
    ) throws {
        for pending in records {
            try withExtendedLifetime(pending.buffer) {
                let record = UnsafeRawBufferPointer(pending.buffer.record)
                let header = RecordFormat.decodeHeader(record, position: pending.position)
                let payload = UnsafeRawBufferPointer(rebasing: record[RecordFormat.headerSize...])
                _ = try reading.deliver(header, payload, body)
            }
            if reading.isFinished { return }
        }
    }

    private func visit(
        _ scanner: SegmentScanner,
        _ segment: SegmentEntry,
        bound: Int64,
        _ reading: inout Reading,
        _ path: String,
        _ body: (RecordHeader, UnsafeRawBufferPointer) throws -> Void
    ) throws {
        let header = Int64(SegmentHeader.size)
        var state = reading
        defer { reading = state }
        let (offset, ending) = try scanner.scan(
            from: header + state.position - segment.base,
            limit: header + bound - segment.base
        ) { record, payload throws -> Bool in
            try state.deliver(record, payload, body)
        }
        switch ending {
        case .end, .endMark:
            return
        case .corrupt(let reason):
            // Removed meanwhile, and its file written over? Then it is looked up again, and not found.
            let isThere = journal.state.withLock { state in
                state.ledger.markDamaged(segment.index)
                return state.ledger.segments.contains { $0.index == segment.index }
            }
            guard isThere else { return }
            throw JournalError(
                .corruptRecord,
                "\(reason) at offset \(offset); the file is kept as it is, and its records from position"
                    + " \(scanner.position(at: offset)) to \(segment.end) are lost",
                path: path,
                resumePosition: JournalPosition(rawValue: segment.end)
            )
        case .unreadable(let errno):
            throw lost(segment, path, errno)
        }
    }

    private func lost(_ segment: SegmentEntry, _ path: String, _ errno: Errno) -> JournalError {
        if errno == .noSuchFileOrDirectory {
            return JournalError(
                .missingSegment,
                "the segment was removed by somebody else; its records up to position \(segment.end) are lost",
                path: path,
                cause: errno,
                resumePosition: JournalPosition(rawValue: segment.end)
            )
        }
        var error = JournalError.system("read the segment", path, errno)
        if errno == .ioError {
            // The medium, not want of descriptors or memory: what cannot be read now will hardly be readable later.
            error.resumePosition = JournalPosition(rawValue: segment.end)
            journal.state.withLock { $0.ledger.markDamaged(segment.index) }
        }
        return error
    }

    private func pin(_ position: Int64) {
        if pins { journal.state.withLock { $0.ledger.pin(position) } }
    }
}

extension TenantJournal {
    /// A reader for the thread that writes to the database.
    package func makeReader() -> JournalReader {
        JournalReader(journal: self, pins: true)
    }

    /// Visits all durable records from `position` on, so that the state which hangs on them can be rebuilt. Damage is passed
    /// over; it is reported by ``JournalDirectory/openJournal(tenant:events:visit:)`` already, or returned here. Blocks.
    @discardableResult
    package func recover(
        from position: JournalPosition = .start,
        _ visit: (RecordHeader, UnsafeRawBufferPointer) -> Void
    ) -> [JournalError] {
        let reader = JournalReader(journal: self, pins: false)
        let end = durablePosition
        var position = position
        var damage: [JournalError] = []
        while position < end {
            do {
                position = try reader.read(from: position, upTo: end) { header, payload in
                    visit(header, payload)
                    position = header.endPosition
                }
            } catch let error as JournalError {
                damage.append(error)
                guard let resume = error.resumePosition, resume > position else { break }
                position = resume
            } catch {
                break
            }
        }
        return damage
    }
}
