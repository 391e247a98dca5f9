#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif
import NIOCore
import NIOPosix
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
    private(set) var namespaces: [String] = []
    var limits: ServerLimits
    /// By then everything of this attempt has to be done; nil outside of attempts.
    var deadline: NIODeadline?
    private var dialing: EventLoopPromise<any Channel>?

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
        try await channel.opened()
        limits.sendChunkSize = channel.limits?.sendChunkSize
        limits.receiveChunkSize = channel.limits?.receiveChunkSize
    }

    /// Fails the TCP connection that is being made.
    func abandonDial() { dialing?.fail(OPCUAClientError.stopped) }

    private func dial(
        _ url: EndpointURL,
        parameters: ClientChannel.Parameters,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) -> ClientChannel {
        var bootstrap = ClientBootstrap(group: eventLoop)
            .connectTimeout(timeout)
            .channelOption(.socketOption(.so_keepalive), value: 1)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            // Small to begin with: a thousand quiet connections must not hold a thousand large buffers.
            .channelOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(minimum: 512, initial: 2048, maximum: 262_144)
            )
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(ClientChannel(parameters))
                }
            }
        #if os(Linux)
        // TCP_USER_TIMEOUT: bytes not acknowledged for so long break the connection, whatever the kernel's patience.
        bootstrap = bootstrap.channelOption(
            ChannelOptions.Types.SocketOption(level: .tcp, name: .init(rawValue: 18)),
            value: 20_000
        )
        #endif
        do {
            let promise = eventLoop.makePromise(of: (any Channel).self)
            dialing = promise
            defer { dialing = nil }
            // Failed by `abandonDial`, the promise leaves nobody who would close a connection that comes late.
            bootstrap.connect(host: url.host, port: url.port).whenComplete { result in
                promise.completeWith(result)
                promise.futureResult.whenFailure { _ in
                    if case .success(let late) = result { late.close(promise: nil) }
                }
            }
            let channel = try await promise.futureResult.get()
            return try channel.pipeline.syncOperations.handler(type: ClientChannel.self)
        } catch {
            if let stopped = error as? OPCUAClientError { throw stopped }
            throw OPCUAClientError(
                .connectFailed,
                "cannot connect to \(url.host) port \(url.port): \(Self.words(error))",
                status: .badConnectionRejected,
                advice: "Check that the server runs, the name resolves, and no firewall is between"
            )
        }
    }

    /// NIO's errors in one line.
    private static func words(_ error: any Error) -> String {
        if let error = error as? NIOConnectionError {
            if let dns = error.dnsAError ?? error.dnsAAAAError { return "the name does not resolve (\(dns))" }
            let reasons = error.connectionErrors.map { words($0.error) }
            return reasons.isEmpty ? "no address" : reasons.joined(separator: ", ")
        }
        if let error = error as? IOError { return systemError(error.errnoCode) }
        if let error = error as? ChannelError, case .connectTimeout(let after) = error {
            return "no answer within \(after.nanoseconds / 1_000_000) ms"
        }
        return "\(error)"
    }

    private static func systemError(_ code: CInt) -> String {
        switch code {
        case ECONNREFUSED: "connection refused"
        case EHOSTUNREACH, ENETUNREACH: "no route to the host"
        case ECONNRESET: "connection reset"
        case ETIMEDOUT: "no answer"
        case EMFILE, ENFILE: "this process has no file descriptor left"
        default: "system error \(code)"
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
        // Every time: another server of a redundant set, or the same after a change, may offer others.
        endpoint = try EndpointSelection.endpoint(
            in: try await getEndpoints(url: url),
            mode: configuration.securityMode,
            policyURI: configuration.securityPolicyURI
        )
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

    /// Namespaces and limits: read in every new session.
    func learn(isolation: isolated (any Actor)? = #isolation) async throws(OPCUAClientError) {
        try await readNamespaces()
        try await readLimits()
    }

    func readNamespaces(isolation: isolated (any Actor)? = #isolation) async throws(OPCUAClientError) {
        let values = try await read([WellKnownNodeId.serverNamespaceArray])
        guard let value = values.first, case .array(.string, let elements, _) = value.value else {
            throw OPCUAClientError(
                .protocolViolation,
                "the server's namespace table cannot be read",
                status: values.first?.status
            )
        }
        namespaces = elements.map { element in
            if case .string(let text) = element { return text ?? "" }
            return ""
        }
    }

    /// Part 5, 6.3.2 and 6.3.11. Every one of these nodes is optional.
    private func readLimits(isolation: isolated (any Actor)? = #isolation) async throws(OPCUAClientError) {
        let nodes: [(NodeId, (inout ServerLimits, Variant) -> Void)] = [
            (
                WellKnownNodeId.serverServerCapabilitiesOperationLimitsMaxNodesPerRead,
                { $0.maxNodesPerRead = $1.number }
            ),
            (
                WellKnownNodeId.serverServerCapabilitiesOperationLimitsMaxNodesPerBrowse,
                { $0.maxNodesPerBrowse = $1.number }
            ),
            (
                WellKnownNodeId.serverServerCapabilitiesOperationLimitsMaxMonitoredItemsPerCall,
                { $0.maxMonitoredItemsPerCall = $1.number }
            ),
            (
                WellKnownNodeId.serverServerCapabilitiesOperationLimitsMaxNodesPerHistoryReadData,
                { $0.maxNodesPerHistoryReadData = $1.number }
            ),
            (
                WellKnownNodeId.serverServerCapabilitiesMaxMonitoredItemsPerSubscription,
                { $0.maxMonitoredItemsPerSubscription = $1.number }
            ),
            (
                WellKnownNodeId.serverServerCapabilitiesMaxSubscriptionsPerSession,
                { $0.maxSubscriptionsPerSession = $1.number }
            ),
            (
                WellKnownNodeId.serverServerCapabilitiesMaxMonitoredItemsQueueSize,
                { $0.maxMonitoredItemsQueueSize = $1.number }
            ),
            (
                WellKnownNodeId.serverServerCapabilitiesMaxBrowseContinuationPoints,
                { $0.maxBrowseContinuationPoints = $1.number.map { UInt16(clamping: $0) } }
            ),
            (
                WellKnownNodeId.serverServerCapabilitiesMinSupportedSampleRate,
                { if case .double(let rate) = $1 { $0.minSupportedSampleRate = rate } }
            ),
        ]
        let values: [DataValue]
        do throws(OPCUAClientError) {
            values = try await read(nodes.map(\.0))
        } catch {
            // A server that refuses to tell its limits is not a reason to go without its values.
            if error.code == .serviceFault { return }
            throw error
        }
        for (node, value) in zip(nodes, values) where !value.status.isBad { node.1(&limits, value.value) }
    }

    /// Reads one attribute of each node, in calls the server bears.
    func read(
        _ nodes: [NodeId],
        attribute: UInt32 = AttributeId.value,
        timestamps: TimestampsToReturn = .both,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) -> [DataValue] {
        var values: [DataValue] = []
        values.reserveCapacity(nodes.count)
        var rest = nodes[...]
        while !rest.isEmpty {
            let part = rest.prefix(limits.nodesPerRead)
            rest = rest.dropFirst(part.count)
            let response = try await call(
                ReadRequest(
                    timestampsToReturn: timestamps,
                    nodesToRead: part.map { ReadValueId(nodeId: $0, attributeId: attribute) }
                )
            )
            guard response.results.count == part.count else {
                throw OPCUAClientError(
                    .protocolViolation,
                    "Read of \(part.count) nodes was answered with \(response.results.count) values"
                )
            }
            values += response.results
        }
        return values
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

/// Part 6, A.1.
package enum AttributeId {
    package static let nodeClass: UInt32 = 2
    package static let browseName: UInt32 = 3
    package static let displayName: UInt32 = 4
    package static let description: UInt32 = 5
    package static let value: UInt32 = 13
    package static let dataType: UInt32 = 14
    package static let valueRank: UInt32 = 15
    package static let accessLevel: UInt32 = 17
    package static let userAccessLevel: UInt32 = 18
    package static let minimumSamplingInterval: UInt32 = 19
    package static let historizing: UInt32 = 20
    package static let dataTypeDefinition: UInt32 = 23
}

extension Variant {
    /// A limit: any unsigned integer type servers answer with.
    var number: UInt32? {
        switch self {
        case .uint32(let value): value
        case .uint16(let value): UInt32(value)
        case .byte(let value): UInt32(value)
        case .uint64(let value): UInt32(clamping: value)
        case .int32(let value): UInt32(clamping: value)
        default: nil
        }
    }
}
