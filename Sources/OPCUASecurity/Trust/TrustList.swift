/// Certificates and revocation lists as they stood in the folders at one moment.
package struct TrustList: Sendable {
    /// Peers trusted one by one, and authorities whose certificates are trusted.
    package var trusted: [Certificate]
    /// Authorities that complete chains, without being trusted for it.
    package var issuers: [Certificate]
    package var revocationLists: [RevocationList]

    package init(
        trusted: [Certificate] = [],
        issuers: [Certificate] = [],
        revocationLists: [RevocationList] = []
    ) {
        self.trusted = trusted
        self.issuers = issuers
        self.revocationLists = revocationLists
    }
}

/// What a peer's certificate has to fit.
package struct CertificateExpectation: Sendable {
    /// What the peer is.
    package enum Purpose: Equatable, Sendable { case server, client }

    package var purpose: Purpose
    /// The host of the endpoint's URL, a name or an address; nil to leave the check out.
    package var hostName: String?
    /// ApplicationUri of the peer's ApplicationDescription; nil to leave the check out.
    package var applicationUri: String?
    /// The policy whose key lengths and hash apply; nil to leave the check out.
    package var policy: SecurityPolicy?

    package init(
        purpose: Purpose,
        hostName: String? = nil,
        applicationUri: String? = nil,
        policy: SecurityPolicy? = nil
    ) {
        self.purpose = purpose
        self.hostName = hostName
        self.applicationUri = applicationUri
        self.policy = policy
    }
}
