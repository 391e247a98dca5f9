import NIOCore
import OPCUACodec
import OPCUASecurity

/// Secured channels: whom they are opened with, and the proofs of CreateSession and ActivateSession.
extension ClientSession {
    /// The configured policy.
    ///
    /// - Throws: `invalidConfiguration` when it is unknown, deprecated and not allowed, or does not go with the mode.
    func policy() throws(OPCUAClientError) -> SecurityPolicy {
        func wrong(_ message: String, _ advice: String) -> OPCUAClientError {
            OPCUAClientError(
                .invalidConfiguration,
                message,
                status: .badSecurityPolicyRejected,
                advice: advice,
                isRetriedAtLongestDelayOnly: true
            )
        }
        let text = configuration.securityPolicyURI
        guard let policy = SecurityPolicy(text) else {
            let names = SecurityPolicy.allCases.filter { !$0.isDeprecated }.map(\.name)
            throw wrong("the security policy \(text) is not known", "Known are \(names.joined(separator: ", "))")
        }
        if policy.isDeprecated && !configuration.allowDeprecatedPolicies {
            throw wrong(
                "the security policy \(policy.name) is deprecated: its algorithms are broken",
                "Use a newer one, or set OPC_ALLOW_DEPRECATED_POLICIES=true where the server has no other"
            )
        }
        guard (policy == .none) == (configuration.securityMode == .none) else {
            throw wrong(
                "the security mode \(EndpointSelection.name(configuration.securityMode)) does not go with the policy "
                    + policy.name,
                "Mode None goes with policy None; Sign and SignAndEncrypt go with the others"
            )
        }
        return policy
    }

    /// GetEndpoints over a channel of its own without security (Part 4, 5.5.4): how a server's certificate is found out
    /// before a secured channel can be opened.
    func discover(
        _ url: EndpointURL,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) -> [EndpointDescription] {
        step = .connect
        let channel = try await dial(
            url,
            parameters: ClientChannel.Parameters(
                endpointURL: url.serverURL,
                channelLifetime: configuration.channelLifetime,
                openTimeout: timeout
            )
        )
        defer { channel.closeOrderly() }
        step = .endpoints
        try await channel.opened()
        return try await channel.call(GetEndpointsRequest(endpointUrl: url.serverURL), timeout: timeout).endpoints
    }

    /// The security of the next channel: None, or that of a server whose certificate is trusted.
    ///
    /// - Parameter reuses: the endpoint of the session that is to be taken up again will do.
    func channelSecurity(
        for url: EndpointURL,
        reuses: Bool,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) -> ChannelSecurity {
        let policy = try policy()
        guard policy != .none else {
            server = nil
            return .unsecured(role: .client)
        }
        guard let own = security?.identity else {
            throw OPCUAClientError(
                .invalidConfiguration,
                "a secured channel needs this client's own certificate, and there is none",
                status: .badSecurityPolicyRejected
            )
        }
        if endpoint == nil || !reuses {
            endpoints = try await discover(url)
            endpoint = try EndpointSelection.endpoint(
                in: endpoints,
                mode: configuration.securityMode,
                policyURI: policy.uri
            )
        }
        step = .certificate
        let certificate = try await trusted(endpoint?.serverCertificate, url: url, policy: policy)
        server = TrustedServer(certificate: certificate, policy: policy)
        do throws(SecurityError) {
            return try ChannelSecurity(
                role: .client,
                policy: policy,
                mode: configuration.securityMode,
                own: own,
                peer: certificate
            )
        } catch {
            throw .security(error, in: "the secured channel")
        }
    }

    /// Has the trust store decide about a server's certificate.
    private func trusted(
        _ bytes: [UInt8]?,
        url: EndpointURL,
        policy: SecurityPolicy,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) -> Certificate {
        guard let bytes, !bytes.isEmpty else {
            throw OPCUAClientError(
                .security,
                "the server offers a secured endpoint without a certificate",
                status: .badCertificateInvalid
            )
        }
        guard let store = security?.trustStore else {
            throw OPCUAClientError(.security, "there is no trust store", status: .badCertificateUntrusted)
        }
        let expectation = CertificateExpectation(
            purpose: .server,
            hostName: url.host,
            applicationUri: endpoint?.server.applicationUri,
            policy: policy
        )
        let now = WallClock.unixMicroseconds() / 1_000_000
        let verdict = try await OPCUAClientError.offLoop {
            try store.validate(byteString: bytes, expecting: expectation, now: now)
        }
        if let problem = verdict.problem {
            throw OPCUAClientError(
                .certificate(problem.check),
                problem.message,
                status: problem.status,
                advice: problem.advice
            )
        }
        guard let leaf = verdict.chain.first else {
            throw OPCUAClientError(.security, "the server's certificate is empty", status: .badCertificateInvalid)
        }
        return leaf
    }

    // MARK: CreateSession

    /// Checks what the server proves in its CreateSessionResponse (Part 4, 5.7.2.2): its certificate is that of the
    /// endpoint, it has the key, and nobody took endpoints away from the list seen before.
    func verify(_ response: CreateSessionResponse, clientNonce: [UInt8]) throws(OPCUAClientError) {
        guard let server, let own = security?.identity else { return }
        do throws(SecurityError) {
            try SessionSignature.verify(
                response.serverSignature,
                policy: server.policy,
                peerCertificate: server.certificate,
                ownChain: own.chain,
                ownNonce: clientNonce
            )
        } catch {
            throw .security(error, in: "CreateSession")
        }
        // Servers that leave the list empty are older than the rule.
        guard !response.serverEndpoints.isEmpty, let endpoint else { return }
        let isListed = response.serverEndpoints.contains {
            $0.securityMode == endpoint.securityMode && $0.securityPolicyUri == endpoint.securityPolicyUri
                && $0.serverCertificate == endpoint.serverCertificate
        }
        guard isListed else {
            throw OPCUAClientError(
                .security,
                "CreateSession: the server does not list the endpoint that GetEndpoints gave; somebody may have altered"
                    + " its answer",
                status: .badSecurityChecksFailed
            )
        }
    }

