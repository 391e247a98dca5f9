import COpenSSL

/// An X.509 v3 certificate with what OPC UA asks of one (Part 6, 6.2.2), read once. Immutable, any thread.
package final class Certificate: @unchecked Sendable, Equatable, CustomStringConvertible {
    /// Longer input is refused unread: certificates of the field have one to four kilobytes.
    package static let maximumSize = 65_536

    private let handle: OpaquePointer
    /// The encoded certificate.
    package let der: [UInt8]
    /// SHA-1 of ``der``: what the asymmetric security header carries (Part 6, 6.7.2.3) and what people compare.
    package let thumbprint: Thumbprint
    /// SHA-256 of ``der``.
    package let sha256: [UInt8]
    /// RFC 2253 text.
    package let subject: String
    /// RFC 2253 text.
    package let issuer: String
    /// The subject's common name, or the whole subject when it has none.
    package let name: String
    /// Hexadecimal digits.
    package let serialNumber: String
    /// Seconds since 1970.
    package let notBefore: Int64
    /// Seconds since 1970.
    package let notAfter: Int64
    package let publicKey: PublicKey
    /// nil when the certificate has no key usage extension, which allows everything (RFC 5280, 4.2.1.3).
    package let keyUsage: KeyUsage?
    /// nil when the certificate has no extended key usage extension.
    package let extendedKeyUsage: ExtendedKeyUsage?
    /// Whether the basic constraints make it a certificate authority.
    package let isAuthority: Bool
    /// Subject and issuer are the same name and the certificate's own key made the signature.
    package let isSelfSigned: Bool
    /// The hash of the issuer's signature; nil when it is neither SHA-1 nor of the SHA-2 family.
    package let signatureHash: SignatureHash?
    /// Uniform resource identifiers of the subject alternative name: the ApplicationUri is the first.
    package let uris: [String]
    package let dnsNames: [String]
    /// Text form: `192.0.2.1`, `2001:db8::1`.
    package let ipAddresses: [String]

    package var keyBits: Int { publicKey.bits }

    package enum SignatureHash: Equatable, Sendable { case sha1, sha2 }

    /// Reads one DER certificate that fills `bytes` exactly.
    ///
    /// - Throws: `badCertificateInvalid`: not a certificate, or none with an RSA key.
    package convenience init(der bytes: [UInt8]) throws(SecurityError) {
        var rest = bytes[...]
        guard let handle = Self.take(&rest), rest.isEmpty else {
            throw SecurityError(.badCertificateInvalid, "\(bytes.count) bytes are not one DER certificate")
        }
        try self.init(owning: handle)
    }

    /// Cuts the first DER certificate off `bytes`.
    static func take(_ bytes: inout ArraySlice<UInt8>) -> OpaquePointer? {
        guard bytes.count <= maximumSize * 4 else { return nil }
        var consumed = 0
        let handle = bytes.withUnsafeBytes { region -> OpaquePointer? in
            let start = region.pointer
            var next = start
            guard let start, let handle = d2i_X509(nil, &next, region.count), let next else { return nil }
            consumed = next - start
            return handle
        }
        ERR_clear_error()
        bytes = bytes.dropFirst(consumed)
        return handle
    }

    /// Takes ownership of `handle`, also when it throws.
    init(owning handle: OpaquePointer) throws(SecurityError) {
        defer { ERR_clear_error() }
        guard let der = CertificateReader.der(handle), der.count <= Self.maximumSize,
            let notBefore = CertificateReader.seconds(X509_get0_notBefore(handle)),
            let notAfter = CertificateReader.seconds(X509_get0_notAfter(handle))
        else {
            X509_free(handle)
            throw SecurityError(.badCertificateInvalid, "the certificate's fields are not what RFC 5280 says")
        }
        guard let keyHandle = X509_get_pubkey(handle), let publicKey = PublicKey(owning: keyHandle) else {
            X509_free(handle)
            throw SecurityError(.badCertificateInvalid, "the certificate's key is not an RSA key")
        }
        // Caches the extensions in the handle: from here on only reads, so that threads may share it.
        let flags = X509_get_extension_flags(handle)
        guard flags & UInt32(EXFLAG_INVALID) == 0 else {
            X509_free(handle)
            throw SecurityError(.badCertificateInvalid, "the certificate's extensions are malformed")
        }
        self.handle = handle
        self.der = der
        self.notBefore = notBefore
        self.notAfter = notAfter
        self.publicKey = publicKey
        thumbprint = Thumbprint(HashAlgorithm.sha1.digest(der))
        sha256 = HashAlgorithm.sha256.digest(der)
        subject = CertificateReader.text(X509_get_subject_name(handle))
        issuer = CertificateReader.text(X509_get_issuer_name(handle))
        name = CertificateReader.commonName(X509_get_subject_name(handle)) ?? subject
        serialNumber = CertificateReader.serialNumber(handle)
        let hasKeyUsage = flags & UInt32(EXFLAG_KUSAGE) != 0
        keyUsage = hasKeyUsage ? KeyUsage(rawValue: X509_get_key_usage(handle)) : nil
        let hasExtended = flags & UInt32(EXFLAG_XKUSAGE) != 0
        extendedKeyUsage = hasExtended ? ExtendedKeyUsage(rawValue: X509_get_extended_key_usage(handle)) : nil
        isAuthority = flags & UInt32(EXFLAG_CA) != 0
        isSelfSigned = X509_self_signed(handle, 1) == 1
        signatureHash = CertificateReader.signatureHash(handle)
        let names = CertificateReader.alternativeNames(handle)
        uris = names.uris
        dnsNames = names.dnsNames
        ipAddresses = names.ipAddresses
    }

    deinit { X509_free(handle) }

    func withHandle<R>(_ body: (OpaquePointer) -> R) -> R { body(handle) }

    /// The certificate in PEM.
    package func pem() throws(SecurityError) -> [UInt8] {
        guard let bio = BIO_new(BIO_s_mem()) else { throw SecurityError(.badInternalError, OpenSSL.reason()) }
        defer { BIO_free(bio) }
        guard PEM_write_bio_X509(bio, handle) == 1 else {
            throw SecurityError(.badInternalError, "the certificate could not be written: \(OpenSSL.reason())")
        }
        return OpenSSL.content(of: bio)
    }

    package static func == (left: Certificate, right: Certificate) -> Bool { left.der == right.der }

    package var description: String { "\"\(name)\" (\(thumbprint))" }
}

