import FoundationEssentials
import OPCUACodec
import OPCUASecurity

@testable import OPCUAClient

/// What a `ServerDouble` needs for secured channels, and which one thing it does wrong.
struct SecuredSide: Sendable {
    enum Flaw: Sendable, CaseIterable {
        case none, wrongSignature, noSignature, otherCertificate, shortNonce, endpointTakenAway, shortActivateNonce
    }

    let identity: ApplicationIdentity
    let policy: SecurityPolicy
    let flaw: Flaw
    /// Policies the server asks for in user names' tokens.
    var tokenPolicy: SecurityPolicy?

    static func now() -> Int64 { Int64(Date().timeIntervalSince1970) }

    /// A self-signed identity; RSA keys take their time, so the tests share them.
    static func identity(_ uri: String) throws -> ApplicationIdentity {
        let key = try PrivateKey.generate()
        let template = CertificateTemplate.applicationInstance(
            commonName: "test",
            applicationUri: uri,
            hostNames: ["127.0.0.1"],
            now: now()
        )
        return try ApplicationIdentity(chain: CertificateChain(leaf: template.makeCertificate(key: key)), key: key)
    }

    private var endpoints: [EndpointDescription] {
        let tokens = [
            UserTokenPolicy(policyId: "a", tokenType: .anonymous),
            UserTokenPolicy(policyId: "u", tokenType: .userName, securityPolicyUri: tokenPolicy?.uri),
        ]
        func endpoint(_ mode: MessageSecurityMode, _ policy: SecurityPolicy) -> EndpointDescription {
            EndpointDescription(
                server: ApplicationDescription(applicationUri: "urn:double"),
                serverCertificate: identity.chain.byteString,
                securityMode: mode,
                securityPolicyUri: policy.uri,
                userIdentityTokens: tokens
            )
        }
        return [endpoint(.none, .none), endpoint(.sign, policy), endpoint(.signAndEncrypt, policy)]
    }

    // MARK: Channel

    /// nil for a channel without security.
    func codec(for chunk: [UInt8]) -> SecureChannelCodec? {
        guard let header = chunk.withUnsafeBytes({ try? AsymmetricHeader.peek($0) }), header.policyURI == policy.uri,
            let sender = header.senderCertificate, let chain = try? CertificateChain(byteString: sender),
            let security = try? ChannelSecurity(
                role: .server,
                policy: policy,
                mode: nil,
                own: identity,
                peer: chain.leaf
            )
        else { return nil }
        return SecureChannelCodec(security: security)
    }

    struct Opened {
        var codec: SecureChannelCodec
        var response: [UInt8]
        var token: UInt32
        var clientNonce: [UInt8]?
        var serverNonce: [UInt8]?

        func installed(_ codec: SecureChannelCodec?) -> SecureChannelCodec? {
            var codec = codec
            try? codec?.install(channelID: 1, tokenID: token, clientNonce: clientNonce, serverNonce: serverNonce)
            return codec
        }
    }

    func open(_ body: [UInt8], _ codec: SecureChannelCodec) -> Opened? {
        var codec = codec
        let request = try? BinaryDecoder.withBytes(body) { decoder throws(DecodingError) in
            _ = try NodeId(from: &decoder)
            return try OpenSecureChannelRequest(from: &decoder)
        }
        guard let request, (try? codec.choose(mode: request.securityMode)) != nil, let nonce = try? codec.makeNonce()
        else { return nil }
        let token = codec.tokenID + 1
        let response = OpenSecureChannelResponse(
            responseHeader: ResponseHeader(requestHandle: request.requestHeader.requestHandle),
            securityToken: ChannelSecurityToken(channelId: 1, tokenId: token, revisedLifetime: 3_600_000),
            serverNonce: nonce
        )
        return Opened(
            codec: codec,
            response: response.messageBody,
            token: token,
            clientNonce: request.clientNonce,
            serverNonce: nonce
        )
    }

    // MARK: Services

    /// nil where the usual answer will do.
    func answer(_ request: ServerDouble.Request) -> [UInt8]? {
        let header = ServerDouble.header(request)
        let nonce = [UInt8](repeating: 7, count: 32)
        switch request.type {
        case GetEndpointsRequest.binaryEncodingId:
            return GetEndpointsResponse(responseHeader: header, endpoints: endpoints).messageBody
        case CreateSessionRequest.binaryEncodingId:
            guard let create = request.decoded(as: CreateSessionRequest.self) else { return nil }
            var signature = SignatureData()
            if let bytes = create.clientCertificate, let client = try? CertificateChain(byteString: bytes) {
                let signed = flaw == .wrongSignature ? nonce : create.clientNonce
                let made = try? SessionSignature.sign(
                    policy: policy,
                    key: identity.key,
                    peerCertificate: client.leaf,
                    peerNonce: signed
                )
                if flaw != .noSignature { signature = made ?? signature }
            }
            return CreateSessionResponse(
                responseHeader: header,
                sessionId: NodeId(1, 1),
                authenticationToken: NodeId(1, 2),
                revisedSessionTimeout: 60_000,
                serverNonce: flaw == .shortNonce ? [1, 2, 3] : nonce,
                serverCertificate: flaw == .otherCertificate
                    ? Array(identity.chain.byteString.reversed()) : identity.chain.byteString,
                serverEndpoints: flaw == .endpointTakenAway ? [endpoints[0]] : endpoints,
                serverSignature: signature
            ).messageBody
        case ActivateSessionRequest.binaryEncodingId:
            return ActivateSessionResponse(
                responseHeader: header,
                serverNonce: flaw == .shortActivateNonce ? [1] : nonce
            ).messageBody
        default: return nil
        }
    }
}
