/// A security token and the keys that go with it (Part 4, 5.5.2.1).
struct ChannelToken: Sendable {
    var id: UInt32
    /// In the unit of the caller's monotonic clock; from then on nothing is sent or accepted under it.
    var expiresAt: UInt64
    /// nil under policy None.
    var keys: ChannelKeys?
}

/// The symmetric keys of both directions, as one side of the channel uses them (Part 6, 6.7.5).
struct ChannelKeys: Sendable {
    let sending: DirectionKeys
    let receiving: DirectionKeys

    /// - Throws: `badNonceInvalid` when a nonce is shorter than the policy asks or absurdly long.
    init(_ security: ChannelSecurity, clientNonce: [UInt8]?, serverNonce: [UInt8]?) throws(SecurityError) {
        let policy = security.policy
        let clientNonce = clientNonce ?? []
        let serverNonce = serverNonce ?? []
        for (name, nonce) in [("client", clientNonce), ("server", serverNonce)] {
            // Part 4, 5.5.2: the nonce has SecureChannelNonceLength bytes. Some peers send more, which harms nobody.
            guard (policy.nonceLength...256).contains(nonce.count) else {
                throw SecurityError(
                    .badNonceInvalid,
                    "the \(name)'s nonce has \(nonce.count) bytes; \(policy.name) asks for \(policy.nonceLength)"
                )
            }
        }
        // Part 6, 6.7.5: the client's keys come from the server's nonce as the secret and the client's as seed.
        func keys(ofClient: Bool) throws(SecurityError) -> DirectionKeys {
            try DirectionKeys(
                policy: policy,
                secret: ofClient ? serverNonce : clientNonce,
                seed: ofClient ? clientNonce : serverNonce,
                encrypts: security.encrypts,
                sending: ofClient == (security.role == .client)
            )
        }
        sending = try keys(ofClient: security.role == .client)
        receiving = try keys(ofClient: security.role == .server)
    }
}
