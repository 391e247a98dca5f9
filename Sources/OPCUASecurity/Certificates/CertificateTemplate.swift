import COpenSSL

/// What a certificate to be made shall say.
package struct CertificateTemplate: Sendable {
    /// At most 64 characters are used (RFC 5280, A.1: ub-common-name).
    package var commonName: String
    package var organization: String?
    /// The first URI of the subject alternative name (Part 6, 6.2.2: subjectAltName).
    package var applicationUri: String?
    /// Host names and textual IP addresses; each becomes a name of its own kind.
    package var hostNames: [String]
    package var keyUsage: KeyUsage
    package var extendedKeyUsage: ExtendedKeyUsage
    package var isAuthority: Bool
    /// Seconds since 1970.
    package var notBefore: Int64
    /// Seconds since 1970.
    package var notAfter: Int64

    /// An application instance certificate with the usages Part 6, 6.2.2 asks of RSA keys. A self-signed one is its own
    /// issuer, hence keyCertSign.
    ///
    /// - Parameter now: seconds since 1970. Validity begins an hour earlier, as peers' clocks are late, and lasts
    ///   `years` of 365 days.
    package static func applicationInstance(
        commonName: String,
        applicationUri: String,
        hostNames: [String],
        now: Int64,
        years: Int = 5
    ) -> CertificateTemplate {
        CertificateTemplate(
            commonName: commonName,
            applicationUri: applicationUri,
            hostNames: hostNames,
            keyUsage: [.digitalSignature, .nonRepudiation, .keyEncipherment, .dataEncipherment, .keyCertSign],
            extendedKeyUsage: [.clientAuth, .serverAuth],
            isAuthority: false,
            notBefore: now - 3600,
            notAfter: now + Int64(years) * 365 * 86_400
        )
    }

    package init(
        commonName: String,
        organization: String? = nil,
        applicationUri: String? = nil,
        hostNames: [String] = [],
        keyUsage: KeyUsage,
        extendedKeyUsage: ExtendedKeyUsage = [],
        isAuthority: Bool = false,
        notBefore: Int64,
        notAfter: Int64
    ) {
        self.commonName = commonName
        self.organization = organization
        self.applicationUri = applicationUri
        self.hostNames = hostNames
        self.keyUsage = keyUsage
        self.extendedKeyUsage = extendedKeyUsage
        self.isAuthority = isAuthority
        self.notBefore = notBefore
        self.notAfter = notAfter
    }

    /// Makes the certificate for `key`, signed with SHA-256 by `issuer`, or by `key` itself.
    ///
    /// - Throws: `badInternalError` naming the part that OpenSSL did not take.
    package func makeCertificate(
        key: PrivateKey,
        issuer: (certificate: Certificate, key: PrivateKey)? = nil
    ) throws(SecurityError) -> Certificate {
        guard let handle = X509_new() else { throw SecurityError(.badInternalError, OpenSSL.reason()) }
        let failed = try build(handle, key, issuer)
        guard failed == nil else {
            X509_free(handle)
            throw SecurityError(
                .badInternalError,
                "the certificate's \(failed ?? "") could not be set: \(OpenSSL.reason())"
            )
        }
        return try Certificate(owning: handle)
    }

    /// The name of the step that failed.
    private func build(
        _ handle: OpaquePointer,
        _ key: PrivateKey,
        _ issuer: (certificate: Certificate, key: PrivateKey)?
    ) throws(SecurityError) -> String? {
        var serial = try SecureRandom.bytes(16)
        // Positive and not zero (RFC 5280, 4.1.2.2).
        serial[0] = serial[0] & 0x7F | 0x40
        guard X509_set_version(handle, 2) == 1, Self.setSerial(handle, serial) else { return "serial number" }
        guard ASN1_TIME_set(X509_getm_notBefore(handle), Int(notBefore)) != nil,
            ASN1_TIME_set(X509_getm_notAfter(handle), Int(notAfter)) != nil
        else { return "validity" }
        let subject = X509_get_subject_name(handle)
        guard Self.add(NID_commonName, String(commonName.prefix(64)), to: subject),
            organization.map({ Self.add(NID_organizationName, String($0.prefix(64)), to: subject) }) ?? true
        else { return "subject" }
        let named =
            issuer.map { $0.certificate.withHandle { X509_set_issuer_name(handle, X509_get_subject_name($0)) } }
            ?? X509_set_issuer_name(handle, subject)
        guard named == 1 else { return "issuer" }
        guard key.withHandle({ X509_set_pubkey(handle, $0) }) == 1 else { return "key" }
        var extensions: [(CInt, String)] = [
            (NID_basic_constraints, isAuthority ? "critical,CA:TRUE" : "critical,CA:FALSE"),
            (NID_key_usage, "critical," + keyUsage.names.joined(separator: ",")),
            (NID_subject_key_identifier, "hash"),
            (NID_authority_key_identifier, "keyid:always"),
        ]
        if !extendedKeyUsage.isEmpty {
            extensions.append((NID_ext_key_usage, extendedKeyUsage.names.joined(separator: ",")))
        }
        for (kind, value) in extensions {
            let added =
                issuer.map { $0.certificate.withHandle { Self.add(kind, value, to: handle, issuer: $0) } }
                ?? Self.add(kind, value, to: handle, issuer: handle)
            guard added else { return "extension \(value)" }
        }
        guard addAlternativeNames(to: handle) else { return "alternative names" }
        let signed = (issuer?.key ?? key).withHandle { X509_sign(handle, $0, EVP_sha256()) }
        return signed > 0 ? nil : "signature"
    }

    private static func setSerial(_ handle: OpaquePointer, _ bytes: [UInt8]) -> Bool {
        guard let number = BN_bin2bn(bytes, CInt(bytes.count), nil) else { return false }
        defer { BN_free(number) }
        return BN_to_ASN1_INTEGER(number, X509_get_serialNumber(handle)) != nil
    }

    private static func add(_ kind: CInt, _ text: String, to name: OpaquePointer?) -> Bool {
        let bytes = Array(text.utf8)
        return X509_NAME_add_entry_by_NID(name, kind, MBSTRING_UTF8, bytes, CInt(bytes.count), -1, 0) == 1
    }

    /// `value` in OpenSSL's configuration syntax: constants of ours only, never text from outside.
    private static func add(_ kind: CInt, _ value: String, to handle: OpaquePointer, issuer: OpaquePointer) -> Bool {
        var context = X509V3_CTX()
        X509V3_set_ctx(&context, issuer, handle, nil, nil, 0)
        guard let element = X509V3_EXT_conf_nid(nil, &context, kind, value) else { return false }
        defer { X509_EXTENSION_free(element) }
        return X509_add_ext(handle, element, -1) == 1
    }

    private func addAlternativeNames(to handle: OpaquePointer) -> Bool {
        guard applicationUri != nil || !hostNames.isEmpty else { return true }
        guard let names = OPENSSL_sk_new_null() else { return false }
        defer { GENERAL_NAMES_free(names) }
        func add(_ kind: CInt, _ value: OpaquePointer?) -> Bool {
            guard let value else { return false }
            guard let name = GENERAL_NAME_new() else {
                ASN1_STRING_free(UnsafeMutablePointer(value))
                return false
            }
            GENERAL_NAME_set0_value(name, kind, UnsafeMutableRawPointer(value))
            guard OPENSSL_sk_push(names, name) > 0 else {
                GENERAL_NAME_free(name)
                return false
            }
            return true
        }
        func text(_ string: String) -> OpaquePointer? {
            let bytes = Array(string.utf8)
            guard let value = ASN1_IA5STRING_new() else { return nil }
            guard ASN1_STRING_set(value, bytes, CInt(bytes.count)) == 1 else {
                ASN1_STRING_free(value)
                return nil
            }
            return OpaquePointer(value)
        }
        if let applicationUri, !add(GEN_URI, text(applicationUri)) { return false }
        for host in hostNames {
            let added =
                IPAddress(host) != nil
                ? add(GEN_IPADD, OpaquePointer(a2i_IPADDRESS(host))) : add(GEN_DNS, text(host))
            guard added else { return false }
        }
        return X509_add1_ext_i2d(handle, NID_subject_alt_name, UnsafeMutableRawPointer(names), 0, 0) == 1
    }
}

extension KeyUsage {
    /// OpenSSL's names of the set bits.
    var names: [String] {
        let all: [(KeyUsage, String)] = [
            (.digitalSignature, "digitalSignature"), (.nonRepudiation, "nonRepudiation"),
            (.keyEncipherment, "keyEncipherment"), (.dataEncipherment, "dataEncipherment"),
            (.keyCertSign, "keyCertSign"), (.crlSign, "cRLSign"),
        ]
        return all.filter { contains($0.0) }.map(\.1)
    }
}

extension ExtendedKeyUsage {
    /// OpenSSL's names of the set bits.
    var names: [String] {
        (contains(.clientAuth) ? ["clientAuth"] : []) + (contains(.serverAuth) ? ["serverAuth"] : [])
    }
}
