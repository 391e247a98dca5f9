import NIOCore
import OPCUACodec
import OPCUASecurity

/// A session on a channel: what the long-running connection and the tools have in common.
///
/// Confined to the event loop of the actor that owns it.
final class ClientSession {
    let configuration: ConnectionConfiguration
    /// nil where only unsecured connections are made.
    let security: ClientSecurity?
    let eventLoop: any EventLoop
    private(set) var channel: ClientChannel?
    var machine = SessionStateMachine() {
        didSet {
            isActive = machine.isActive
            authenticationToken = machine.authenticationToken
        }
    }
    /// The machine's: asked for every message, which must not copy its state each time.
    private(set) var isActive = false
    private(set) var authenticationToken = NodeId.null
    /// The endpoint chosen by GetEndpoints or CreateSession.
    var endpoint: EndpointDescription?
    /// All that the server offered to the last session.
    var endpoints: [EndpointDescription] = []
    /// Whom the present channel is secured with; nil without security.
    var server: TrustedServer?
    var namespaces: [String] = []
    var limits: ServerLimits
    /// What is being done or was done last: names the step in which an attempt failed.
    var step = ConnectStep.connect {
        didSet { onStep?(step) }
    }
    /// Told of every step that begins, and of the one that goes on.
    var onStep: ((ConnectStep) -> Void)?
    /// By then everything of this attempt has to be done; nil outside of attempts.
    var deadline: NIODeadline?
    var dialing: EventLoopPromise<any Channel>?
    /// Where servers dial in; nil where none can.
    let reverse: ReverseListener?
    /// The patience for a server to dial in; nil: that for a service call.
    var reversePatience: TimeAmount?

    init(
        configuration: ConnectionConfiguration,
        security: ClientSecurity?,
        eventLoop: any EventLoop,
        limits: ServerLimits,
        reverse: ReverseListener? = nil
    ) {
        self.configuration = configuration
        self.security = security
        self.eventLoop = eventLoop
        self.limits = limits
        self.reverse = reverse
    }

    /// The patience for one service call: what is configured, or less where an attempt has less left.
    var timeout: TimeAmount {
        let configured = TimeAmount.milliseconds(max(1, configuration.connectionTimeout))
        guard let deadline else { return configured }
        return min(configured, max(.milliseconds(1), deadline - .now()))
    }

    // MARK: Channel

