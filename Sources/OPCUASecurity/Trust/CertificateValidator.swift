import COpenSSL

/// Decides about a peer's certificate (Part 4, 6.1.3): a computation on values, without I/O or clock.
///
/// The anchor is the first certificate of the chain, leaf first, that the operator trusts. Checks of what stands above it
/// do not count. A leaf that is itself the anchor was compared and accepted by the operator: then a host name or an
/// ApplicationUri that does not fit (devices of the field are renamed and readdressed more often than they get new
/// certificates), a SHA-1 signature, unknown issuers and missing revocation lists are warnings. Validity, key length,
/// usage and a revocation that is known always count.
struct CertificateValidator {
    let leaf: Certificate
    let builder: ChainBuilder
    let expectation: CertificateExpectation
    /// Index in the chain; nil when nothing of it is trusted.
    let anchor: Int?

    static func validate(
        _ peer: CertificateChain,
        _ list: TrustList,
        _ expectation: CertificateExpectation,
        now: Int64
    ) throws(SecurityError) -> CertificateVerdict {
        let builder = try ChainBuilder(peer, list, now: now)
        let anchor = builder.chain.firstIndex { list.trusted.contains($0) }
        let validator = CertificateValidator(
            leaf: peer.leaf,
            builder: builder,
            expectation: expectation,
            anchor: anchor
        )
        return validator.verdict()
    }

    private var isPinned: Bool { anchor == 0 }
    private var trustCommand: String { "scada-ingestion trust \(leaf.thumbprint)" }
    /// Where that was done already, only the other cure is left.
    private var orTrustIt: String { isPinned ? "" : ", or trust this very certificate: \(trustCommand)" }

    private func verdict() -> CertificateVerdict {
        var fatal: [CertificateProblem] = []
        var warnings: [CertificateProblem] = []
        func add(_ problem: CertificateProblem?, tolerated: Bool = false) {
            guard let problem else { return }
            if tolerated { warnings.append(problem) } else { fatal.append(problem) }
        }
        for finding in builder.findings {
            guard let (check, counts) = classify(finding), counts || isPinned else { continue }
            let problem = problem(check, depth: finding.depth)
            // OpenSSL tells some things twice.
            if !(fatal + warnings).contains(problem) { add(problem, tolerated: !counts) }
        }
        add(checkKeyLength())
        add(checkSignatureHash(), tolerated: isPinned)
        if anchor == nil { add(untrusted()) }
        add(checkHostName(), tolerated: isPinned)
        add(checkApplicationUri(), tolerated: isPinned)
        add(checkUsage())
        for problem in checkIssuers() where !fatal.contains(where: { $0.check == problem.check }) { add(problem) }
        fatal.sort { $0.check < $1.check }
        warnings.sort { $0.check < $1.check }
        return CertificateVerdict(chain: builder.chain, problem: fatal.first, warnings: warnings)
    }

    // MARK: What OpenSSL found

    /// The check that a finding stands for and whether it counts where the anchor is; nil for what is judged elsewhere.
    private func classify(_ finding: ChainBuilder.Finding) -> (CertificateProblem.Check, counts: Bool)? {
        let depth = finding.depth
        let isLeaf = depth == 0
        let anchor = anchor ?? .max
        switch finding.code {
        case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, X509_V_ERR_CERT_UNTRUSTED:
            return nil
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
            X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
            return (.chainIncomplete, counts: self.anchor == nil)
        case X509_V_ERR_CERT_SIGNATURE_FAILURE, X509_V_ERR_UNABLE_TO_DECRYPT_CERT_SIGNATURE,
            X509_V_ERR_UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY, X509_V_ERR_NO_ISSUER_PUBLIC_KEY,
            X509_V_ERR_SIGNATURE_ALGORITHM_MISMATCH, X509_V_ERR_UNSUPPORTED_SIGNATURE_ALGORITHM:
            return (.badSignature, counts: depth < anchor)
        case X509_V_ERR_CERT_NOT_YET_VALID:
            return (isLeaf ? .notYetValid : .issuerNotYetValid, counts: depth <= anchor)
        case X509_V_ERR_CERT_HAS_EXPIRED:
            return (isLeaf ? .expired : .issuerExpired, counts: depth <= anchor)
        case X509_V_ERR_INVALID_CA, X509_V_ERR_KEYUSAGE_NO_CERTSIGN, X509_V_ERR_PATH_LENGTH_EXCEEDED,
            X509_V_ERR_INVALID_PURPOSE, X509_V_ERR_INVALID_NON_CA:
            return (isLeaf ? .keyUsage : .issuerKeyUsage, counts: depth <= anchor)
        case X509_V_ERR_CERT_REVOKED:
            return (isLeaf ? .revoked : .issuerRevoked, counts: true)
        case X509_V_ERR_UNABLE_TO_GET_CRL, X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER, X509_V_ERR_CRL_NOT_YET_VALID,
            X509_V_ERR_CRL_HAS_EXPIRED, X509_V_ERR_CRL_SIGNATURE_FAILURE,
            X509_V_ERR_UNABLE_TO_DECRYPT_CRL_SIGNATURE, X509_V_ERR_ERROR_IN_CRL_LAST_UPDATE_FIELD,
            X509_V_ERR_ERROR_IN_CRL_NEXT_UPDATE_FIELD, X509_V_ERR_DIFFERENT_CRL_SCOPE,
            X509_V_ERR_KEYUSAGE_NO_CRL_SIGN, X509_V_ERR_UNHANDLED_CRITICAL_CRL_EXTENSION,
            X509_V_ERR_CRL_PATH_VALIDATION_ERROR:
            // Nobody but itself could revoke a self-signed certificate.
            guard builder.chain.indices.contains(depth), !builder.chain[depth].isSelfSigned else { return nil }
            return (isLeaf ? .revocationUnknown : .issuerRevocationUnknown, counts: depth < anchor)
        default:
            return (.malformed, counts: depth <= anchor)
        }
    }

