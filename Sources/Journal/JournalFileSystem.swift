import CChecksum
package import SystemPackage

#if canImport(Glibc)
package import Glibc
#elseif canImport(Musl)
package import Musl
#endif

/// The system calls of the journal thread that can fail in interesting ways: the seam where tests inject a full disk, a
/// failing sync or a short write. All block; the journal thread alone calls them, and recovery before it begins.
package protocol JournalFileSystem: Sendable {
    /// Creates `path` anew, mode 0600, for writing.
    func create(_ path: String) throws(Errno) -> FileDescriptor
    /// pwritev(2): writes the pieces at `offset` and returns how many bytes were written, which may be fewer.
    func write(
        _ file: FileDescriptor,
        _ pieces: UnsafeBufferPointer<iovec>,
        at offset: Int64
    ) throws(Errno) -> Int
    func truncate(_ file: FileDescriptor, to length: Int64) throws(Errno)
    /// fdatasync(2).
    func sync(_ file: FileDescriptor) throws(Errno)
    /// fsync(2) of a folder, so that a file created in it is found after power loss.
    func syncFolder(_ folder: FileDescriptor) throws(Errno)
    /// syncfs(2) of the file system that holds `folder`.
    func syncFileSystem(_ folder: FileDescriptor) throws(Errno)
    /// Whether a write-out of `file` failed: asked after ``syncFileSystem(_:)`` where that does not report it.
    func checkWriteOut(_ file: FileDescriptor) throws(Errno)
    func unlink(_ path: String) throws(Errno)
    func rename(_ path: String, to newPath: String) throws(Errno)
    /// Folder: mode 0700.
    func createFolder(_ path: String) throws(Errno)
}

/// The real one.
package struct POSIXFileSystem: JournalFileSystem {
    /// Before Linux 5.8 syncfs(2) does not tell of failed writes.
    private let syncfsReportsErrors: Bool

    package init() {
        var name = utsname()
        var reports = false
        if uname(&name) == 0 {
            let release = withUnsafeBytes(of: name.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            let numbers = release.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
            if numbers.count == 2 { reports = (numbers[0], numbers[1]) >= (5, 8) }
        }
        syncfsReportsErrors = reports
    }

    package func create(_ path: String) throws(Errno) -> FileDescriptor {
        FileDescriptor(
            rawValue: try Self.check { system_open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600) }
        )
    }

    package func write(
        _ file: FileDescriptor,
        _ pieces: UnsafeBufferPointer<iovec>,
        at offset: Int64
    ) throws(Errno) -> Int {
        while true {
            let count = pwritev(file.rawValue, pieces.baseAddress, CInt(pieces.count), off_t(offset))
            if count >= 0 { return count }
            if errno != EINTR { throw Errno(rawValue: errno) }
        }
    }

    package func truncate(_ file: FileDescriptor, to length: Int64) throws(Errno) {
        _ = try Self.check { ftruncate(file.rawValue, off_t(length)) }
    }

    package func sync(_ file: FileDescriptor) throws(Errno) {
        _ = try Self.check { fdatasync(file.rawValue) }
    }

    package func syncFolder(_ folder: FileDescriptor) throws(Errno) {
        // Not fdatasync(2): of a folder it need not cover the new entry.
        _ = try Self.check { fsync(folder.rawValue) }
    }

    package func syncFileSystem(_ folder: FileDescriptor) throws(Errno) {
        let code = cjournal_syncfs(folder.rawValue)
        if code != 0 { throw Errno(rawValue: code) }
    }

    package func checkWriteOut(_ file: FileDescriptor) throws(Errno) {
        if syncfsReportsErrors { return }
        let code = cjournal_write_error(file.rawValue)
        if code != 0 { throw Errno(rawValue: code) }
    }

    package func unlink(_ path: String) throws(Errno) {
        _ = try Self.check { system_unlink(path) }
    }

    package func rename(_ path: String, to newPath: String) throws(Errno) {
        _ = try Self.check { system_rename(path, newPath) }
    }

    package func createFolder(_ path: String) throws(Errno) {
        _ = try Self.check { mkdir(path, 0o700) }
    }

    /// Repeats a call that a signal interrupted.
    private static func check(_ call: () -> CInt) throws(Errno) -> CInt {
        while true {
            let result = call()
            if result >= 0 { return result }
            if errno != EINTR { throw Errno(rawValue: errno) }
        }
    }
}

// Free functions, because the methods above hide the system's functions of the same name.
private func system_open(_ path: String, _ flags: CInt, _ mode: mode_t) -> CInt { open(path, flags, mode) }
private func system_unlink(_ path: String) -> CInt { unlink(path) }
private func system_rename(_ path: String, _ newPath: String) -> CInt { rename(path, newPath) }
