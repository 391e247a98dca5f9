import Logging
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

@testable import Observability

/// A pipe with our log output on one end and the test on the other.
final class CapturedLog {
    struct SystemError: Error { var code: Int32 }

    let output: LogOutput
    private let format: LogFormat
    private let readEnd: Int32
    let writeEnd: Int32

    /// - Parameter isPacketwise: each read returns what one write wrote.
    init(format: LogFormat, limit: Int = 1 << 20, isPacketwise: Bool = false) throws {
        var ends: [Int32] = [0, 0]
        let result =
            isPacketwise
            ? socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0, &ends)
            : pipe(&ends)
        guard result == 0 else { throw SystemError(code: errno) }
        (readEnd, writeEnd) = (ends[0], ends[1])
        self.format = format
        output = LoggingSetup.output(format: format, descriptor: writeEnd, limit: limit)
    }

    deinit {
        output.flush(atMost: .seconds(10))
        output.close()
        close(readEnd)
        close(writeEnd)
    }

    func logger(level: Logger.Level = .trace, metadataProvider: Logger.MetadataProvider? = nil) -> Logger {
        let factory = LoggingSetup.handlerFactory(
            level: level,
            format: format,
            output: output,
            metadataProvider: metadataProvider
        )
        return Logger(label: "test", factory: factory)
    }

    /// What one read(2) returns; nil at the end or when nothing comes within the deadline.
    func read(within deadline: Duration = .seconds(20), most: Int = 1 << 16) -> String? {
        var wanted = pollfd(fd: readEnd, events: Int16(POLLIN), revents: 0)
        guard poll(&wanted, 1, Int32(deadline.milliseconds)) == 1 else { return nil }
        var bytes = [UInt8](repeating: 0, count: most)
        let count = Glibc.read(readEnd, &bytes, bytes.count)
        return count > 0 ? String(decoding: bytes[..<count], as: UTF8.self) : nil
    }

    /// All lines logged so far, which must fit into a pipe.
    func lines() -> [String] {
        guard output.flush(atMost: .seconds(20)) else {
            Issue.record("the log did not drain")
            return []
        }
        var text = ""
        while let more = read(within: .zero) { text += more }
        return text.split(separator: "\n").map(String.init)
    }
}
