import Synchronization

/// Knows callers by their bearer tokens. The file is read again when it changes; one that cannot be read then leaves the
/// tokens known before.
package final class Authenticator: Sendable {
    private struct State {
        var tokens: TokenList
        var stamp: FileStamp?
        var checkedAt: ContinuousClock.Instant
        var lastFailure: String?
    }

    private let path: String
    private let sha256: @Sendable ([UInt8]) -> [UInt8]
    private let checkInterval: Duration
    private let report: @Sendable (_ line: String, _ isError: Bool) -> Void
    private let state: Mutex<State>

    /// - Parameters:
    ///   - tokensFile: GRPC_TOKENS_FILE, see `TokenList` for its form.
    ///   - sha256: bytes → 32 bytes; called on the gRPC threads.
    ///   - checkInterval: how often the file is looked at, at most.
    ///   - report: gets a line when the file was read again, and when that failed.
    /// - Throws: `ControlServerError` with the file, the line and what is wrong with it. Blocks for the reading.
    package init(
        tokensFile: String,
        sha256: @escaping @Sendable ([UInt8]) -> [UInt8],
        checkInterval: Duration = .seconds(1),
        report: @escaping @Sendable (_ line: String, _ isError: Bool) -> Void = { _, _ in }
    ) throws(ControlServerError) {
        path = tokensFile
        self.sha256 = sha256
        self.checkInterval = checkInterval
        self.report = report
        let stamp = try FileStamp(tokensFile)
        let tokens = try Self.read(tokensFile)
        guard !tokens.entries.isEmpty else { throw .file(tokensFile, "holds no token: nobody could call anything") }
        state = Mutex(State(tokens: tokens, stamp: stamp, checkedAt: .now, lastFailure: nil))
    }

    private static func read(_ path: String) throws(ControlServerError) -> TokenList {
        let text = String(decoding: try SmallFile.read(path), as: UTF8.self)
        do {
            return try TokenList(parsing: text)
        } catch {
            throw .file(path, error.description)
        }
    }

    /// The caller behind the values of the metadata key `authorization`.
    ///
    /// Runs on the gRPC threads (it may read the file). Throws `UNAUTHENTICATED`; `identity` in the error tells the log
    /// which token it was.
    func caller(authorization: [String]) throws(Refusal) -> Caller {
        guard let value = authorization.first, authorization.count == 1 else {
            throw Refusal(
                identity: "no token",
                problem: authorization.isEmpty
                    ? "a bearer token is required: metadata \"authorization: Bearer <token>\""
                    : "more than one authorization in the metadata"
            )
        }
        let words = value.split(separator: " ", maxSplits: 1)
        guard words.count == 2, words[0].lowercased() == "bearer" else {
            throw Refusal(identity: "no token", problem: "the authorization is not of the form: Bearer <token>")
        }
        let hash = sha256(Array(words[1].drop { $0 == " " }.utf8))
        let identity = "token " + Self.hexPrefix(hash)
        guard let tenants = current().tenants(forHash: hash) else {
            throw Refusal(identity: identity, problem: "the bearer token is not known")
        }
        return Caller(tenants: tenants, identity: identity)
    }

    struct Refusal: Error {
        var identity: String
        var problem: String
    }

    /// The first 8 digits: enough to find the line in the file, far too little to find the token.
    private static func hexPrefix(_ hash: [UInt8]) -> String {
        let digits = Array("0123456789abcdef")
        return String(hash.prefix(4).flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
    }

    private func current() -> TokenList {
        state.withLock { state in
            let now = ContinuousClock.now
            if now - state.checkedAt >= checkInterval {
                state.checkedAt = now
                reload(&state)
            }
            return state.tokens
        }
    }

    private func reload(_ state: inout State) {
        do {
            let stamp = try FileStamp(path)
            if stamp == state.stamp { return }
            state.tokens = try Self.read(path)
            state.stamp = stamp
            state.lastFailure = nil
            report("\(path) has changed and was read again: \(state.tokens.entries.count) tokens", false)
        } catch {
            guard error.description != state.lastFailure else { return }
            state.lastFailure = error.description
            report("\(error.description); the tokens known before stay in force", true)
        }
    }
}
