import FoundationEssentials
import Synchronization
import SystemPackage

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// A record that is not durable yet.
struct PendingRecord {
    var position: Int64
    var buffer: RowBuffer
    var length: Int

    var end: Int64 { position + Int64(length) }
}

/// Writes one tenant's segments. Belongs to the journal thread alone once the tenant is open, which is why it may be
/// `@unchecked Sendable`.
final class SegmentWriter: @unchecked Sendable {
    struct Active {
        /// nil between cycles when descriptors are scarce.
        var file: FileDescriptor?
        var path: String
        var index: UInt64
        var base: Int64
        /// Bytes of the header and of whole records.
        var length: Int
        var isDirty: Bool
        /// The file was used before: bytes of that use may follow ``length``, so the end is marked.
        var isReused = false

        /// Position after the last record.
        var end: Int64 { base + Int64(length - SegmentHeader.size) }
    }

    let configuration: JournalConfiguration
    let thread: JournalThread
    private let identity: JournalIdentity
    let folder: String
    let seed: UInt32
    /// Records that are not durable, oldest first; the first `written` of them are in files.
    private(set) var queue: [PendingRecord] = []
    private(set) var written = 0
    var active: Active?
    private var sealedFiles: [DirtyFile] = []
    private(set) var dirtyFolders: [String] = []
    var nextIndex: UInt64
    /// Files of segments that are not needed any more, to be written over.
    var spares: [Spare] = []
    var nextSpare = 1
    /// Room for one record that marks an end.
    let endMark = UnsafeMutableRawBufferPointer.allocate(byteCount: RecordFormat.headerSize, alignment: 16)

    init(
        configuration: JournalConfiguration,
        thread: JournalThread,
        identity: JournalIdentity,
        folder: String,
        nextIndex: UInt64
    ) {
        self.configuration = configuration
        self.thread = thread
        self.identity = identity
        self.folder = folder
        self.nextIndex = nextIndex
        seed = RecordFormat.seed(journal: identity.journalID)
    }

    deinit {
        endMark.deallocate()
    }

    /// What has to be synced before the records written are durable.
    var dirtyFiles: [DirtyFile] {
        guard let active, active.isDirty, let file = active.file else { return sealedFiles }
        return sealedFiles + [DirtyFile(file: file, closesAfterSync: false)]
    }

    var isDirty: Bool { !sealedFiles.isEmpty || !dirtyFolders.isEmpty || (active?.isDirty ?? false) }
    var syncCount: Int { sealedFiles.count + dirtyFolders.count + ((active?.isDirty ?? false) ? 1 : 0) }

    func enqueue(_ records: [PendingRecord]) {
        queue.append(contentsOf: records)
    }

    /// A file that was made while opening, to be synced with the others.
    func addDirty(file: FileDescriptor?, folders: [String]) {
        if let file { sealedFiles.append(DirtyFile(file: file, closesAfterSync: true)) }
        for folder in folders where !dirtyFolders.contains(folder) { dirtyFolders.append(folder) }
    }

    // MARK: Writing

    /// What ``writeNext(previousEnd:)`` did.
    enum Progress {
        case nothingLeft
        case opened(SegmentEntry)
        case wrote(records: Int, bytes: Int)
        case failed(JournalError)
    }

    /// Takes one step: makes a segment, or writes what fits into one call.
    /// - Parameter previousEnd: where the records of the last segment end.
    func writeNext(previousEnd: Int64?) -> Progress {
        guard written < queue.count else { return .nothingLeft }
        let next = queue[written]
        let limit = configuration.effectiveSegmentBytes
        guard var active, active.end == next.position,
            active.length == SegmentHeader.size || active.length + next.length <= limit
        else {
            return openSegment(base: next.position, previousEnd: previousEnd)
        }
        do throws(Errno) {
            if active.file == nil {
                active.file = try openFile(active.path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW)
                thread.openFiles += 1
                self.active = active
            }
        } catch {
            // Somebody removed the file or took the rights away: what was durable in it is no worse for going on in another.
            self.active = nil
            return .failed(.system("open the segment", active.path, error))
        }
        guard let file = active.file else { return .nothingLeft }
        return write(to: file, from: active, limit: limit)
    }

    private func write(to file: FileDescriptor, from active: Active, limit: Int) -> Progress {
        var active = active
        var total = 0
        let count = piecesThatFit(after: active, limit: limit)
        let result: Result<Int, Errno> = withUnsafeTemporaryAllocation(of: iovec.self, capacity: count + 1) { pieces in
            for index in 0..<count {
                let record = queue[written + index]
                RecordFormat.seal(record.buffer.record, seed: seed, position: record.position)
                pieces.initializeElement(
                    at: index,
                    to: iovec(iov_base: record.buffer.record.baseAddress, iov_len: record.length)
                )
                total += record.length
            }
            var used = count
            if active.isReused {
                RecordFormat.encodeEnd(into: endMark, seed: seed, position: active.end + Int64(total))
                pieces.initializeElement(
                    at: count,
                    to: iovec(iov_base: endMark.baseAddress, iov_len: RecordFormat.headerSize)
                )
                used += 1
            }
            do throws(Errno) {
                return .success(
                    try configuration.fileSystem.write(
                        file,
                        UnsafeBufferPointer(rebasing: pieces[..<used]),
                        at: Int64(active.length)
                    )
                )
            } catch {
                return .failure(error)
            }
        }
        var records = 0
        var bytes = 0
        var isTorn = true
        if case .success(let done) = result {
            while records < count, bytes + queue[written + records].length <= done {
                bytes += queue[written + records].length
                records += 1
            }
            isTorn = done < total + (active.isReused ? RecordFormat.headerSize : 0)
        }
        active.length += bytes
        active.isDirty = active.isDirty || bytes > 0
        self.active = active
        written += records
        if isTorn { removeTornEnd(file) }
        switch result {
        case .failure(let errno):
            return .failed(.system("write to the segment", active.path, errno))
        case .success where records == 0:
            // A write cut short of a single record: regular files do that when the disk fills up.
            return .failed(.system("write to the segment", active.path, .noSpace))
        case .success:
            return .wrote(records: records, bytes: bytes)
        }
    }

