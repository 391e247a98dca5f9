import OPCUASecurity

/// A server's certificate and what is thought of it here.
struct CertificateFindings: Sendable, Encodable, Equatable {
    /// SHA-1, which `scada-ingestion trust` takes.
    var thumbprint: String
    var sha256: String
    var subject: String
    var issuer: String
    var isSelfSigned = false
    var applicationUris: [String] = []
    var hosts: [String] = []
    var notBefore = ""
    var notAfter = ""
    var keyBits = 0
    /// nil where it cannot be told; `problem` says why.
    var isTrusted: Bool?
    var problem: String?
    var cure: String?
    /// What is wrong with it and tolerated, because it is itself trusted.
    var warnings: [String] = []

    /// - Parameters:
    ///   - bytes: as the server sends it, with or without its issuers.
    ///   - policy: whose rules apply; nil for those that hold for all.
    init(_ bytes: [UInt8], host: String?, applicationURI: String?, policy: SecurityPolicy?, _ pki: PKIAccess) {
        let chain: CertificateChain
        do throws(SecurityError) { chain = try CertificateChain(byteString: bytes) } catch {
            (thumbprint, sha256, subject, issuer) = ("", "", "", "")
            isTrusted = false
            problem = "it cannot be read: \(error.message)"
            cure = "give the server a certificate with an RSA key"
            return
        }
        let leaf = chain.leaf
        thumbprint = "\(leaf.thumbprint)"
        sha256 = "\(Thumbprint(leaf.sha256))"
        subject = leaf.subject
        issuer = leaf.issuer
        isSelfSigned = leaf.isSelfSigned
        applicationUris = leaf.uris
        hosts = leaf.dnsNames + leaf.ipAddresses
        notBefore = Validity.time(leaf.notBefore)
        notAfter = Validity.time(leaf.notAfter)
        keyBits = leaf.keyBits
        guard let store = pki.store else {
            problem = pki.reason
            return
        }
        let expectation = CertificateExpectation(
            purpose: .server,
            hostName: host,
            applicationUri: applicationURI,
            policy: policy
        )
        do throws(SecurityError) {
            let verdict = try store.validate(chain, expecting: expectation, now: Validity.now)
            isTrusted = verdict.isTrusted
            problem = verdict.problem?.message
            cure = verdict.problem?.advice
            warnings = verdict.warnings.map(\.message)
        } catch {
            problem = error.message
        }
    }
}
