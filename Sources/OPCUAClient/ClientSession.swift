import NIOCore
import OPCUACodec

/// A session on a channel: what the long-running connection and the tools have in common.
///
/// Confined to the event loop of the actor that owns it.
final class ClientSession {
    let configuration: ConnectionConfiguration
    let eventLoop: any EventLoop
    private(set) var channel: ClientChannel?
    var machine = SessionStateMachine()
    /// The endpoint chosen by GetEndpoints or CreateSession.
    private(set) var endpoint: EndpointDescription?
    /// All that the server offered to the last session.
    private(set) var endpoints: [EndpointDescription] = []
    var namespaces: [String] = []
    var limits: ServerLimits
    /// What is being done or was done last: names the step in which an attempt failed.
    var step = ConnectStep.connect
    /// By then everything of this attempt has to be done; nil outside of attempts.
    var deadline: NIODeadline?
    var dialing: EventLoopPromise<any Channel>?

    init(configuration: ConnectionConfiguration, eventLoop: any EventLoop, limits: ServerLimits) {
        self.configuration = configuration
        self.eventLoop = eventLoop
        self.limits = limits
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
        step = .connect
        let channel = try await dial(
            url,
            parameters: ClientChannel.Parameters(
                endpointURL: url.description,
                securityMode: configuration.securityMode,
                channelLifetime: configuration.channelLifetime,
                openTimeout: timeout,
                makeCodec: { PlainChannelCodec() }
            )
        )
        self.channel = channel
        step = .secureChannel
        try await channel.opened()
        limits.sendChunkSize = channel.limits?.sendChunkSize
        limits.receiveChunkSize = channel.limits?.receiveChunkSize
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
        guard let channel else { throw .stopped }
        return try await channel.call(
            request,
            authenticationToken: machine.authenticationToken,
            timeout: timeout ?? self.timeout
        )
    }

    /// Part 4, 5.5.4.
    func getEndpoints(
        url: EndpointURL,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) -> [EndpointDescription] {
        try await call(GetEndpointsRequest(endpointUrl: url.description)).endpoints
    }

    // MARK: Session

    /// CreateSession and ActivateSession (Part 4, 5.7.2 and 5.7.3), then what every new session has to learn.
    func create(
        url: EndpointURL,
        name: String,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) {
        machine.gone()
        step = .endpoints
        // Every time: another server of a redundant set, or the same after a change, may offer others.
        endpoints = try await getEndpoints(url: url)
        endpoint = try EndpointSelection.endpoint(
            in: endpoints,
            mode: configuration.securityMode,
            policyURI: configuration.securityPolicyURI
        )
        step = .createSession
        let request = CreateSessionRequest(
            clientDescription: ApplicationDescription(
                applicationUri: configuration.applicationURI,
                productUri: configuration.productURI,
                applicationName: LocalizedText(configuration.applicationName),
                applicationType: .client
            ),
            endpointUrl: url.description,
            sessionName: name,
            requestedSessionTimeout: configuration.sessionTimeout,
            maxResponseMessageSize: UInt32(TransportLimits.maxMessageSize)
        )
        let response = try await call(request)
        switch machine.created(response, needsNonce: false, expectedCertificate: nil) {
        case .fail(let error): throw error
        default: break
        }
        do throws(OPCUAClientError) { try await activate() } catch {
            // Refused users must not eat up the server's sessions.
            if channel?.failure == nil { await close(deleteSubscriptions: true, timeout: .seconds(1)) }
            throw error
        }
    }

    func activate(isolation: isolated (any Actor)? = #isolation) async throws(OPCUAClientError) {
        guard let endpoint else {
            throw OPCUAClientError(.protocolViolation, "no endpoint was chosen before ActivateSession")
        }
        step = .activateSession
        let policy = try EndpointSelection.tokenPolicy(in: endpoint, identity: configuration.identity)
        let response = try await call(
            ActivateSessionRequest(
                localeIds: ["en"],
                userIdentityToken: try identityToken(policy, endpoint: endpoint)
            )
        )
        if case .fail(let error) = machine.activated(serverNonce: response.serverNonce, now: .now()) { throw error }
    }

    /// Part 4, 7.40.
    private func identityToken(
        _ policy: UserTokenPolicy,
        endpoint: EndpointDescription
    ) throws(OPCUAClientError) -> ExtensionObject {
        switch configuration.identity {
        case .anonymous: return ExtensionObject(AnonymousIdentityToken(policyId: policy.policyId))
        case .userName(let name, let password):
            let policyURI =
                policy.securityPolicyUri.flatMap { $0.isEmpty ? nil : $0 } ?? endpoint.securityPolicyUri ?? ""
            guard policyURI.hasSuffix("#None") || policyURI.isEmpty else {
                throw OPCUAClientError(
                    .security,
                    "the server asks for a password encrypted with \(EndpointSelection.shortPolicy(policyURI)), "
                        + "which this build cannot do yet",
                    status: .badSecurityPolicyRejected
                )
            }
            if endpoint.securityMode != .signAndEncrypt && !configuration.allowPlaintextPassword {
                throw OPCUAClientError(
                    .security,
                    "the password would cross the network in plain text: the channel is not encrypted and the "
                        + "server's token policy does not encrypt it",
                    status: .badSecurityPolicyRejected,
                    advice: "Use SignAndEncrypt, or set OPC_ALLOW_PLAINTEXT_PASSWORD=true where the network is trusted",
                    isRetriedAtLongestDelayOnly: true
                )
            }
            return ExtensionObject(
                UserNameIdentityToken(
                    policyId: policy.policyId,
                    userName: name,
                    password: Array(password.revealed.utf8)
                )
            )
        case .x509:
            throw OPCUAClientError(
                .security,
                "a user certificate needs a secured channel",
                status: .badIdentityTokenInvalid,
                advice: "Configure Sign or SignAndEncrypt",
                isRetriedAtLongestDelayOnly: true
            )
        }
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

/// What an attempt to connect does one after another; the raw value is fit for people.
package enum ConnectStep: String, Sendable {
    case connect = "connect"
    case secureChannel = "open secure channel"
    case endpoints = "get endpoints"
    case createSession = "create session"
    case activateSession = "activate session"
    case read = "read"
    case browse = "browse"
}
