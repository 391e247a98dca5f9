import Synchronization
import SystemPackage

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// One owner a folder: flock(2) on a file in it, which the kernel gives up when the process ends, however it ends.
final class DirectoryLock: Sendable {
    static let fileName = "lock"

    /// The folder itself, open for syncfs(2).
    let folder: FileDescriptor
    private let file: FileDescriptor
    private let isReleased = Mutex(false)

    init(path: String) throws(JournalError) {
        try Self.createFolders(path)
        let lockPath = path + "/" + Self.fileName
        let file: FileDescriptor
        do throws(Errno) {
            file = try openFile(lockPath, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW)
        } catch {
            throw Self.refusal(path, error)
        }
        while flock(file.rawValue, LOCK_EX | LOCK_NB) != 0 {
            let errno = Errno(rawValue: errno)
            if errno == .interrupted { continue }
            defer { closeQuietly(file) }
            guard errno == .wouldBlock || errno == .resourceTemporarilyUnavailable else {
                throw JournalError(
                    .inputOutput,
                    "cannot lock the journal's folder: put JOURNAL_DIR on a local file system",
                    path: lockPath,
                    cause: errno
                )
            }
            throw Self.owned(path, file)
        }
        let owner = "\(getpid())\n"
        _ = ftruncate(file.rawValue, 0)
        // Only a help for people and for the error of whoever comes second; the lock itself does not depend on it.
        _ = Array(owner.utf8).withUnsafeBytes { pwrite(file.rawValue, $0.baseAddress, $0.count, 0) }
        do throws(Errno) {
            folder = try openFolder(path)
        } catch {
            closeQuietly(file)
            throw Self.refusal(path, error)
        }
        self.file = file
    }

    deinit {
        release()
    }

    func release() {
        let wasReleased = isReleased.withLock { isReleased in
            defer { isReleased = true }
            return isReleased
        }
        guard !wasReleased else { return }
        closeQuietly(file)
        closeQuietly(folder)
    }

    private static func owned(_ path: String, _ file: FileDescriptor) -> JournalError {
        var bytes = [UInt8](repeating: 0, count: 32)
        var owner: Int32?
        if case .success(let count) = bytes.withUnsafeMutableBytes({ readFully(file, $0, 0) }) {
            owner = Int32(String(decoding: bytes[..<count].prefix { (48...57).contains($0) }, as: UTF8.self))
        }
        let who = owner.map { "process \($0)" } ?? "another process"
        return JournalError(
            .alreadyOwned,
            "\(who) uses this JOURNAL_DIR already: end it, or give this one a folder of its own",
            path: path,
            ownerProcessID: owner
        )
    }

    private static func createFolders(_ path: String) throws(JournalError) {
        var prefix = path.hasPrefix("/") ? "/" : ""
        for part in path.split(separator: "/") {
            prefix += part
            if mkdir(prefix, 0o700) != 0, errno != EEXIST {
                let cause = Errno(rawValue: errno)
                // A parent may be there and yet refuse to have folders made in it.
                var status = stat()
                if stat(prefix, &status) != 0 { throw refusal(path, cause) }
            }
            prefix += "/"
        }
    }

    private static func refusal(_ path: String, _ cause: Errno) -> JournalError {
        switch cause {
        case .permissionDenied, .notPermitted, .readOnlyFileSystem, .notDirectory, .noSuchFileOrDirectory, .isDirectory,
            .tooManySymbolicLinkLevels:
            return JournalError(
                .notWritable,
                "JOURNAL_DIR cannot be written: expected a folder that user id \(geteuid()) may create files in",
                path: path,
                cause: cause
            )
        default:
            return .system("use JOURNAL_DIR", path, cause)
        }
    }
}
