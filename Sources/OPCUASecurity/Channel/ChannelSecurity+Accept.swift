extension ChannelSecurity {
    /// A server's answer to the first OpenSecureChannel message of a connection: which policy, and whose certificate.
    ///
    /// The mode is chosen later, by ``choose(mode:)`` with what the request's body asks for. Trust in the client's chain
    /// is the caller's business (``TrustStore``), before anything else is done with the message.
    ///
    /// - Parameters:
    ///   - header: from ``AsymmetricHeader/peek(_:)``.
    ///   - own: the server's identity; nil for a server that only knows policy None.
    ///   - allowed: the policies the server offers.
    /// - Returns: what to make the codec of, and the client's chain; nil under policy None.
    /// - Throws: `badSecurityPolicyRejected`, `badCertificateInvalid`.
    package static func accepting(
        _ header: AsymmetricHeader,
        own: ApplicationIdentity?,
        allowed: Set<SecurityPolicy>
    ) throws(SecurityError) -> (security: ChannelSecurity, peer: CertificateChain?) {
        guard let policy = header.policyURI.flatMap({ SecurityPolicy(rawValue: $0) }), allowed.contains(policy) else {
            throw SecurityError(
                .badSecurityPolicyRejected,
                "the client asks for security policy \(header.policyURI ?? "null"), which is not offered"
            )
        }
        guard policy != .none else { return (.unsecured(role: .server), nil) }
        guard let own else {
            throw SecurityError(.badSecurityPolicyRejected, "\(policy.name) needs a certificate of our own")
        }
        guard header.receiverThumbprint == own.certificate.thumbprint.bytes else {
            throw SecurityError(
                .badCertificateInvalid,
                "the client encrypted for another certificate than \(own.certificate)"
            )
        }
        let peer = try CertificateChain(byteString: header.senderCertificate ?? [])
        let security = try ChannelSecurity(role: .server, policy: policy, mode: nil, own: own, peer: peer.leaf)
        return (security, peer)
    }
}
