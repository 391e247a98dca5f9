#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Small files, read whole and written atomically. Everything here blocks on the disk.
enum FileAccess {
    /// Identity of a file's content as far as the file system tells it without reading: changes with every replacement
    /// and every write.
    struct Stamp: Equatable, Sendable {
        var inode: UInt64
        var size: Int64
        var seconds: Int
        var nanoseconds: Int
    }

    static func failure(_ path: String, _ code: CInt = errno) -> SecurityError {
        SecurityError(.badConfigurationError, "\(path): \(String(cString: strerror(code)))")
    }

    /// nil when there is no such file.
    static func stamp(_ path: String) -> (stamp: Stamp, isFolder: Bool, mode: mode_t)? {
        var info = stat()
        // Follows links: secrets mounted by orchestrators are links.
        guard stat(path, &info) == 0 else { return nil }
        let stamp = Stamp(
            inode: UInt64(info.st_ino),
            size: Int64(info.st_size),
            seconds: info.st_mtim.tv_sec,
            nanoseconds: info.st_mtim.tv_nsec
        )
        return (stamp, info.st_mode & S_IFMT == S_IFDIR, info.st_mode)
    }

    /// Names of the regular files of a folder, sorted, without hidden ones; none when there is no folder.
    static func names(in folder: String) throws(SecurityError) -> [String] {
        guard let handle = opendir(folder) else {
            if errno == ENOENT { return [] }
            throw failure(folder)
        }
        defer { closedir(handle) }
        var names: [String] = []
        while let entry = readdir(handle) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            // Hidden files: half-written ones, and what orchestrators keep beside mounted secrets.
            if !name.hasPrefix("."), stamp(folder + "/" + name).map({ !$0.isFolder }) ?? false { names.append(name) }
        }
        return names.sorted()
    }

    /// The whole file.
    ///
    /// - Throws: `badConfigurationError` naming the path, also when it has more than `limit` bytes.
    static func read(_ path: String, limit: Int) throws(SecurityError) -> [UInt8] {
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard file >= 0 else { throw failure(path) }
        defer { close(file) }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 16_384)
        // Keys fit in: no outgrown copy of one is left behind.
        bytes.reserveCapacity(piece.count)
        while true {
            let count = piece.withUnsafeMutableBytes { system_read(file, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw failure(path) }
            guard count > 0 else {
                piece.wipe()
                return bytes
            }
            guard bytes.count + count <= limit else {
                throw SecurityError(.badConfigurationError, "\(path): more than \(limit) bytes")
            }
            bytes.append(contentsOf: piece[..<count])
        }
    }

    /// Replaces or creates `path` with `bytes`: whoever looks sees the old content or the new one, also after power loss.
    static func write(_ bytes: [UInt8], to path: String, mode: mode_t) throws(SecurityError) {
        let folder = String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
        let name = path[(path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex)...]
        let suffix = hexadecimal(try SecureRandom.bytes(8))
        let temporary = "\(folder)/.\(name).\(suffix)"
        let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode)
        guard file >= 0 else { throw failure(temporary) }
        var code: CInt = 0
        var written = 0
        while code == 0, written < bytes.count {
            let count = bytes.withUnsafeBytes {
                system_write(file, $0.baseAddress.map { $0 + written }, $0.count - written)
            }
            if count >= 0 { written += count } else if errno != EINTR { code = errno }
        }
        if code == 0, fsync(file) != 0 { code = errno }
        close(file)
        if code == 0, rename(temporary, path) != 0 { code = errno }
        guard code == 0 else {
            unlink(temporary)
            throw failure(path, code)
        }
        syncFolder(folder)
    }

    static func remove(_ path: String) throws(SecurityError) {
        guard unlink(path) == 0 else { throw failure(path) }
        syncFolder(String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]))
    }

    /// A lost entry after power loss is a file that is written again: nothing depends on the result.
    private static func syncFolder(_ folder: String) {
        let handle = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard handle >= 0 else { return }
        fsync(handle)
        close(handle)
    }

    /// Makes a folder and those above it, mode 0700, where they are missing.
    static func makeFolder(_ path: String) throws(SecurityError) {
        if let known = stamp(path) {
            guard known.isFolder else { throw failure(path, ENOTDIR) }
            return
        }
        if let slash = path.lastIndex(of: "/"), slash != path.startIndex { try makeFolder(String(path[..<slash])) }
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw failure(path) }
    }

    /// Runs `body` while no other process runs one with the same lock file.
    static func locked<R>(_ path: String, _ body: () throws(SecurityError) -> R) throws(SecurityError) -> R {
        let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw failure(path) }
        // Closing unlocks.
        defer { close(file) }
        while flock(file, LOCK_EX) != 0 {
            guard errno == EINTR else { throw failure(path) }
        }
        return try body()
    }
}

// Free functions, because the functions above hide the system's of the same name.
private func system_read(_ file: CInt, _ bytes: UnsafeMutableRawPointer?, _ count: Int) -> Int {
    read(file, bytes, count)
}
private func system_write(_ file: CInt, _ bytes: UnsafeRawPointer?, _ count: Int) -> Int { write(file, bytes, count) }
