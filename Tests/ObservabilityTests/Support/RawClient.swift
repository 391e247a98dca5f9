import Dispatch

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// A TCP client that knows nothing: bytes out, bytes in. Its blocking calls run on Dispatch's threads.
final class RawClient: Sendable {
    struct SystemError: Error {
        var call: String
        var code: Int32
    }

    private let descriptor: Int32

    init(port: Int) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var timeout = timeval(tv_sec: 30, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port).bigEndian)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else {
            let code = errno
            close(descriptor)
            throw SystemError(call: "connect", code: code)
        }
    }

    deinit { close(descriptor) }

    func send(_ text: String) async throws { try await send(Array(text.utf8)) }

    /// Bytes the peer no longer wants are not an error here.
    func send(_ bytes: [UInt8]) async throws {
        _ = try await onThread { descriptor -> Int in
            var offset = 0
            while offset < bytes.count {
                let count = bytes.withUnsafeBytes {
                    Glibc.send(descriptor, $0.baseAddress! + offset, $0.count - offset, Int32(MSG_NOSIGNAL))
                }
                if count < 0 {
                    if errno == EPIPE || errno == ECONNRESET { break }
                    throw SystemError(call: "send", code: errno)
                }
                offset += count
            }
            return offset
        }
    }

    func finishSending() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// What the next recv(2) returns; empty at the end of the stream, and when the peer reset it.
    func receive() async throws -> [UInt8] {
        try await onThread { descriptor in
            var bytes = [UInt8](repeating: 0, count: 1 << 16)
            let count = recv(descriptor, &bytes, bytes.count, 0)
            if count < 0 {
                if errno == ECONNRESET { return [] }
                throw SystemError(call: "recv", code: errno)
            }
            return Array(bytes[..<count])
        }
    }

    /// Everything until the peer closes.
    func receiveAll() async throws -> String {
        var all: [UInt8] = []
        while true {
            let more = try await receive()
            if more.isEmpty { return String(decoding: all, as: UTF8.self) }
            all += more
        }
    }

    private func onThread<R: Sendable>(_ body: @escaping @Sendable (Int32) throws -> R) async throws -> R {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global().async { [self] in
                continuation.resume(with: Result { try body(descriptor) })
            }
        }
    }
}

/// Responses as they come over a `RawClient`.
struct ResponseReader {
    struct Response: Equatable {
        var status: Int
        /// Names in lower case.
        var headers: [String: String]
        var body: String
    }

    struct Malformed: Error { var text: String }

    let client: RawClient
    private var pending: [UInt8] = []

    init(_ client: RawClient) { self.client = client }

    /// nil at the end of the stream.
    mutating func next(isHead: Bool = false) async throws -> Response? {
        let separator = Array("\r\n\r\n".utf8)
        while true {
            if let end = pending.firstRange(of: separator) {
                var response = try parse(String(decoding: pending[..<end.lowerBound], as: UTF8.self))
                pending.removeSubrange(..<end.upperBound)
                let length = isHead ? 0 : Int(response.headers["content-length"] ?? "") ?? -1
                if length < 0 { throw Malformed(text: "no Content-Length") }
                while pending.count < length {
                    let more = try await client.receive()
                    if more.isEmpty { throw Malformed(text: "\(pending.count) bytes of a body of \(length)") }
                    pending += more
                }
                response.body = String(decoding: pending[..<length], as: UTF8.self)
                pending.removeSubrange(..<length)
                return response
            }
            let more = try await client.receive()
            if more.isEmpty {
                if pending.isEmpty { return nil }
                throw Malformed(text: String(decoding: pending, as: UTF8.self))
            }
            pending += more
        }
    }

    private func parse(_ head: String) throws -> Response {
        var lines = head.split(separator: "\r\n", omittingEmptySubsequences: false)
        let words = lines.removeFirst().split(separator: " ")
        guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let status = Int(words[1]) else {
            throw Malformed(text: head)
        }
        var headers: [String: String] = [:]
        for line in lines {
            guard let colon = line.firstIndex(of: ":") else { throw Malformed(text: head) }
            let value = line[line.index(after: colon)...].drop { $0 == " " }
            let old = headers.updateValue(String(value), forKey: line[..<colon].lowercased())
            if old != nil { throw Malformed(text: "twice: \(line)") }
        }
        return Response(status: status, headers: headers, body: "")
    }
}
