import Glibc

/// Reads files that are small by nature: settings, secrets.
enum SmallTextFile {
    /// The whole file as text.
    /// - Throws: ``Unacceptable`` with why it cannot be read: the operating system's reason, too large, not UTF-8.
    static func read(_ path: String, limit: Int = 1 << 20) throws(Unacceptable) -> String {
        try text(try readBytes(path, limit: limit))
    }

    /// The whole file.
    static func readBytes(_ path: String, limit: Int = 1 << 20) throws(Unacceptable) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Unacceptable(reason(errno)) }
        defer { close(descriptor) }
        return try readBytes(descriptor: descriptor, limit: limit)
    }

    /// Everything up to the end of an open file or pipe, as text.
    static func read(descriptor: Int32, limit: Int) throws(Unacceptable) -> String {
        try text(try readBytes(descriptor: descriptor, limit: limit))
    }

    private static func readBytes(descriptor: Int32, limit: Int) throws(Unacceptable) -> [UInt8] {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 8192)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0 {
                if errno == EINTR { continue }
                throw Unacceptable(reason(errno))
            }
            if count == 0 { return bytes }
            bytes += chunk[..<count]
            guard bytes.count <= limit else { throw Unacceptable("it is larger than \(ByteSize.format(limit))") }
        }
    }

    private static func text(_ bytes: [UInt8]) throws(Unacceptable) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else { throw Unacceptable("it is not UTF-8 text") }
        return text
    }

    private static func reason(_ code: Int32) -> String { String(cString: strerror(code)) }
}