    /// The response with the leaf certificate alone, where the server sent a chain.
    func withLeafCertificate(_ response: CreateSessionResponse) -> CreateSessionResponse {
        guard let server, let sent = response.serverCertificate, sent.starts(with: server.certificate.der) else {
            return response
        }
        var response = response
        response.serverCertificate = server.certificate.der
        return response
    }

    /// Proof of our key for ActivateSession.
    func clientSignature() throws(OPCUAClientError) -> SignatureData {
        guard let server, let own = security?.identity else { return SignatureData() }
        do throws(SecurityError) {
            return try SessionSignature.sign(
                policy: server.policy,
                key: own.key,
                peerCertificate: server.certificate,
                peerNonce: machine.session?.serverNonce
            )
        } catch {
            throw .security(error, in: "ActivateSession")
        }
    }

    // MARK: Users

    /// The identity token and the proof that goes with it (Part 4, 7.40).
    func userToken(
        url: EndpointURL,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) -> (token: ExtensionObject, signature: SignatureData) {
        guard let endpoint else {
            throw OPCUAClientError(.protocolViolation, "no endpoint was chosen before ActivateSession")
        }
        let token = try EndpointSelection.tokenPolicy(in: endpoint, identity: configuration.identity)
        switch configuration.identity {
        case .anonymous: return (ExtensionObject(AnonymousIdentityToken(policyId: token.policyId)), SignatureData())
        case .userName(let name, let password):
            let policy = try tokenSecurity(token, endpoint)
            let encrypted = try await encrypt(password, policy, url: url)
            let identity = UserNameIdentityToken(
                policyId: token.policyId,
                userName: name,
                password: encrypted.bytes,
                encryptionAlgorithm: encrypted.algorithmURI
            )
            return (ExtensionObject(identity), SignatureData())
        case .x509(let certificatePath, let keyPath):
            let policy = try tokenSecurity(token, endpoint)
            let user = try await OPCUAClientError.offLoop {
                try UserCertificate.load(certificatePath: certificatePath, keyPath: keyPath)
            }
            return (
                ExtensionObject(
                    X509IdentityToken(policyId: token.policyId, certificateData: user.chain.byteString)
                ),
                try await sign(as: user, policy, url: url)
            )
        }
    }

    /// The policy of a user token: its own, or the endpoint's.
    private func tokenSecurity(
        _ token: UserTokenPolicy,
        _ endpoint: EndpointDescription
    ) throws(OPCUAClientError) -> SecurityPolicy {
        let uri = token.securityPolicyUri.flatMap { $0.isEmpty ? nil : $0 } ?? endpoint.securityPolicyUri ?? ""
        if uri.isEmpty { return .none }
        guard let policy = SecurityPolicy(uri), !policy.isDeprecated || configuration.allowDeprecatedPolicies else {
            throw OPCUAClientError(
                .security,
                "the server wants the user's secret secured with \(EndpointSelection.shortPolicy(uri)), which is "
                    + (SecurityPolicy(uri) == nil ? "not known here" : "deprecated"),
                status: .badSecurityPolicyRejected,
                isRetriedAtLongestDelayOnly: true
            )
        }
        return policy
    }

    /// The server's certificate for a user's secret: that of the secured channel, else the one it named, which the trust
    /// store has to accept, as anybody could have named one.
    private func certificateForUser(
        _ policy: SecurityPolicy,
        url: EndpointURL,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) -> Certificate {
        if let server { return server.certificate }
        let bytes = machine.session?.serverCertificate ?? endpoint?.serverCertificate
        return try await trusted(bytes, url: url, policy: policy)
    }

    private func encrypt(
        _ password: Secret,
        _ policy: SecurityPolicy,
        url: EndpointURL,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) -> EncryptedPassword {
        var certificate: Certificate?
        if policy != .none {
            certificate = try await certificateForUser(policy, url: url)
        } else if configuration.securityMode != .signAndEncrypt && !configuration.allowPlaintextPassword {
            throw OPCUAClientError(
                .security,
                "the password would cross the network in plain text: the channel is not encrypted and the "
                    + "server's token policy does not encrypt it",
                status: .badSecurityPolicyRejected,
                advice: "Use SignAndEncrypt, or set OPC_ALLOW_PLAINTEXT_PASSWORD=true where the network is trusted",
                isRetriedAtLongestDelayOnly: true
            )
        }
        do throws(SecurityError) {
            return try UserTokenEncryption.encrypt(
                password: password.revealed,
                policy: policy,
                serverCertificate: certificate,
                serverNonce: machine.session?.serverNonce
            )
        } catch {
            throw .security(error, in: "the user's password")
        }
    }

    private func sign(
        as user: UserCertificate,
        _ policy: SecurityPolicy,
        url: EndpointURL,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) -> SignatureData {
        guard policy != .none else {
            throw OPCUAClientError(
                .security,
                "the server does not ask for a proof of the user certificate's key: anybody could use it",
                status: .badIdentityTokenInvalid,
                advice: "Configure Sign or SignAndEncrypt",
                isRetriedAtLongestDelayOnly: true
            )
        }
        let certificate = try await certificateForUser(policy, url: url)
        do throws(SecurityError) {
            return try SessionSignature.sign(
                policy: policy,
                key: user.key,
                peerCertificate: certificate,
                peerNonce: machine.session?.serverNonce
            )
        } catch {
            throw .security(error, in: "the user certificate")
        }
    }
}