    private func problem(_ check: CertificateProblem.Check, depth: Int) -> CertificateProblem {
        let subject = builder.chain.indices.contains(depth) ? builder.chain[depth] : leaf
        let who = depth == 0 ? "certificate \(subject)" : "issuer certificate \(subject)"
        let message: String
        let advice: String
        switch check {
        case .chainIncomplete:
            message = "\(who) was issued by \"\(subject.issuer)\", whose certificate is not known"
            advice = "Put that certificate in issuers/certs\(orTrustIt)"
        case .badSignature:
            message = "the signature of \(who) was not made by its issuer \"\(subject.issuer)\""
            advice = "Compare it with the peer's own; it may have been altered on its way"
        case .notYetValid, .issuerNotYetValid:
            message = "\(who) is not valid before \(utcText(subject.notBefore))"
            advice = "Set the clocks of this machine and of the peer right, or issue the certificate again"
        case .expired, .issuerExpired:
            message = "\(who) expired at \(utcText(subject.notAfter))"
            advice = "Renew it at its owner; a new self-signed one is then to be trusted by its own thumbprint"
        case .keyUsage, .issuerKeyUsage:
            message = "\(who) must not be used for what it is used for"
            advice =
                depth == 0
                ? "Issue it again with the usages of OPC UA Part 6, 6.2.2"
                : "Have the peer's issued by a certificate authority\(orTrustIt)"
        case .revoked, .issuerRevoked:
            message = "\(who) was revoked by \"\(subject.issuer)\""
            advice = "Have a new one issued; if the revocation is wrong, replace the list in the crl folder"
        case .revocationUnknown, .issuerRevocationUnknown:
            message = "there is no valid revocation list of \"\(subject.issuer)\" for \(who)"
            advice = "Put its current list in issuers/crl\(orTrustIt)"
        default:
            message = "\(who) is not what RFC 5280 asks for"
            advice = "Issue it again"
        }
        return CertificateProblem(check: check, message: message, advice: advice)
    }

    // MARK: What OPC UA asks for beyond that

    private func untrusted() -> CertificateProblem {
        CertificateProblem(
            check: .untrusted,
            message: "certificate \(leaf) is not trusted",
            advice: "Compare the thumbprint with the one the peer shows, then: \(trustCommand)"
        )
    }

    private func checkKeyLength() -> CertificateProblem? {
        guard let policy = expectation.policy, let allowed = policy.keyBits, !allowed.contains(leaf.keyBits) else {
            return nil
        }
        return CertificateProblem(
            check: .keyTooShort,
            message: "the key of certificate \(leaf) has \(leaf.keyBits) bits; \(policy.name) takes"
                + " \(allowed.lowerBound) to \(allowed.upperBound)",
            advice: "Give the peer a certificate with a key of 2048 bits or more, or choose another security policy"
        )
    }

    /// Part 7, CertificateSignatureAlgorithm of the policies: SHA-256 but for the deprecated ones.
    private func checkSignatureHash() -> CertificateProblem? {
        guard let policy = expectation.policy, policy != .none, !policy.isDeprecated else { return nil }
        let below = builder.chain.prefix(max(1, anchor ?? builder.chain.count))
        // The signature of a self-signed root proves nothing, whatever its hash.
        guard let weak = below.first(where: { $0.signatureHash != .sha2 && ($0 == leaf || !$0.isSelfSigned) }) else {
            return nil
        }
        return CertificateProblem(
            check: .weakSignature,
            message: "certificate \(weak) is signed with \(weak.signatureHash == .sha1 ? "SHA-1" : "an unknown hash"),"
                + " which \(policy.name) forbids",
            advice: "Have it issued again with SHA-256\(orTrustIt)"
        )
    }

