import OPCUACodec
import OPCUASecurity

/// What a server offers, proves and demands. Fixed for a run.
struct ServerSecurity: Sendable {
    var offers: [SecurityOffer] = [.none]
    /// Present when anything but policy None is offered.
    var identity: ApplicationIdentity?
    var allowsAnonymous = true
    /// The only user name and password taken; nil takes any.
    var user: (name: String, password: String)?
    /// Certificates that users may come with.
    var userCertificates: [Certificate] = []
    /// Whose clients are taken; nil: everybody's.
    var trustStore: TrustStore?

    /// Policies a channel may be opened with. None always: discovery needs no security (Part 4, 5.5.1).
    var policies: Set<SecurityPolicy> { Set(offers.map(\.policy)).union([.none]) }

    func isOffered(_ policy: SecurityPolicy, _ mode: MessageSecurityMode) -> Bool {
        offers.contains(SecurityOffer(policy: policy, mode: mode))
    }

    /// The policy that secures a user's secret on an endpoint without security: a server that can has it encrypted.
    var userPolicyOfNone: SecurityPolicy {
        guard identity != nil else { return .none }
        let offered = offers.map(\.policy).filter { $0 != .none }
        return offered.contains(.basic256Sha256) ? .basic256Sha256 : offered.first ?? .basic256Sha256
    }

    /// The ways a user may prove who it is on an endpoint.
    func userTokens(_ offer: SecurityOffer) -> [UserTokenPolicy] {
        var tokens: [UserTokenPolicy] = []
        if allowsAnonymous {
            tokens.append(UserTokenPolicy(policyId: FieldServer.anonymousPolicy, tokenType: .anonymous))
        }
        // Absent means the endpoint's (Part 4, 7.42).
        let uri: String? = offer.policy == .none ? userPolicyOfNone.uri : nil
        tokens.append(
            UserTokenPolicy(policyId: FieldServer.userNamePolicy, tokenType: .userName, securityPolicyUri: uri)
        )
        if !userCertificates.isEmpty {
            tokens.append(
                UserTokenPolicy(
                    policyId: FieldServer.certificatePolicy,
                    tokenType: .certificate,
                    securityPolicyUri: uri
                )
            )
        }
        return tokens
    }
}

/// How a connection is secured: what sessions have to be held against.
struct PeerSecurity: Sendable {
    var offer = SecurityOffer.none
    /// The client's application instance certificate; nil under policy None.
    var certificate: Certificate?
}
