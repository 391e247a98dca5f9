import FoundationEssentials
import Glibc
import Logging
import Synchronization
import Testing

@testable import ControlAPI

/// Log lines of one server, in the order they came.
final class LogLines: Sendable {
    private let lines = Mutex<[String]>([])

    var all: [String] { lines.withLock { $0 } }

    func contains(_ text: String) -> Bool { all.contains { $0.contains(text) } }

    func add(_ line: String) { lines.withLock { $0.append(line) } }

    func logger() -> Logger {
        Logger(label: "test") { _ in Handler(lines: self) }
    }

    private struct Handler: LogHandler {
        let lines: LogLines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }
        func log(event: LogEvent) {
            let pairs = (event.metadata ?? [:]).map { "\($0)=\($1)" }.sorted().joined(separator: " ")
            lines.add("\(event.level) \(event.message) \(pairs)")
        }
    }
}

/// What a server reported through its hooks.
final class HookRecords: Sendable {
    struct Content: Sendable {
        var calls: [CallRecord] = []
        var audit: [AuditEntry] = []
        var failedHandshakes = 0
    }
    private let state = Mutex(Content())
    var content: Content { state.withLock { $0 } }

    var hooks: ControlServerHooks {
        ControlServerHooks(
            onCall: { record in self.state.withLock { $0.calls.append(record) } },
            onAudit: { entry in self.state.withLock { $0.audit.append(entry) } },
            onFailedHandshake: { self.state.withLock { $0.failedHandshakes += 1 } }
        )
    }
}

/// Tests that talk to a server: one after the other, each with the machine to itself.
@Suite(.serialized) struct OverTheNetwork {}

/// A server on a free loopback port, and a client of it.
struct Fixture: Sendable {
    let server: ControlServer
    let client: TestClient
    let backend: TestBackend
    let health: HealthState
    let log: LogLines
    let records: HookRecords
    let port: Int

    /// Runs `body` against a fresh server and takes both sides down again.
    static func with(
        backend: TestBackend = TestBackend(),
        authenticator: Authenticator? = nil,
        credentials: OpaquePointer? = nil,
        options change: (inout ControlServerOptions) -> Void = { _ in },
        _ body: (Fixture) async throws -> Void
    ) async throws {
        var options = ControlServerOptions(address: .loopback(port: 0))
        change(&options)
        let log = LogLines()
        let records = HookRecords()
        let health = HealthState()
        let server = ControlServer(
            options: options,
            backend: backend,
            health: health,
            authenticator: authenticator,
            hooks: records.hooks,
            logger: log.logger()
        )
        let port = try server.start()
        let client = try TestClient(port: port, credentials: credentials)
        let fixture = Fixture(
            server: server,
            client: client,
            backend: backend,
            health: health,
            log: log,
            records: records,
            port: port
        )
        let result: Result<Void, any Error>
        do {
            try await body(fixture)
            result = .success(())
        } catch {
            result = .failure(error)
        }
        await client.close()
        await server.stop(grace: .zero)
        #expect(server.activeCalls == 0)
        try result.get()
    }
}

/// Waits until `condition` holds; false = it did not within the deadline.
func eventually(within limit: Duration = .seconds(60), _ condition: () async -> Bool) async -> Bool {
    let deadline = ContinuousClock.now + limit
    while ContinuousClock.now < deadline {
        if await condition() { return true }
        try? await Task.sleep(for: .milliseconds(5))
    }
    return await condition()
}

/// A folder of the test's own, removed when the object goes.
final class TemporaryFolder: Sendable {
    struct Failed: Error {}
    let path: String

    init() throws {
        var template = Array("/tmp/scada-api-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failed() }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        if let folder = opendir(path) {
            while let entry = readdir(folder) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                if name != "." && name != ".." { unlink("\(path)/\(name)") }
            }
            closedir(folder)
        }
        rmdir(path)
    }

    /// Writes a file by rename, as tools that replace a file do; its path.
    @discardableResult
    func write(_ name: String, _ text: String) throws -> String {
        let file = "\(path)/\(name)"
        guard let stream = fopen(file + ".new", "w") else { throw Failed() }
        fputs(text, stream)
        guard fclose(stream) == 0, rename(file + ".new", file) == 0 else { throw Failed() }
        return file
    }
}

/// Stands for SHA-256 where a test needs some function from bytes to 32 bytes (FNV-1a, four lanes).
func testHash(_ bytes: [UInt8]) -> [UInt8] {
    (UInt64(0)..<4).flatMap { lane in
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325 &+ lane
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        return withUnsafeBytes(of: hash.littleEndian) { Array($0) }
    }
}

func hex(_ bytes: [UInt8]) -> String {
    let digits = Array("0123456789abcdef")
    return String(bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
}
