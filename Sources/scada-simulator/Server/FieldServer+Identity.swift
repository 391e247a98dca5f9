import OPCUACodec
import OPCUASecurity

/// Proofs of applications and users (Part 4, 5.7.2, 5.7.3 and 7.40).
extension FieldServer {
    private var security: ServerSecurity { configuration.security }

    /// What a client has to show before it gets a session.
    func checkClient(_ request: CreateSessionRequest, _ peer: PeerSecurity) throws(ServiceFailure) {
        guard security.isOffered(peer.offer.policy, peer.offer.mode) else {
            throw ServiceFailure(.badSecurityModeInsufficient)
        }
        guard let certificate = peer.certificate else { return }
        guard let nonce = request.clientNonce, nonce.count >= 32 else { throw ServiceFailure(.badNonceInvalid) }
        guard let sent = request.clientCertificate, sent.starts(with: certificate.der) else {
            throw ServiceFailure(.badCertificateInvalid)
        }
        guard let uri = request.clientDescription.applicationUri, certificate.uris.contains(uri) else {
            throw ServiceFailure(.badCertificateUriInvalid)
        }
    }

    /// Our proof of owning the certificate.
    func serverSignature(_ request: CreateSessionRequest, _ peer: PeerSecurity) throws(ServiceFailure) -> SignatureData
    {
        guard let certificate = peer.certificate, let identity = security.identity else { return SignatureData() }
        do throws(SecurityError) {
            return try SessionSignature.sign(
                policy: peer.offer.policy,
                key: identity.key,
                peerCertificate: certificate,
                peerNonce: request.clientNonce
            )
        } catch {
            throw ServiceFailure(error.status)
        }
    }

    /// The client's proof of owning its certificate.
    func checkSignature(_ request: ActivateSessionRequest, _ session: Session, _ peer: PeerSecurity)
        throws(ServiceFailure)
    {
        // A session stays with the application that made it.
        guard session.certificate == peer.certificate, session.policy == peer.offer.policy else {
            throw ServiceFailure(.badSecurityChecksFailed)
        }
        guard let certificate = peer.certificate, let identity = security.identity else { return }
        do throws(SecurityError) {
            try SessionSignature.verify(
                request.clientSignature,
                policy: peer.offer.policy,
                peerCertificate: certificate,
                ownChain: identity.chain,
                ownNonce: session.nonce
            )
        } catch {
            throw ServiceFailure(.badApplicationSignatureInvalid)
        }
    }

    /// Who the user of a token is; nil is anonymous.
    func identify(
        _ request: ActivateSessionRequest,
        _ session: Session,
        _ peer: PeerSecurity
    ) throws(ServiceFailure) -> String? {
        let token = request.userIdentityToken
        let anonymous: AnonymousIdentityToken?
        let named: UserNameIdentityToken?
        let certified: X509IdentityToken?
        do throws(DecodingError) {
            anonymous = try token.decoded(as: AnonymousIdentityToken.self)
            named = try token.decoded(as: UserNameIdentityToken.self)
            certified = try token.decoded(as: X509IdentityToken.self)
        } catch {
            throw ServiceFailure(.badIdentityTokenInvalid)
        }
        // No token at all is anonymous too (Part 4, 5.7.3).
        if token.typeId.isNull || anonymous != nil {
            guard security.allowsAnonymous else { throw ServiceFailure(.badIdentityTokenRejected) }
            return nil
        }
        let policy = peer.offer.policy == .none ? security.userPolicyOfNone : peer.offer.policy
        if let named { return try userName(named, policy, session) }
        if let certified { return try user(certified, request.userTokenSignature, policy, session) }
        throw ServiceFailure(.badIdentityTokenRejected)
    }

    private func userName(
        _ token: UserNameIdentityToken,
        _ policy: SecurityPolicy,
        _ session: Session
    ) throws(ServiceFailure) -> String {
        guard let name = token.userName, !name.isEmpty else { throw ServiceFailure(.badIdentityTokenInvalid) }
        let algorithm = token.encryptionAlgorithm ?? ""
        // Part 4, 7.41.4: a secret that the token policy wants encrypted is not taken in plain text.
        guard algorithm.isEmpty == (policy == .none) else { throw ServiceFailure(.badIdentityTokenInvalid) }
        let password: String
        do throws(SecurityError) {
            password = try UserTokenEncryption.decrypt(
                EncryptedPassword(bytes: token.password ?? [], algorithmURI: algorithm.isEmpty ? nil : algorithm),
                policy: policy,
                key: security.identity?.key,
                serverNonce: session.nonce
            )
        } catch {
            throw ServiceFailure(.badIdentityTokenInvalid)
        }
        if let user = security.user, user.name != name || user.password != password {
            throw ServiceFailure(.badUserAccessDenied)
        }
        return name
    }

    private func user(
        _ token: X509IdentityToken,
        _ signature: SignatureData,
        _ policy: SecurityPolicy,
        _ session: Session
    ) throws(ServiceFailure) -> String {
        guard let identity = security.identity, policy != .none else { throw ServiceFailure(.badIdentityTokenInvalid) }
        do throws(SecurityError) {
            let chain = try CertificateChain(byteString: token.certificateData ?? [])
            guard security.userCertificates.contains(chain.leaf) else { throw SecurityError(.badNothingToDo, "") }
            try SessionSignature.verify(
                signature,
                policy: policy,
                peerCertificate: chain.leaf,
                ownChain: identity.chain,
                ownNonce: session.nonce
            )
            return "\(chain.leaf.thumbprint)"
        } catch {
            switch error.code {
            case .badNothingToDo: throw ServiceFailure(.badIdentityTokenRejected)
            case .badCertificateInvalid: throw ServiceFailure(.badIdentityTokenInvalid)
            default: throw ServiceFailure(.badUserSignatureInvalid)
            }
        }
    }
}
