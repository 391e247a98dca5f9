/// What went wrong with a database, said so that the caller can decide without parsing text: the `code` tells the kind,
/// `isRetryable` whether the same call may succeed later with nothing changed by a person.
///
/// The description never holds a password or a connection string; messages of libpq are scrubbed before they get here.
package struct StoreError: Error, Sendable, CustomStringConvertible {
    /// The kind of failure. Extensible: compare with the named constants and treat anything else as ``internal``.
    package struct Code: Hashable, Sendable, CustomStringConvertible {
        private let name: String
        private init(_ name: String) { self.name = name }
        package var description: String { name }

        /// The server could not be reached, or the connection broke before the command's end was in doubt.
        package static let connection = Code("connection")
        /// The server refused the user or the password (SQLSTATE 28).
        package static let authentication = Code("authentication")
        /// The server or the pool has no room: connections, disk, memory (SQLSTATE 53, 58), too many callers waiting.
        package static let resources = Code("resources")
        /// Another transaction was in the way: lock timeout, deadlock, serialization failure (SQLSTATE 40, 55).
        package static let contention = Code("contention")
        /// The database lacks something this program needs: a table, a column, a privilege, the database itself
        /// (SQLSTATE 42, 3D, 3F, 0A). `scada-ingestion migrate` is the usual cure.
        package static let schema = Code("schema")
        /// A value the database cannot hold (SQLSTATE 22, 23).
        package static let data = Code("data")
        /// The deadline or `statement_timeout` passed first.
        package static let timeout = Code("timeout")
        /// The caller's task was cancelled; the statement was cancelled on the server too.
        package static let cancelled = Code("cancelled")
        /// The server sent something that does not fit the protocol or the question.
        package static let protocolViolation = Code("protocol")
        /// The connection broke after COMMIT was sent and before its answer came: it may have happened or not.
        package static let outcomeUnknown = Code("outcome_unknown")
        /// The server accepts no writes (a standby, SQLSTATE 25006).
        package static let readOnly = Code("read_only")
        /// A connection string that cannot be used.
        package static let invalidURL = Code("invalid_url")
        /// A page token that this query did not give out.
        package static let invalidPageToken = Code("invalid_page_token")
        /// An argument outside its documented range.
        package static let invalidArgument = Code("invalid_argument")
        /// The flush may be made in a checked way only: see ``ReadingsWriter/Sharing``.
        package static let fenced = Code("fenced")
        /// The pool is closed.
        package static let closed = Code("closed")
        /// The caller's own closure threw; see ``StoreError/cause``.
        package static let source = Code("source")
        /// Everything else, an internal error of the server among it.
        package static let `internal` = Code("internal")
    }

    package var code: Code
    /// The five characters PostgreSQL sent, or nil when the failure was on this side of the wire.
    package var sqlState: String?
    /// What happened, in words, naming the thing.
    package var message: String
    /// Detail, hint and context lines of the server, when it sent any.
    package var detail: String?
    /// Whether the same call may succeed later by itself.
    package var isRetryable: Bool
    /// How long the pool refuses further attempts on this database, when it is backing off.
    package var retryAfter: Duration?
    /// The error of the caller's closure for ``Code/source``.
    package var cause: (any Error)?

    package init(
        _ code: Code,
        _ message: String,
        sqlState: String? = nil,
        detail: String? = nil,
        isRetryable: Bool? = nil,
        retryAfter: Duration? = nil,
        cause: (any Error)? = nil
    ) {
        self.code = code
        self.message = message
        self.sqlState = sqlState
        self.detail = detail
        self.isRetryable = isRetryable ?? Self.retryableByNature(code)
        self.retryAfter = retryAfter
        self.cause = cause
    }

    package var description: String {
        var text = "\(code): \(message)"
        if let sqlState { text += " [SQLSTATE \(sqlState)]" }
        if let detail, !detail.isEmpty { text += " (\(detail))" }
        if let cause { text += " (\(cause))" }
        return text
    }

    private static func retryableByNature(_ code: Code) -> Bool {
        switch code {
        case .connection, .resources, .contention, .timeout, .readOnly, .outcomeUnknown, .authentication: true
        default: false
        }
    }

    /// The kind of failure a SQLSTATE stands for (PostgreSQL documentation, appendix A).
    package static func classify(sqlState: String) -> Code {
        switch sqlState {
        case "57014": return .timeout
        case "25006": return .readOnly
        case "55P03", "55006": return .contention
        case "57P01", "57P02", "57P03", "57P05": return .connection
        case "25P03": return .timeout
        case "3D000", "3F000": return .schema
        default: break
        }
        switch sqlState.prefix(2) {
        case "08": return .connection
        case "28": return .authentication
        case "53", "58": return .resources
        case "40": return .contention
        case "22", "23": return .data
        case "42", "0A", "55": return .schema
        default: return .internal
        }
    }
}