/// SHA-1 over a DER certificate, as hexadecimal digits where people see it.
package struct Thumbprint: Hashable, Sendable, CustomStringConvertible {
    package let bytes: [UInt8]

    package init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// Reads 40 hexadecimal digits of either case; colons, blanks and hyphens between them do not matter.
    package init?(_ text: String) {
        var digits: [UInt8] = []
        for character in text {
            if ":- ".contains(character) { continue }
            guard character.isASCII, let value = character.hexDigitValue else { return nil }
            digits.append(UInt8(value))
        }
        guard digits.count == 40 else { return nil }
        bytes = stride(from: 0, to: 40, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }

    package var description: String { hexadecimal(bytes) }
}

/// Two upper-case digits a byte.
func hexadecimal(_ bytes: [UInt8]) -> String {
    let digits = Array("0123456789ABCDEF".utf8)
    return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
}

/// RFC 5280, 4.2.1.3, with OpenSSL's bits.
package struct KeyUsage: OptionSet, Hashable, Sendable {
    package var rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    package static let digitalSignature = KeyUsage(rawValue: UInt32(KU_DIGITAL_SIGNATURE))
    package static let nonRepudiation = KeyUsage(rawValue: UInt32(KU_NON_REPUDIATION))
    package static let keyEncipherment = KeyUsage(rawValue: UInt32(KU_KEY_ENCIPHERMENT))
    package static let dataEncipherment = KeyUsage(rawValue: UInt32(KU_DATA_ENCIPHERMENT))
    package static let keyCertSign = KeyUsage(rawValue: UInt32(KU_KEY_CERT_SIGN))
    package static let crlSign = KeyUsage(rawValue: UInt32(KU_CRL_SIGN))
}

/// RFC 5280, 4.2.1.12, with OpenSSL's bits.
package struct ExtendedKeyUsage: OptionSet, Hashable, Sendable {
    package var rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    package static let serverAuth = ExtendedKeyUsage(rawValue: UInt32(XKU_SSL_SERVER))
    package static let clientAuth = ExtendedKeyUsage(rawValue: UInt32(XKU_SSL_CLIENT))
}
