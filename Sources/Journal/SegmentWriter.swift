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

        /// Position after the last record.
        var end: Int64 { base + Int64(length - SegmentHeader.size) }
    }

    private let configuration: JournalConfiguration
    private let thread: JournalThread
    private let identity: JournalIdentity
    private let folder: String
    private let seed: UInt32
    /// Records that are not durable, oldest first; the first `written` of them are in files.
    private(set) var queue: [PendingRecord] = []
    private(set) var written = 0
    private(set) var active: Active?
    private var sealedFiles: [DirtyFile] = []
    private(set) var dirtyFolders: [String] = []
    var nextIndex: UInt64

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
        let result: Result<Int, Errno> = withUnsafeTemporaryAllocation(of: iovec.self, capacity: count) { pieces in
            for index in 0..<count {
                let record = queue[written + index]
                RecordFormat.seal(record.buffer.record, seed: seed, position: record.position)
                pieces.initializeElement(
                    at: index,
                    to: iovec(iov_base: record.buffer.record.baseAddress, iov_len: record.length)
                )
                total += record.length
            }
            do throws(Errno) {
                return .success(
                    try configuration.fileSystem.write(file, UnsafeBufferPointer(pieces), at: Int64(active.length))
                )
            } catch {
                return .failure(error)
            }
        }
        var records = 0
        var bytes = 0
        if case .success(let done) = result {
            while records < count, bytes + queue[written + records].length <= done {
                bytes += queue[written + records].length
                records += 1
            }
        }
        active.length += bytes
        active.isDirty = active.isDirty || bytes > 0
        self.active = active
        written += records
        if bytes < total { removeTornEnd(file) }
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

    /// How many of the next records go into one pwritev(2): at most IOV_MAX, gapless, and no further than the segment.
    private func piecesThatFit(after active: Active, limit: Int) -> Int {
        var count = 0
        var length = active.length
        var position = active.end
        while written + count < queue.count, count < 1024 {
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
            let file = try configuration.fileSystem.create(path)
            var bytes = header.encoded()
            let count: Result<Int, Errno> = bytes.withUnsafeMutableBytes { bytes in
                let piece = iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
                do throws(Errno) {
                    return .success(
                        try withUnsafePointer(to: piece) { piece throws(Errno) -> Int in
                            try configuration.fileSystem.write(
                                file,
                                UnsafeBufferPointer(start: piece, count: 1),
                                at: 0
                            )
                        }
                    )
                } catch {
                    return .failure(error)
                }
            }
            if case .success(SegmentHeader.size) = count {
                sealActive()
                thread.openFiles += 1
                active = Active(
                    file: file,
                    path: path,
                    index: header.index,
                    base: base,
                    length: SegmentHeader.size,
                    isDirty: true
                )
                addDirty(file: nil, folders: [folder])
                thread.statistics.withLock { $0.segmentsCreated += 1 }
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
            }
            closeQuietly(file)
            try? configuration.fileSystem.unlink(path)
            if case .failure(let errno) = count { throw errno }
            throw .noSpace
        } catch {
            return .failed(.system("create the segment", path, error))
        }
    }

    /// The active segment gets no more records; its descriptor lives until it is synced.
    func sealActive() {
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
                if length < Int64(active.length) { try? configuration.fileSystem.truncate(file, to: length) }
                closeQuietly(file)
                thread.openFiles -= 1
            }
            self.active = nil
        }
        addDirty(file: nil, folders: [folder])
        written = 0
    }
}