    /// Dials and opens a secure channel.
    func openChannel(to url: EndpointURL, isolation: isolated (any Actor)? = #isolation) async throws(OPCUAClientError)
    {
        do throws(OPCUAClientError) {
            let security = try await channelSecurity(for: url, reuses: machine.session != nil)
            step = .connect
            let channel = try await dial(
                url,
                parameters: ClientChannel.Parameters(
                    endpointURL: url.serverURL,
                    security: security,
                    channelLifetime: configuration.channelLifetime,
                    openTimeout: timeout
                )
            )
            self.channel = channel
            step = .secureChannel
            try await channel.opened()
            limits.sendChunkSize = channel.limits?.sendChunkSize
            limits.receiveChunkSize = channel.limits?.receiveChunkSize
        } catch {
            // The server may have another certificate by now.
            if server != nil, step == .secureChannel { endpoint = nil }
            guard server != nil, step == .secureChannel, error.code == .connectionClosed else { throw error }
            // Many servers close without a word on a certificate they do not trust.
            var error = error
            error.code = .security
            error.message = "the server ended the opening of a secured channel: " + error.message
            error.advice = OPCUAClientError.trustAdvice
            throw error
        }
    }

    func detach() {
        channel = nil
        machine.channelLost(now: .now())
    }

    // MARK: Calls

    func call<Request: ServiceRequest>(
        _ request: Request,
        timeout: TimeAmount? = nil,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) -> Request.Response {
        if timeout == nil, let deadline, deadline <= .now() {
            throw OPCUAClientError(
                .timeout,
                "no time was left for it: an attempt has \(configuration.connectionTimeout) ms in all (OPC_CONNECTION_TIMEOUT_MS)",
                status: .badTimeout
            )
        }
        guard let channel else { throw .stopped }
        return try await channel.call(
            request,
            authenticationToken: authenticationToken,
            timeout: timeout ?? self.timeout
        )
    }

    /// Part 4, 5.5.4.
    func getEndpoints(
        url: EndpointURL,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) -> [EndpointDescription] {
        try await call(GetEndpointsRequest(endpointUrl: url.serverURL)).endpoints
    }

    // MARK: Session

    /// CreateSession and ActivateSession (Part 4, 5.7.2 and 5.7.3), then what every new session has to learn.
    func create(
        url: EndpointURL,
        name: String,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) {
        machine.gone()
        if server == nil {
            step = .endpoints
            // Every time: another server of a redundant set, or the same after a change, may offer others.
            endpoints = try await getEndpoints(url: url)
            endpoint = try EndpointSelection.endpoint(
                in: endpoints,
                mode: configuration.securityMode,
                policyURI: try policy().uri
            )
        }
        step = .createSession
        let nonce = try clientNonce()
        let request = CreateSessionRequest(
            clientDescription: ApplicationDescription(
                applicationUri: security?.applicationURI ?? configuration.applicationURI,
                productUri: configuration.productURI,
                applicationName: LocalizedText(configuration.applicationName),
                applicationType: .client
            ),
            endpointUrl: url.serverURL,
            sessionName: name,
            clientNonce: nonce,
            clientCertificate: server == nil ? nil : security?.identity.chain.byteString,
            requestedSessionTimeout: configuration.sessionTimeout,
            maxResponseMessageSize: UInt32(TransportLimits.maxMessageSize)
        )
        let response = withLeafCertificate(try await call(request))
        let action = machine.created(
            response,
            needsNonce: server != nil,
            expectedCertificate: server?.certificate.der
        )
        if case .fail(let error) = action { throw error }
        do throws(OPCUAClientError) {
            try verify(response, clientNonce: nonce)
            try await activate(url: url)
        } catch {
            // Refused users must not eat up the server's sessions.
            if channel?.failure == nil { await close(deleteSubscriptions: true, timeout: .seconds(1)) }
            throw error
        }
    }

    /// Part 4, 5.7.2.2: at least 32 bytes, never used before; also where no policy asks for it, as some servers insist.
    private func clientNonce() throws(OPCUAClientError) -> [UInt8] {
        do throws(SecurityError) { return try SecureRandom.bytes(32) } catch {
            throw .security(error, in: "CreateSession")
        }
    }

    /// ActivateSession (Part 4, 5.7.3), of a new session or of the old one on a new channel.
    func activate(url: EndpointURL, isolation: isolated (any Actor)? = #isolation) async throws(OPCUAClientError) {
        step = .activateSession
        let user = try await userToken(url: url)
        let response = try await call(
            ActivateSessionRequest(
                clientSignature: try clientSignature(),
                localeIds: ["en"],
                userIdentityToken: user.token,
                userTokenSignature: user.signature
            )
        )
        if server != nil, (response.serverNonce?.count ?? 0) < 32 {
            throw OPCUAClientError(
                .security,
                "ActivateSession: the server sent a nonce of less than 32 bytes",
                status: .badNonceInvalid
            )
        }
        if case .fail(let error) = machine.activated(serverNonce: response.serverNonce, now: .now()) { throw error }
    }

    /// CloseSession (Part 4, 5.7.4); its failure does not matter any more.
    func close(
        deleteSubscriptions: Bool,
        timeout: TimeAmount,
        isolation: isolated (any Actor)? = #isolation
    ) async {
        guard channel != nil, machine.session != nil else { return }
        _ = try? await call(CloseSessionRequest(deleteSubscriptions: deleteSubscriptions), timeout: timeout)
        machine.gone()
    }
}