    private func checkHostName() -> CertificateProblem? {
        guard let host = expectation.hostName, !leaf.isFor(host: host) else { return nil }
        let names = leaf.dnsNames + leaf.ipAddresses
        return CertificateProblem(
            check: .wrongHost,
            message: "certificate \(leaf) is not for host \"\(host)\" but for"
                + " \(names.isEmpty ? "none" : names.prefix(10).joined(separator: ", "))",
            advice: "Use one of its names in the endpoint's URL\(orTrustIt)"
        )
    }

    private func checkApplicationUri() -> CertificateProblem? {
        guard let uri = expectation.applicationUri, !leaf.uris.contains(uri) else { return nil }
        return CertificateProblem(
            check: .wrongApplicationUri,
            message: "certificate \(leaf) belongs to application \"\(leaf.uris.first ?? "")\"; the peer says it is"
                + " \"\(uri)\"",
            advice:
                "Give the peer a certificate with its own ApplicationUri, or correct the peer's ApplicationUri\(orTrustIt)"
        )
    }

    /// Part 6, 6.2.2: keyUsage and extendedKeyUsage. An absent extension allows everything (RFC 5280, 4.2.1.3).
    private func checkUsage() -> CertificateProblem? {
        var missing: [String] = []
        if let usage = leaf.keyUsage {
            if !usage.contains(.digitalSignature) { missing.append("digitalSignature") }
            if usage.isDisjoint(with: [.keyEncipherment, .dataEncipherment]) { missing.append("keyEncipherment") }
        }
        if let usage = leaf.extendedKeyUsage {
            switch expectation.purpose {
            case .server: if !usage.contains(.serverAuth) { missing.append("serverAuth") }
            case .client: if !usage.contains(.clientAuth) { missing.append("clientAuth") }
            }
        }
        guard !missing.isEmpty else { return nil }
        return CertificateProblem(
            check: .keyUsage,
            message: "certificate \(leaf) does not allow \(missing.joined(separator: ", "))",
            advice: "Issue it again with the usages of OPC UA Part 6, 6.2.2"
        )
    }

    /// A peer's own certificate stands in the same folder as authorities': only what says that it is an authority may
    /// issue others, also where OpenSSL would let it pass.
    private func checkIssuers() -> [CertificateProblem] {
        let last = min(anchor ?? builder.chain.count - 1, builder.chain.count - 1)
        guard last >= 1 else { return [] }
        return (1...last).compactMap { depth in
            let issuer = builder.chain[depth]
            let signs = issuer.keyUsage?.contains(.keyCertSign) ?? true
            return issuer.isAuthority && signs ? nil : problem(.issuerKeyUsage, depth: depth)
        }
    }
}

extension Certificate {
    /// Whether the subject alternative names cover a host: names without regard to case, wildcards as in RFC 6125,
    /// addresses by value. Addresses written as names are accepted, as many devices do so.
    package func isFor(host: String) -> Bool {
        if let address = IPAddress(host) {
            return (ipAddresses + dnsNames).contains { IPAddress($0) == address }
        }
        // A trailing dot only says that the name is complete.
        let name = host.hasSuffix(".") ? String(host.dropLast()) : host
        guard !name.isEmpty else { return false }
        return withHandle {
            X509_check_host($0, name, name.utf8.count, UInt32(X509_CHECK_FLAG_NEVER_CHECK_SUBJECT), nil) == 1
        }
    }
}

/// Seconds since 1970 as `2031-11-27 00:01:01 UTC`.
package func utcText(_ seconds: Int64) -> String {
    guard let time = ASN1_GENERALIZEDTIME_set(nil, Int(seconds)) else { return "\(seconds) s after 1970" }
    defer { ASN1_STRING_free(time) }
    let digits = Array(
        UnsafeBufferPointer(start: ASN1_STRING_get0_data(time), count: Int(ASN1_STRING_length(time)))
    )
    guard digits.count == 15 else { return "\(seconds) s after 1970" }
    func part(_ range: Swift.Range<Int>) -> String { String(decoding: digits[range], as: UTF8.self) }
    return "\(part(0..<4))-\(part(4..<6))-\(part(6..<8)) \(part(8..<10)):\(part(10..<12)):\(part(12..<14)) UTC"
}
