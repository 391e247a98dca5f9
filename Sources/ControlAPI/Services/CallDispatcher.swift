import FoundationEssentials
import Logging
import Synchronization

/// What one call is about and how much it moved, filled while it runs.
final class CallNotes: Sendable {
    struct Content {
        var subject: [String: String] = [:]
        /// Why a command was not carried out although the call itself ended well.
        var failure = ""
        var requestBytes = 0
        var responseBytes = 0
    }

    private let content = Mutex(Content())

    var snapshot: Content { content.withLock { $0 } }
    func received(_ bytes: Int) { content.withLock { $0.requestBytes += bytes } }
    func sent(_ bytes: Int) { content.withLock { $0.responseBytes += bytes } }
    func set(subject: [String: String]) { content.withLock { $0.subject = subject } }
    func set(_ result: CommandResult) {
        content.withLock { content in
            content.failure = result.success ? "" : result.error
            if let tenantID = result.tenantID { content.subject["tenant_id"] = tenantID.uuidString.lowercased() }
        }
    }
}

/// Takes each call from its arrival to its end: who is it, may it come in, which handler, what came out.
final class CallDispatcher: Sendable {
    let backend: any ControlBackend
    let health: HealthState
    let active: ActiveCalls
    let logger: Logger
    private let authenticator: Authenticator?
    private let hooks: ControlServerHooks
    private let audit: AuditLog
    /// Largest message of a stream, but for a single reading that is larger. A page that the backend has kept within
    /// `ReadingsQuery.maxPageBytes` is one message.
    static let streamMessageBytes = Bounds.streamedPageBytes

    init(
        backend: any ControlBackend,
        health: HealthState,
        active: ActiveCalls,
        authenticator: Authenticator?,
        hooks: ControlServerHooks,
        audit: AuditLog,
        logger: Logger
    ) {
        self.backend = backend
        self.health = health
        self.active = active
        self.authenticator = authenticator
        self.hooks = hooks
        self.audit = audit
        self.logger = logger
    }

    /// A call has arrived. On a gRPC thread: decides at once and leaves the work to a task. The request's message is not
    /// read before the caller is known and admitted.
    func accept(_ call: ServerCall) {
        call.watchClose()
        let peer = call.peer
        let certificate = call.certificateSubject
        guard let method = APIMethod(path: call.path) else {
            let text = "this server has no method \(Validate.quoted(call.path))"
            refuse(call, nil, identity: certificate ?? "anonymous", peer, .unimplemented, text)
            return
        }
        var caller = Caller(tenants: .all, identity: certificate ?? "anonymous")
        if let authenticator, !method.isProbe {
            do {
                caller = try authenticator.caller(authorization: call.authorization)
            } catch {
                let identity = Self.identity(error.identity, certificate)
                refuse(call, method, identity: identity, peer, .unauthenticated, error.problem)
                return
            }
            caller = Caller(tenants: caller.tenants, identity: Self.identity(caller.identity, certificate))
        }
        switch active.admit(call, isProbe: method.isProbe) {
        case .admitted:
            break
        case .full:
            let text = "too many calls at once; try again later"
            refuse(call, method, identity: caller.identity, peer, .resourceExhausted, text)
            return
        case .shuttingDown:
            refuse(call, method, identity: caller.identity, peer, .unavailable, "the server is shutting down")
            return
        }
        let context = CallContext(caller: caller, method: method.shortName, peer: peer, deadline: call.deadline)
        call.attach(
            Task {
                await serve(call, method, context)
                active.remove(call)
            }
        )
    }

    private static func identity(_ token: String, _ certificate: String?) -> String {
        certificate.map { "\(token), certificate \($0)" } ?? token
    }

    // MARK: - The end of a call

    private func refuse(
        _ call: ServerCall,
        _ method: APIMethod?,
        identity: String,
        _ peer: String,
        _ code: StatusCode,
        _ text: String
    ) {
        call.reject(code, text)
        let name = method?.shortName ?? "unknown"
        hooks.onCall(
            CallRecord(method: name, code: code, duration: .now - call.started, requestBytes: 0, responseBytes: 0)
        )
        audit.refusal(
            AuditEntry(
                identity: identity,
                peer: peer,
                method: method?.shortName ?? Validate.quoted(call.path),
                subject: [:],
                code: code,
                message: text
            )
        )
    }

    /// Runs in the call's task.
    private func serve(_ call: ServerCall, _ method: APIMethod, _ context: CallContext) async {
        let notes = CallNotes()
        var code = StatusCode.ok
        var text = ""
        var failure: ControlError?
        do {
            let last = try await handle(call, method, context, notes)
            if let last { notes.sent(last.byteCount) }
            if await !call.finish(last, code: .ok, text: "") { failure = call.cancellation }
        } catch {
            let known = status(of: error, call, context)
            failure = known
            await call.finish(nil, code: known.code, text: known.message)
        }
        if let failure {
            code = failure.code
            text = failure.message
        }
        let content = notes.snapshot
        hooks.onCall(
            CallRecord(
                method: method.shortName,
                code: code,
                duration: .now - call.started,
                requestBytes: content.requestBytes,
                responseBytes: content.responseBytes
            )
        )
        let entry = AuditEntry(
            identity: context.caller.identity,
            peer: context.peer,
            method: method.shortName,
            subject: content.subject,
            code: code,
            message: code == .ok ? content.failure : text
        )
        if method.isAudited {
            audit.command(entry)
        } else if code == .permissionDenied || code == .unauthenticated {
            audit.refusal(entry)
        }
    }

    /// What the client reads for an error. Errors that are not ours tell it nothing: their text may hold anything.
    private func status(of error: any Error, _ call: ServerCall, _ context: CallContext) -> ControlError {
        if call.isCancelled { return call.cancellation }
        if let error = error as? ControlError {
            if error.code == .internalError || error.code == .unknown { log(error, context) }
            return error
        }
        log(error, context)
        return ControlError(.internalError, "an internal error; the server's log has the details", cause: error)
    }

    private func log(_ error: any Error, _ context: CallContext) {
        var metadata: Logger.Metadata = ["method": "\(context.method)", "peer": "\(context.peer)", "error": "\(error)"]
        if let cause = (error as? ControlError)?.cause { metadata["cause"] = "\(cause)" }
        logger.error("a control call failed", metadata: metadata)
    }

    // MARK: - Handlers

    /// Answers the call; the message returned is sent last, together with the status OK.
    private func handle(
        _ call: ServerCall,
        _ method: APIMethod,
        _ context: CallContext,
        _ notes: CallNotes
    ) async throws -> GRPCMessage? {
        switch method {
        case .healthServiceCheck:
            return try await answerHealthCheck(call, notes)
        case .healthServiceWatch:
            try await answerHealthWatch(call, notes)
            return nil
        case .reflection, .reflectionAlpha:
            try await answerReflection(call, notes)
            return nil
        default:
            return try await handleScada(call, method, context, notes)
        }
    }

    /// The request of a unary or server-streaming call.
    func request(_ call: ServerCall, _ notes: CallNotes) async throws(ControlError) -> GRPCMessage {
        guard let message = try await call.receive() else {
            throw ControlError(.invalidArgument, "the call ended without a request")
        }
        notes.received(message.byteCount)
        return message
    }
}
