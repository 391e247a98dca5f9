import Glibc

/// Identity of a file's content as far as the file system tells it cheaply.
struct FileStamp: Equatable, Sendable {
    private let device: UInt64
    private let inode: UInt64
    private let size: Int64
    /// Time of the last change: seconds and nanoseconds.
    private let modified: [Int]

    init(_ path: String) throws(ControlServerError) {
        var info = stat()
        guard stat(path, &info) == 0 else { throw .file(path, String(cString: strerror(errno))) }
        device = UInt64(info.st_dev)
        inode = UInt64(info.st_ino)
        size = Int64(info.st_size)
        // Not by name: which module timespec's members belong to depends on what else the module's files import, and the
        // optimised build, which sees all of them at once, then refuses the names.
        modified = withUnsafeBytes(of: info.st_mtim) { Array($0.bindMemory(to: Int.self)) }
    }
}

enum SmallFile {
    /// Certificates, keys and token lists; nothing of this kind is larger.
    static let maxBytes = 16 * 1_024 * 1_024

    /// The whole file. Blocks: not for the cooperative pool.
    static func read(_ path: String) throws(ControlServerError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .file(path, String(cString: strerror(errno))) }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = piece.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
            if count < 0 {
                if errno == EINTR { continue }
                throw .file(path, String(cString: strerror(errno)))
            }
            if count == 0 { return bytes }
            guard bytes.count + count <= maxBytes else { throw .file(path, "is larger than \(maxBytes) bytes") }
            bytes.append(contentsOf: piece[..<count])
        }
    }
}
