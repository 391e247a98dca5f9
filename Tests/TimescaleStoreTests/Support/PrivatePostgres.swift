import FoundationEssentials
import Glibc
import Synchronization

@testable import TimescaleStore

/// A PostgreSQL server of the tests' own: a cluster in a temporary folder on a loopback port, run as an unprivileged user
/// (PostgreSQL refuses root), stopped by the pid it was started with and removed when the test process ends.
final class PrivatePostgres: Sendable {
    enum Flavour: String, Sendable {
        case plain, timescale, timescaleApache
    }

    struct Unavailable: Error, CustomStringConvertible {
        var description: String
    }

    let flavour: Flavour
    let folder: String
    let port: Int
    private let pid = Mutex<pid_t>(0)
    private static let nextDatabase = Atomic<Int>(1)

    // MARK: One server of each kind for the whole run

    private static let servers = Mutex<[Flavour: Result<PrivatePostgres, Unavailable>]>([:])

    /// The server of that kind, started on first use.
    static func shared(_ flavour: Flavour) throws -> PrivatePostgres {
        try servers.withLock { servers in
            if let known = servers[flavour] { return try known.get() }
            let result: Result<PrivatePostgres, Unavailable>
            do {
                result = .success(try PrivatePostgres(flavour))
            } catch let error as Unavailable {
                result = .failure(error)
            } catch {
                result = .failure(Unavailable(description: "\(error)"))
            }
            if servers.isEmpty { atexit { PrivatePostgres.stopAll() } }
            servers[flavour] = result
            return try result.get()
        }
    }

    /// Why tests of that kind cannot run here; nil when they can. For `.enabled(if:)` with a comment.
    static func reasonToSkip(_ flavour: Flavour) -> String? {
        guard let bin = binaries else { return "no PostgreSQL server binaries were found (pg_config --bindir)" }
        if flavour == .plain { return nil }
        let library = run("\(bin)/pg_config", ["--pkglibdir"])?.trimmed ?? ""
        return access("\(library)/timescaledb.so", R_OK) == 0 ? nil : "this PostgreSQL does not offer TimescaleDB"
    }

    static func isAvailable(_ flavour: Flavour) -> Bool {
        guard let reason = reasonToSkip(flavour) else { return true }
        print("skipped (\(flavour.rawValue)): \(reason)")
        return false
    }

    private static func stopAll() {
        servers.withLock { servers in
            for case .success(let server) in servers.values { server.remove() }
        }
    }

    // MARK: Starting

