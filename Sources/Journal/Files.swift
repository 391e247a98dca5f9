import SystemPackage

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

func openFolder(_ path: String) throws(Errno) -> FileDescriptor {
    try openFile(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
}

func openFile(_ path: String, _ flags: CInt, _ mode: mode_t = 0o600) throws(Errno) -> FileDescriptor {
    while true {
        let file = open(path, flags, mode)
        if file >= 0 { return FileDescriptor(rawValue: file) }
        if errno != EINTR { throw Errno(rawValue: errno) }
    }
}

/// What close(2) says is of no use: everything that matters was synced before.
func closeQuietly(_ file: FileDescriptor) {
    _ = close(file.rawValue)
}

struct FileStatus {
    var size: Int64
    var device: UInt64
    var isRegularFile: Bool
    var isFolder: Bool
}

func fileStatus(_ path: String) throws(Errno) -> FileStatus {
    var status = stat()
    guard lstat(path, &status) == 0 else { throw Errno(rawValue: errno) }
    return FileStatus(
        size: Int64(status.st_size),
        device: UInt64(status.st_dev),
        isRegularFile: status.st_mode & S_IFMT == S_IFREG,
        isFolder: status.st_mode & S_IFMT == S_IFDIR
    )
}

/// Names of a folder's entries, sorted, without "." and "..".
func listFolder(_ path: String) throws(Errno) -> [String] {
    guard let folder = opendir(path) else { throw Errno(rawValue: errno) }
    defer { closedir(folder) }
    var names: [String] = []
    while true {
        errno = 0
        guard let entry = readdir(folder) else {
            if errno != 0 { throw Errno(rawValue: errno) }
            break
        }
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
}

/// A whole small file; nil when it has more than `limit` bytes.
func readSmallFile(_ path: String, limit: Int) throws(Errno) -> [UInt8]? {
    let file = try openFile(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
    defer { closeQuietly(file) }
    var bytes = [UInt8](repeating: 0, count: limit + 1)
    let count = bytes.withUnsafeMutableBytes { readFully(file, $0, 0) }
    switch count {
    case .failure(let errno): throw errno
    case .success(let count): return count > limit ? nil : Array(bytes[..<count])
    }
}

/// Microseconds since 1970.
func wallClockMicroseconds() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000
}
