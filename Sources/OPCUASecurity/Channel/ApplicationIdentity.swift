/// A certificate and the private key that belongs to it. Immutable, any thread.
package struct ApplicationIdentity: Sendable {
    package let chain: CertificateChain
    package let key: PrivateKey

    package var certificate: Certificate { chain.leaf }

    /// - Throws: `badCertificateInvalid` when the key is not the certificate's.
    package init(chain: CertificateChain, key: PrivateKey) throws(SecurityError) {
        guard key.belongs(to: chain.leaf.publicKey) else {
            throw SecurityError(
                .badCertificateInvalid,
                "the private key does not belong to certificate \(chain.leaf)"
            )
        }
        self.chain = chain
        self.key = key
    }
}