    private init(_ flavour: Flavour) throws {
        guard let bin = Self.binaries else { throw Unavailable(description: "no server binaries") }
        self.flavour = flavour
        var template = Array("/tmp/scada-store-\(flavour.rawValue)-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Unavailable(description: "no temporary folder") }
        folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        port = try Self.freePort()
        if getuid() == 0, let user = Self.unprivileged { chown(folder, user.uid, user.gid) }
        let data = "\(folder)/data"
        guard
            Self.runAsServer(
                "\(bin)/initdb",
                ["-D", data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C", "--no-instructions"]
            )
        else { throw Unavailable(description: "initdb failed") }
        var settings = """
            listen_addresses = '127.0.0.1'
            port = \(port)
            unix_socket_directories = '\(folder)'
            fsync = off
            max_connections = 60
            max_worker_processes = 24
            shared_buffers = 64MB
            timezone = 'America/New_York'
            log_min_messages = fatal

            """
        if flavour != .plain {
            settings += "shared_preload_libraries = 'timescaledb'\ntimescaledb.telemetry_level = off\n"
        }
        if flavour == .timescaleApache { settings += "timescaledb.license = 'apache'\n" }
        guard let file = fopen("\(data)/postgresql.auto.conf", "a") else {
            throw Unavailable(description: "cannot write postgresql.auto.conf")
        }
        fputs(settings, file)
        fclose(file)
        try start()
        // atexit does not run when the tests crash: a shell outlives them, ends the server it finds in this folder by the
        // pid written there, and removes the folder.
        let watch = """
            while kill -0 \(getpid()) 2>/dev/null; do sleep 1; done
            pid=$(head -n 1 '\(data)/postmaster.pid' 2>/dev/null) && kill -QUIT "$pid" && sleep 1
            rm -rf '\(folder)'
            """
        _ = Self.launch("/bin/sh", ["-c", watch], output: "/dev/null")
    }

    /// Starts the server and waits until it answers.
    func start() throws {
        guard let bin = Self.binaries else { throw Unavailable(description: "no server binaries") }
        pid.withLock { $0 = Self.spawn("\(bin)/postgres", ["-D", "\(folder)/data"], log: "\(folder)/log") }
        for _ in 0..<600 {
            if Self.run("\(bin)/pg_isready", ["-q", "-h", folder, "-p", "\(port)"], okOnly: true) != nil { return }
            usleep(50_000)
        }
        throw Unavailable(description: "the server did not come up, see \(folder)/log")
    }

    /// Stops the server: SIGINT is a fast shutdown, SIGQUIT an immediate one (as good as a crash).
    func stop(_ signal: Int32 = SIGINT) {
        let pid = pid.withLock { pid in
            defer { pid = 0 }
            return pid
        }
        guard pid > 0 else { return }
        kill(pid, signal)
        var status: Int32 = 0
        waitpid(pid, &status, 0)
    }

    private func remove() {
        stop(SIGQUIT)
        _ = Self.run("/bin/rm", ["-rf", folder])
    }

    // MARK: Databases

    func url(database: String, port: Int? = nil) throws -> DatabaseURL {
        try DatabaseURL("postgresql://postgres@127.0.0.1:\(port ?? self.port)/\(database)")
    }

    /// A new, empty database.
    func makeDatabase() throws -> DatabaseURL {
        let name = "t\(Self.nextDatabase.wrappingAdd(1, ordering: .relaxed).oldValue)"
        let connection = try connect(url(database: "postgres"))
        try connection.execute("CREATE DATABASE \(name)")
        return try url(database: name)
    }

    /// A connection of the test's own, outside any pool.
    func connect(_ url: DatabaseURL) throws -> PGConnection {
        let connection = try PGConnection(
            to: url,
            wake: try Wake(),
            applicationName: "store-tests",
            deadline: .now + .seconds(30)
        )
        connection.begin(deadline: nil, cancelSignal: nil)
        return connection
    }

    // MARK: Processes

    static let binaries: String? = {
        var folders = (9...30).reversed().map { "/usr/lib/postgresql/\($0)/bin" }
        folders += ["/usr/local/pgsql/bin", "/usr/local/bin", "/usr/bin"]
        if let said = run("/usr/bin/env", ["pg_config", "--bindir"])?.trimmed { folders.insert(said, at: 0) }
        return folders.first { access("\($0)/initdb", X_OK) == 0 && access("\($0)/postgres", X_OK) == 0 }
    }()

    private static let unprivileged: (name: String, uid: uid_t, gid: gid_t)? = {
        for name in ["postgres", "nobody"] {
            if let entry = getpwnam(name) { return (name, entry.pointee.pw_uid, entry.pointee.pw_gid) }
        }
        return nil
    }()

    /// The command line that runs `program` as somebody other than root.
    private static func demoted(_ program: String, _ arguments: [String]) -> (String, [String]) {
        guard getuid() == 0, let user = unprivileged else { return (program, arguments) }
        let drop = ["--reuid=\(user.uid)", "--regid=\(user.gid)", "--clear-groups", "--", program]
        return ("/usr/bin/setpriv", drop + arguments)
    }

    private static func runAsServer(_ program: String, _ arguments: [String]) -> Bool {
        let (program, arguments) = demoted(program, arguments)
        return run(program, arguments, okOnly: true) != nil
    }

    static func spawn(_ program: String, _ arguments: [String], log: String) -> pid_t {
        let (program, arguments) = demoted(program, arguments)
        return launch(program, arguments, output: log)
    }

    private static func launch(_ program: String, _ arguments: [String], output: String) -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_APPEND, 0o644)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        let strings = ([program] + arguments).map { strdup($0) }
        defer { for string in strings { free(string) } }
        var pid: pid_t = 0
        guard posix_spawn(&pid, program, &actions, nil, strings + [nil], environ) == 0 else { return 0 }
        return pid
    }

    /// Runs a program to its end. Returns its output, or nil when it failed.
    @discardableResult
    static func run(_ program: String, _ arguments: [String], okOnly: Bool = false) -> String? {
        var template = Array("/tmp/scada-store-out-XXXXXX".utf8CString)
        let descriptor = mkstemp(&template)
        guard descriptor >= 0 else { return nil }
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer {
            close(descriptor)
            unlink(path)
        }
        let pid = launch(program, arguments, output: path)
        guard pid > 0 else { return nil }
        var status: Int32 = 0
        waitpid(pid, &status, 0)
        guard status == 0 else { return nil }
        if okOnly { return "" }
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            if count <= 0 { break }
            text += buffer[..<count]
        }
        return String(decoding: text, as: UTF8.self)
    }

    static func freePort() throws -> Int {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
            }
        }
        guard bound else { throw Unavailable(description: "no loopback port") }
        return Int(UInt16(bigEndian: address.sin_port))
    }
}

extension String {
    var trimmed: String { trimmedTrailingNewlines }
}