    /// How many of the next records go into one pwritev(2): at most IOV_MAX less the mark of the end, gapless, and no further than the segment.
    private func piecesThatFit(after active: Active, limit: Int) -> Int {
        var count = 0
        var length = active.length
        var position = active.end
        while written + count < queue.count, count < 1023 {
            let record = queue[written + count]
            guard record.position == position, length == SegmentHeader.size || length + record.length <= limit else {
                break
            }
            length += record.length
            position = record.end
            count += 1
        }
        return count
    }

    /// Part of a record may have got into the file: the next attempt writes over it, but should the process end before, no
    /// torn end must be found.
    private func removeTornEnd(_ file: FileDescriptor) {
        guard let active else { return }
        do throws(Errno) {
            try configuration.fileSystem.truncate(file, to: Int64(active.length))
        } catch {
            configuration.observer.onError(.system("cut the torn end off the segment", active.path, error))
        }
    }

    // MARK: Segments

    /// Seals the active segment and makes the next.
    func openSegment(base: Int64, previousEnd: Int64?) -> Progress {
        let header = SegmentHeader(
            journalID: identity.journalID,
            tenantID: identity.tenantID,
            index: nextIndex,
            base: base,
            previousEnd: previousEnd ?? base,
            createdAtMicroseconds: wallClockMicroseconds()
        )
        let path = folder + "/" + SegmentName(index: nextIndex, base: base).fileName
        // Never the same name twice, even when this attempt fails half-way.
        nextIndex += 1
        do throws(Errno) {
            let (file, isReused) = try makeFile(header, path)
            sealActive()
            thread.openFiles += 1
            active = Active(
                file: file,
                path: path,
                index: header.index,
                base: base,
                length: SegmentHeader.size,
                isDirty: true,
                isReused: isReused
            )
            addDirty(file: nil, folders: [folder])
            thread.statistics.withLock {
                $0.segmentsCreated += 1
                if isReused { $0.segmentsReused += 1 }
            }
            return .opened(
                SegmentEntry(
                    index: header.index,
                    base: base,
                    end: base,
                    fileBytes: SegmentHeader.size,
                    isSealed: false,
                    isDurable: false
                )
            )
        } catch {
            return .failed(.system("create the segment", path, error))
        }
    }

    /// The active segment gets no more records; its descriptor lives until it is synced.
    func sealActive() {
        trimActive()
        guard let active else { return }
        self.active = nil
        guard let file = active.file else { return }
        thread.openFiles -= 1
        if active.isDirty {
            sealedFiles.append(DirtyFile(file: file, closesAfterSync: true))
        } else {
            closeQuietly(file)
        }
    }

    func closeActiveIfClean() {
        guard let file = active?.file, active?.isDirty == false else { return }
        closeQuietly(file)
        thread.openFiles -= 1
        active?.file = nil
    }

    // MARK: Syncing

    /// Everything written is durable.
    /// - Returns: the records that are, in order.
    func takeDurable() -> [PendingRecord] {
        for dirty in sealedFiles { closeQuietly(dirty.file) }
        sealedFiles.removeAll(keepingCapacity: true)
        if dirtyFolders.contains(folder) { settleSpares() }
        dirtyFolders.removeAll(keepingCapacity: true)
        active?.isDirty = false
        let durable = Array(queue[..<written])
        if written == queue.count {
            queue.removeAll(keepingCapacity: queue.count <= 1024)
        } else {
            queue.removeFirst(written)
        }
        written = 0
        return durable
    }

    /// A sync failed. The kernel may have thrown away pages it could not write and will not say so a second time, so what the
    /// files hold beyond the durable position is worth nothing: all of it will be written again, into a new segment.
    /// - Parameter durable: the position up to which earlier syncs succeeded.
    func discardUnsynced(durable: Int64) {
        for dirty in sealedFiles { closeQuietly(dirty.file) }
        sealedFiles.removeAll()
        if let active {
            if let file = active.file {
                // A courtesy to the next recovery; the new segment's base says the same.
                let length = max(Int64(SegmentHeader.size), durable - active.base + Int64(SegmentHeader.size))
                if length < Int64(active.length) || active.isReused {
                    try? configuration.fileSystem.truncate(file, to: length)
                }
                closeQuietly(file)
                thread.openFiles -= 1
            }
            self.active = nil
        }
        addDirty(file: nil, folders: [folder])
        written = 0
    }
}
