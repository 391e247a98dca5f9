import COpenSSL

/// OpenSSL's path validation (RFC 5280, 6), asked for everything that is wrong and not for the first thing alone.
struct ChainBuilder {
    struct Finding: Equatable {
        /// `X509_V_ERR_…`
        var code: CInt
        /// 0 is the leaf.
        var depth: Int
    }

    /// Longer chains are refused.
    static let maximumDepth: CInt = 10

    /// Leaf first; ends at a self-signed certificate or where no issuer is known.
    var chain: [Certificate]
    var findings: [Finding]

    /// - Throws: `badInternalError` when OpenSSL fails for a reason of its own.
    init(_ peer: CertificateChain, _ list: TrustList, now: Int64) throws(SecurityError) {
        let findings = UnsafeMutablePointer<[Finding]>.allocate(capacity: 1)
        findings.initialize(to: [])
        defer {
            findings.deinitialize(count: 1)
            findings.deallocate()
            ERR_clear_error()
        }
        let known = list.trusted + list.issuers
        guard let encoded = Self.verify(peer, known, list.revocationLists, now, findings) else {
            throw SecurityError(.badInternalError, "a certificate could not be checked: \(OpenSSL.reason())")
        }
        self.findings = findings.pointee
        let candidates = Dictionary((peer.all + known).map { ($0.der, $0) }) { first, _ in first }
        chain = encoded.compactMap { candidates[$0] }
        if chain.isEmpty { chain = [peer.leaf] }
    }

    /// The chain OpenSSL built, as DER.
    private static func verify(
        _ peer: CertificateChain,
        _ known: [Certificate],
        _ revocationLists: [RevocationList],
        _ now: Int64,
        _ findings: UnsafeMutablePointer<[Finding]>
    ) -> [[UInt8]]? {
        guard let store = X509_STORE_new() else { return nil }
        defer { X509_STORE_free(store) }
        guard known.allSatisfy({ $0.withHandle { X509_STORE_add_cert(store, $0) == 1 } }),
            revocationLists.allSatisfy({ $0.withHandle { X509_STORE_add_crl(store, $0) == 1 } }),
            let untrusted = OPENSSL_sk_new_null()
        else { return nil }
        // The stack lends the handles: the certificates outlive this call.
        defer { OPENSSL_sk_free(untrusted) }
        guard
            peer.issuers.allSatisfy({ issuer in
                issuer.withHandle { OPENSSL_sk_push(untrusted, UnsafeRawPointer($0)) > 0 }
            }), let context = X509_STORE_CTX_new()
        else { return nil }
        defer { X509_STORE_CTX_free(context) }
        guard peer.leaf.withHandle({ X509_STORE_CTX_init(context, store, $0, untrusted) }) == 1 else { return nil }
        let parameters = X509_STORE_CTX_get0_param(context)
        X509_VERIFY_PARAM_set_time(parameters, Int(now))
        X509_VERIFY_PARAM_set_depth(parameters, maximumDepth)
        let flags = X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL | X509_V_FLAG_CHECK_SS_SIGNATURE
        X509_VERIFY_PARAM_set_flags(parameters, UInt(flags))
        guard X509_STORE_CTX_set_ex_data(context, 0, findings) == 1 else { return nil }
        X509_STORE_CTX_set_verify_cb(context) { succeeded, context in
            if succeeded == 0, let findings = X509_STORE_CTX_get_ex_data(context, 0) {
                findings.assumingMemoryBound(to: [Finding].self).pointee.append(
                    Finding(
                        code: X509_STORE_CTX_get_error(context),
                        depth: Int(X509_STORE_CTX_get_error_depth(context))
                    )
                )
            }
            // Go on: what counts is decided by who knows what the operator trusts.
            return 1
        }
        guard X509_verify_cert(context) == 1, let chain = X509_STORE_CTX_get0_chain(context) else { return nil }
        return (0..<OPENSSL_sk_num(chain)).compactMap { index in
            OPENSSL_sk_value(chain, index).flatMap { CertificateReader.der(OpaquePointer($0)) }
        }
    }
}
