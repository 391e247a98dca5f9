package import OPCUACodec

/// Who secures a channel and how: fixed for the channel's life, apart from the mode, which a server learns from the body
/// of the first request.
package struct ChannelSecurity: Sendable {
    package enum Role: Equatable, Sendable { case client, server }

    package let role: Role
    package let policy: SecurityPolicy
    package private(set) var mode: MessageSecurityMode
    /// Both nil under policy None.
    let own: ApplicationIdentity?
    let peer: Certificate?

    /// Policy and mode None: no certificates, no keys.
    package static func unsecured(role: Role) -> ChannelSecurity {
        ChannelSecurity(role, .none, .none, own: nil, peer: nil)
    }

    private init(
        _ role: Role,
        _ policy: SecurityPolicy,
        _ mode: MessageSecurityMode,
        own: ApplicationIdentity?,
        peer: Certificate?
    ) {
        self.role = role
        self.policy = policy
        self.mode = mode
        self.own = own
        self.peer = peer
    }

    /// A channel under a policy other than None.
    ///
    /// Trust in `peer` is the caller's business (``TrustStore``).
    ///
    /// - Parameters:
    ///   - mode: nil while a server does not know it; see ``choose(mode:)``.
    ///   - peer: for a client the server's certificate of the chosen endpoint; for a server the one in the client's
    ///     first OpenSecureChannel message (``AsymmetricHeader``). Another one in a later message closes the channel.
    /// - Throws: `badSecurityPolicyRejected` for None or keys whose length the policy does not allow,
    ///   `badSecurityModeRejected` for mode None.
    package init(
        role: Role,
        policy: SecurityPolicy,
        mode: MessageSecurityMode?,
        own: ApplicationIdentity,
        peer: Certificate
    ) throws(SecurityError) {
        guard let allowed = policy.keyBits else {
            throw SecurityError(.badSecurityPolicyRejected, "policy None takes no certificates")
        }
        for certificate in [own.certificate, peer] where !allowed.contains(certificate.keyBits) {
            throw SecurityError(
                .badSecurityPolicyRejected,
                "the key of certificate \(certificate) has \(certificate.keyBits) bits; \(policy.name) takes"
                    + " \(allowed.lowerBound) to \(allowed.upperBound)"
            )
        }
        self.init(role, policy, .invalid, own: own, peer: peer)
        if let mode { try choose(mode: mode) }
    }

    /// Sets what the client asked for in its first OpenSecureChannelRequest (Part 4, 5.5.2).
    ///
    /// - Throws: `badSecurityModeRejected` when the mode does not go with the policy or is not the one chosen before.
    package mutating func choose(mode: MessageSecurityMode) throws(SecurityError) {
        let fits = policy == .none ? mode == .none : mode == .sign || mode == .signAndEncrypt
        guard fits, self.mode == .invalid || self.mode == mode else {
            throw SecurityError(
                .badSecurityModeRejected,
                "security mode \(mode.rawValue) does not go with policy \(policy.name) of this channel"
            )
        }
        self.mode = mode
    }

    var encrypts: Bool { mode == .signAndEncrypt }
}
