import SystemPackage

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Segment files are written over instead of being removed and made anew, because that is several times cheaper: their
/// pages are in the page cache and their blocks on the disk already, so that a write is a copy and a sync has no allocation to
/// record.
///
/// What makes it safe:
/// - A record's checksum covers its position, which no other record of the journal ever had: what is left in the file from
///   its earlier use is never taken for a record of the segment.
/// - Behind the last record of such a file stands a record of kind ``RecordKind/end``, in the same write: recovery knows an
///   orderly end from a torn one.
/// - A file is written over only once a sync of the folder has made the loss of its old name durable: after power loss a
///   name never leads to the bytes of another segment.
/// - Sealed, the file is cut to its length.
extension SegmentWriter {
    /// A file that waits to be used again.
    struct Spare {
        var path: String
        var bytes: Int
        /// Its old name is gone for good.
        var isSettled = false
    }

    /// Of one tenant, and of all.
    private static let maximumSpares = 4
    private static let maximumSpareBytes = 64 << 20

    /// Keeps the file of a segment that nobody needs for a later segment.
    /// - Returns: whether it was kept; if not, it is where it was.
    func keep(_ path: String, bytes: Int) -> Bool {
        guard bytes >= configuration.forgottenSegmentBytes, spares.count < Self.maximumSpares,
            thread.spareBytes + bytes <= Self.maximumSpareBytes
        else { return false }
        let target = folder + "/\(nextSpare)" + SegmentName.spareSuffix
        nextSpare += 1
        do throws(Errno) {
            try configuration.fileSystem.rename(path, to: target)
        } catch {
            return false
        }
        spares.append(Spare(path: target, bytes: bytes))
        thread.spareBytes += bytes
        return true
    }

    /// The folder was synced since the last call of ``keep(_:bytes:)``.
    func settleSpares() {
        for index in spares.indices { spares[index].isSettled = true }
    }

    /// Removes the spare files, because their room is wanted.
    func removeSpares() {
        for spare in spares { try? configuration.fileSystem.unlink(spare.path) }
        thread.spareBytes -= spares.reduce(0) { $0 + $1.bytes }
        spares.removeAll()
    }

    /// Gives back what the active segment's file has beyond its records. Need not be synced: with or without, the end of
    /// the records is marked.
    func trimActive() {
        guard let active, active.isReused, let file = active.file else { return }
        do throws(Errno) {
            try configuration.fileSystem.truncate(file, to: Int64(active.length))
            self.active?.isReused = false
        } catch {
            configuration.observer.onError(.system("cut the segment to its length", active.path, error))
        }
    }

    /// Makes the file of a segment, by writing over a spare one where there is one.
    func makeFile(_ header: SegmentHeader, _ path: String) throws(Errno) -> (file: FileDescriptor, isReused: Bool) {
        if let index = spares.firstIndex(where: \.isSettled) {
            let spare = spares.remove(at: index)
            thread.spareBytes -= spare.bytes
            do throws(Errno) {
                return (try reuse(spare, header, path), true)
            } catch {
                // Whatever is wrong with that file: a new one need not have it.
                try? configuration.fileSystem.unlink(spare.path)
            }
        }
        let file = try configuration.fileSystem.create(path)
        do throws(Errno) {
            try write(header.encoded(), to: file)
            return (file, false)
        } catch {
            closeQuietly(file)
            try? configuration.fileSystem.unlink(path)
            throw error
        }
    }

    private func reuse(_ spare: Spare, _ header: SegmentHeader, _ path: String) throws(Errno) -> FileDescriptor {
        let file = try openFile(spare.path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW)
        do throws(Errno) {
            RecordFormat.encodeEnd(into: endMark, seed: seed, position: header.base)
            try write(header.encoded() + Array(endMark), to: file)
            try configuration.fileSystem.rename(spare.path, to: path)
            return file
        } catch {
            closeQuietly(file)
            throw error
        }
    }

    private func write(_ bytes: [UInt8], to file: FileDescriptor) throws(Errno) {
        var bytes = bytes
        let result: Result<Int, Errno> = bytes.withUnsafeMutableBytes { bytes in
            withUnsafePointer(to: iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)) { piece in
                do throws(Errno) {
                    return .success(
                        try configuration.fileSystem.write(file, UnsafeBufferPointer(start: piece, count: 1), at: 0)
                    )
                } catch {
                    return .failure(error)
                }
            }
        }
        guard try result.get() == bytes.count else { throw .noSpace }
    }
}
