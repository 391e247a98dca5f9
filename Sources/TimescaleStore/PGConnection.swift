internal import CLibPQ
internal import Glibc

/// One libpq connection. It belongs to one thread at a time (a slot of ``ConnectionPool``); its pointer never leaves it.
///
/// The socket is in non-blocking mode and every wait is a `poll` on socket and doorbell with the deadline of the current
/// job, so a frozen server costs a deadline, never a thread for ever. A missed deadline or a cancelled task sends a cancel
/// request; a server that does not answer that within ``PGConnection/cancelGrace`` loses the connection.
///
/// Nothing here keeps state on the server outside a transaction, so all of it works through PgBouncer in transaction mode.
package final class PGConnection {
    /// How long a cancelled statement may take to say so before the connection is given up.
    static let cancelGrace: Duration = .seconds(2)
    /// Notices kept for ``takeNotices()``.
    private static let noticeBound = 64

    private final class Notices {
        var lines: [String] = []
    }

    private var handle: OpaquePointer?
    private let wake: Wake
    private let notices = Notices()
    private let secrets: [String]
    private var cancelSignal: CancelSignal?
    private var deadline: ContinuousClock.Instant?
    private var interruption: StoreError.Code?
    private var graceEnd: ContinuousClock.Instant?
    package let url: DatabaseURL

    // MARK: Opening and closing

    /// Connects. Blocks the calling thread until done or until `deadline`.
    ///
    /// Name resolution happens inside libpq and is not covered by the deadline.
    init(
        to url: DatabaseURL,
        wake: Wake,
        applicationName: String,
        deadline: ContinuousClock.Instant,
        cancelSignal: CancelSignal? = nil
    ) throws(StoreError) {
        var options = try url.options()
        func offer(_ keyword: String, _ value: String) {
            if !options.contains(where: { $0.keyword == keyword }) {
                options.append(DatabaseURL.Option(keyword: keyword, value: value))
            }
        }
        offer("application_name", applicationName)
        offer("client_encoding", "UTF8")
        offer("keepalives_idle", "10")
        offer("keepalives_interval", "5")
        offer("keepalives_count", "3")
        offer("tcp_user_timeout", "15000")
        self.url = url
        self.wake = wake
        secrets = options.filter { ["password", "sslpassword"].contains($0.keyword) }.map(\.value)
        var limit = deadline
        if let seconds = options.first(where: { $0.keyword == "connect_timeout" }).flatMap({ Int($0.value) }),
            seconds > 0
        {
            limit = min(limit, .now + .seconds(max(2, min(seconds, 3600))))
        }
        begin(deadline: limit, cancelSignal: cancelSignal)
        handle = Self.start(options)
        guard let handle, PQstatus(handle) != CONNECTION_BAD else {
            let error = brokenError()
            close()
            throw error
        }
        PQsetNoticeReceiver(
            handle,
            { argument, result in
                guard let argument, let result else { return }
                let notices = Unmanaged<Notices>.fromOpaque(argument).takeUnretainedValue()
                guard notices.lines.count < PGConnection.noticeBound else { return }
                if let text = PQresultErrorField(result, Int32(UInt8(ascii: "M"))) {
                    notices.lines.append(String(cString: text))
                }
            },
            Unmanaged.passUnretained(notices).toOpaque()
        )
        do throws(StoreError) {
            try finishConnecting()
        } catch {
            close()
            throw error
        }
        end()
    }

    deinit { close() }

    /// Ends the connection. Safe to call twice.
    func close() {
        if let handle { PQfinish(handle) }
        handle = nil
    }

    private static func start(_ options: [DatabaseURL.Option]) -> OpaquePointer? {
        let keywords = options.map { strdup($0.keyword) }
        let values = options.map { strdup($0.value) }
        defer {
            for pointer in keywords + values { free(pointer) }
        }
        var keywordList: [UnsafePointer<CChar>?] = keywords.map { $0.map { UnsafePointer($0) } }
        var valueList: [UnsafePointer<CChar>?] = values.map { $0.map { UnsafePointer($0) } }
        keywordList.append(nil)
        valueList.append(nil)
        return PQconnectStartParams(keywordList, valueList, 0)
    }

    private func finishConnecting() throws(StoreError) {
        var want = PGRES_POLLING_WRITING
        while true {
            switch want {
            case PGRES_POLLING_OK:
                guard PQsetnonblocking(handle, 1) == 0 else { throw brokenError() }
                return
            case PGRES_POLLING_READING:
                try waitWhileConnecting(Int16(POLLIN))
            case PGRES_POLLING_WRITING:
                try waitWhileConnecting(Int16(POLLOUT))
            default:
                throw brokenError()
            }
            want = PQconnectPoll(handle)
        }
    }

    private func waitWhileConnecting(_ events: Int16) throws(StoreError) {
        while true {
            if cancelSignal?.isCancelled == true {
                throw StoreError(.cancelled, "cancelled while connecting to \(url)")
            }
            if let deadline, deadline <= .now {
                throw StoreError(.connection, "no answer from \(url) in time to connect")
            }
            if pollSocket(events, until: deadline) { return }
        }
    }

    // MARK: Jobs

    /// Sets what bounds everything until ``end()``.
    func begin(deadline: ContinuousClock.Instant?, cancelSignal: CancelSignal?) {
        self.deadline = deadline
        self.cancelSignal = cancelSignal
        interruption = nil
        graceEnd = nil
        cancelSignal?.attach(wake)
    }

    func end() {
        cancelSignal?.detach()
        cancelSignal = nil
        deadline = nil
        interruption = nil
        graceEnd = nil
    }

    /// Whether the connection can still be used.
    package var isUsable: Bool { handle.map { PQstatus($0) == CONNECTION_OK } ?? false }
    /// Whether no transaction is open and no statement is running.
    package var isIdle: Bool { handle.map { PQtransactionStatus($0) == PQTRANS_IDLE } ?? false }
    /// Whether a transaction is open, aborted or not.
    package var isInTransaction: Bool {
        handle.map { [PQTRANS_INTRANS, PQTRANS_INERROR].contains(PQtransactionStatus($0)) } ?? false
    }
    /// For example 150008 for 15.8.
    package var serverVersion: Int { handle.map { Int(PQserverVersion($0)) } ?? 0 }
    /// The process id of the server's backend.
    package var backendProcessID: Int32 { handle.map { PQbackendPID($0) } ?? 0 }
    var socket: Int32 { handle.map { PQsocket($0) } ?? -1 }

    /// The notices and warnings since the last call, at most 64.
    package func takeNotices() -> [String] {
        defer { notices.lines = [] }
        return notices.lines
    }

    func withHandle<R>(_ body: (OpaquePointer) throws(StoreError) -> R) throws(StoreError) -> R {
        guard let handle else { throw StoreError(.connection, "the connection to \(url) is closed") }
        return try body(handle)
    }

    // MARK: Waiting

    /// Waits until the socket is ready, the deadline passes or the job is cancelled; the latter two ask the server to stop
    /// and then allow it ``cancelGrace`` to answer.
    func wait(_ events: Int16) throws(StoreError) {
        while true {
            if interruption == nil {
                if cancelSignal?.isCancelled == true {
                    interrupt(.cancelled)
                } else if let deadline, deadline <= .now {
                    interrupt(.timeout)
                }
            }
            if let graceEnd, graceEnd <= .now {
                let code = interruption ?? .timeout
                close()
                throw StoreError(code, "\(url) did not answer, not even the request to stop; the connection is dropped")
            }
            if pollSocket(events, until: graceEnd ?? deadline) { return }
        }
    }

    /// Waits without asking the server for anything, until `limit` or until somebody rings (see ``follow(_:)``); may return early.
    /// - Throws: `cancelled` and `timeout` as everything else here.
    func pause(until limit: ContinuousClock.Instant) throws(StoreError) {
        if cancelSignal?.isCancelled == true { throw StoreError(.cancelled, "cancelled") }
        if let deadline, deadline <= .now { throw StoreError(.timeout, "the deadline passed") }
        wake.wait(until: deadline.map { min($0, limit) } ?? limit)
    }

    /// The flush rings this connection's doorbell when it is over, until ``unfollow(_:)``.
    func follow(_ turn: FlushTurn) { turn.follow(by: wake) }
    func unfollow(_ turn: FlushTurn) { turn.follow(by: nil) }

    private func interrupt(_ reason: StoreError.Code) {
        interruption = reason
        graceEnd = .now + Self.cancelGrace
        if let handle, let request = PQgetCancel(handle) { Canceller.shared.send(request) }
    }

    /// Whether the socket got ready.
    @discardableResult
    func pollSocket(_ events: Int16, until limit: ContinuousClock.Instant?) -> Bool {
        var entries = (
            pollfd(fd: socket, events: events, revents: 0),
            pollfd(fd: wake.fileDescriptor, events: Int16(POLLIN), revents: 0)
        )
        let ready = withUnsafeMutablePointer(to: &entries) {
            $0.withMemoryRebound(to: pollfd.self, capacity: 2) { poll($0, 2, pollTimeout(until: limit)) }
        }
        if ready > 0, entries.1.revents != 0 { wake.silence() }
        return ready > 0 && entries.0.revents != 0
    }

    // MARK: Errors

    /// What libpq says about a connection that failed.
    func brokenError() -> StoreError {
        let text = handle.flatMap { PQerrorMessage($0) }.map { String(cString: $0) } ?? "out of memory"
        let message = scrub(text).trimmedTrailingNewlines
        // libpq 15 gives no SQLSTATE for a failed start-up: its text is all there is to tell these apart.
        var code = StoreError.Code.connection
        if message.contains("password authentication failed") || message.contains("no pg_hba.conf entry")
            || message.contains("no password supplied")
        {
            code = .authentication
        } else if message.contains("too many clients") || message.contains("too many connections") {
            code = .resources
        }
        return StoreError(code, message.isEmpty ? "the connection to \(url) broke" : message)
    }

    /// The error of a failed result, told apart by who asked for the stop.
    func error(of result: PGResult) -> StoreError {
        var error = result.error(scrub: scrub)
        if error.sqlState == "57014", let interruption {
            error.code = interruption
            error.isRetryable = interruption == .timeout
        }
        return error
    }

    private func scrub(_ text: String) -> String {
        secrets.reduce(text) { $1.isEmpty ? $0 : replace($1, in: $0) }
    }

    private func replace(_ secret: String, in text: String) -> String {
        let needle = Array(secret.utf8)
        var bytes = Array(text.utf8)
        var index = 0
        while index + needle.count <= bytes.count {
            if bytes[index..<index + needle.count].elementsEqual(needle) {
                bytes.replaceSubrange(index..<index + needle.count, with: "***".utf8)
                index += 3
            } else {
                index += 1
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
