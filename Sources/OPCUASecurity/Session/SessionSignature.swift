package import OPCUACodec

/// Proof of owning a private key in CreateSession and ActivateSession, and of X.509 user tokens: a signature over the
/// other side's certificate and nonce (Part 4, 5.6.2.2, 5.6.3.2 and 7.37).
package enum SessionSignature {
    /// Signs `peerCertificate` ‖ `peerNonce`. Under policy None there is nothing to prove: both fields are null.
    ///
    /// - Parameters:
    ///   - policy: of the channel; of the token policy for a user's certificate, and of the channel where that has none.
    ///   - key: the application's private key, or the user's.
    ///   - peerCertificate: the server's certificate, without its issuers'.
    package static func sign(
        policy: SecurityPolicy,
        key: PrivateKey,
        peerCertificate: Certificate,
        peerNonce: [UInt8]?
    ) throws(SecurityError) -> SignatureData {
        guard let algorithm = policy.asymmetricSignature else { return SignatureData() }
        let signature = try key.sign(peerCertificate.der + (peerNonce ?? []), algorithm)
        return SignatureData(algorithm: algorithm.uri, signature: signature)
    }

    /// Verifies what the peer signed: our certificate and nonce.
    ///
    /// The field knows two readings of "certificate" when a chain was sent: the leaf alone and the whole ByteString. Both
    /// are accepted, as either proves the same.
    ///
    /// - Throws: `badSecurityChecksFailed` naming what is missing or wrong.
    package static func verify(
        _ data: SignatureData,
        policy: SecurityPolicy,
        peerCertificate: Certificate,
        ownChain: CertificateChain,
        ownNonce: [UInt8]
    ) throws(SecurityError) {
        guard let algorithm = policy.asymmetricSignature else { return }
        // Some servers leave the algorithm empty; one that names another than the policy's is wrong.
        guard data.algorithm.map({ $0.isEmpty || $0 == algorithm.uri }) ?? true else {
            throw SecurityError(
                .badSecurityChecksFailed,
                "the peer signed with \(data.algorithm ?? ""), not with \(algorithm.uri) as \(policy.name) asks"
            )
        }
        guard let signature = data.signature, !signature.isEmpty else {
            throw SecurityError(.badSecurityChecksFailed, "the peer's signature is missing")
        }
        let key = peerCertificate.publicKey
        guard
            key.verify(ownChain.leaf.der + ownNonce, signature: signature, algorithm)
                || key.verify(ownChain.byteString + ownNonce, signature: signature, algorithm)
        else {
            throw SecurityError(
                .badSecurityChecksFailed,
                "the peer's signature was not made by the private key of certificate \(peerCertificate)"
            )
        }
    }
}
