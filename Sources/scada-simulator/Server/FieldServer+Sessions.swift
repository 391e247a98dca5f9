import OPCUACodec
import OPCUASecurity

/// GetEndpoints and the session service set (Part 4, 5.5.4 and 5.7).
extension FieldServer {
    static let anonymousPolicy = "anonymous"
    static let userNamePolicy = "username"
    static let certificatePolicy = "certificate"
    static let transportProfile = "http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary"
    static let productURI = "urn:scada-simulator"

    var applicationDescription: ApplicationDescription {
        ApplicationDescription(
            applicationUri: configuration.applicationURI,
            productUri: Self.productURI,
            applicationName: LocalizedText("Simulated oil field", locale: "en"),
            applicationType: .server,
            discoveryUrls: [configuration.endpointURL]
        )
    }

    /// `url` is what the client calls us: endpoints repeat it, so that it can reach them through any name or tunnel.
    func endpoints(url: String?) -> [EndpointDescription] {
        let url = url.flatMap { $0.hasPrefix("opc.tcp://") ? $0 : nil } ?? configuration.endpointURL
        let security = configuration.security
        return security.offers.map { offer in
            EndpointDescription(
                endpointUrl: url,
                server: applicationDescription,
                serverCertificate: security.identity?.chain.byteString,
                securityMode: offer.mode,
                securityPolicyUri: offer.policy.uri,
                userIdentityTokens: security.userTokens(offer),
                transportProfileUri: Self.transportProfile,
                securityLevel: offer.level
            )
        }
    }

    func getEndpoints(_ request: GetEndpointsRequest) -> GetEndpointsResponse {
        let wanted = request.profileUris.compactMap { $0 }
        let fits = wanted.isEmpty || wanted.contains(Self.transportProfile)
        return GetEndpointsResponse(endpoints: fits ? endpoints(url: request.endpointUrl) : [])
    }

    func createSession(_ request: CreateSessionRequest, _ call: Call) throws(ServiceFailure) -> CreateSessionResponse {
        let peer = call.peer.security
        try checkClient(request, peer)
        guard sessions.count < limits.sessions else { throw ServiceFailure(.badTooManySessions) }
        let signature = try serverSignature(request, peer)
        let timeout = limits.sessionTimeout.clamp(request.requestedSessionTimeout)
        let session = Session(
            id: NodeId(1, nextSessionNumber),
            token: NodeId(namespaceIndex: 1, identifier: .opaque(Self.random(32))),
            name: request.sessionName ?? "",
            timeout: Int64(timeout * 1e6),
            maximumResponseSize: Int(request.maxResponseMessageSize),
            peer: call.peer,
            now: now
        )
        nextSessionNumber += 1
        sessions[session.token] = session
        return CreateSessionResponse(
            sessionId: session.id,
            authenticationToken: session.token,
            revisedSessionTimeout: timeout,
            serverNonce: renewNonce(session),
            serverCertificate: configuration.security.identity?.chain.byteString,
            serverEndpoints: endpoints(url: request.endpointUrl),
            serverSignature: signature,
            maxRequestMessageSize: UInt32(limits.messageSize)
        )
    }

    func activateSession(
        _ request: ActivateSessionRequest,
        _ call: Call
    ) throws(ServiceFailure) -> ActivateSessionResponse {
        guard let session = sessions[call.header.authenticationToken] else {
            throw ServiceFailure(.badSessionIdInvalid)
        }
        let peer = call.peer.security
        try checkSignature(request, session, peer)
        let user = try identify(request, session, peer)
        if session.isActivated {
            // The same user may move the session to a new channel (Part 4, 5.7.3); ours does not change users.
            guard session.user == user else { throw ServiceFailure(.badIdentityChangeNotSupported) }
        } else {
            guard session.peer === call.peer else { throw ServiceFailure(.badSecureChannelIdInvalid) }
        }
        if let old = session.peer, old !== call.peer { session.forgetCalls(of: old) }
        session.peer = call.peer
        session.user = user
        session.isActivated = true
        session.lastUse = now
        return ActivateSessionResponse(serverNonce: renewNonce(session))
    }

    private func renewNonce(_ session: Session) -> [UInt8] {
        session.nonce = Self.random(32)
        return session.nonce
    }

    func closeSession(_ request: CloseSessionRequest, _ call: Call) throws(ServiceFailure) -> CloseSessionResponse {
        guard let session = sessions[call.header.authenticationToken] else {
            throw ServiceFailure(.badSessionIdInvalid)
        }
        guard session.peer === call.peer else { throw ServiceFailure(.badSecureChannelIdInvalid) }
        end(session, .badSessionClosed, deleteSubscriptions: request.deleteSubscriptions)
        return CloseSessionResponse()
    }

    /// Answers what waits in the session and forgets it; its subscriptions stay for others to take over, or go.
    func end(_ session: Session, _ reason: StatusCode, deleteSubscriptions: Bool) {
        sessions[session.token] = nil
        for call in session.publishCalls { refuse(call, reason) }
        session.publishCalls = []
        for subscription in session.subscriptions {
            subscription.session = nil
            if deleteSubscriptions { delete(subscription) }
        }
        session.subscriptions = []
    }

    func expireSessions() {
        // A session in use is not looked at for long: there are few, and this runs every tick.
        for session in sessions.values where now - session.lastUse > session.timeout {
            end(session, .badSessionIdInvalid, deleteSubscriptions: false)
        }
    }

    /// A connection is gone: sessions and subscriptions stay, for a client that comes back in time.
    func closed(_ peer: any Peer) {
        for session in sessions.values where session.peer === peer {
            session.forgetCalls(of: peer)
            session.peer = nil
            // Nobody can activate what nobody was told about.
            if !session.isActivated { sessions[session.token] = nil }
        }
    }

    static func random(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8.random(in: 0...255) } }
}

extension ClosedRange<Double> {
    /// The nearest number in the range; its lower bound for what is not a number.
    func clamp(_ value: Double) -> Double { value > lowerBound ? Swift.min(value, upperBound) : lowerBound }
}
