import COpenSSL

/// A TLS certificate and its private key in PEM, with keys of any kind: what an operator wants to know of them before a
/// server uses them. Unlike ``Certificate`` it is not for OPC UA.
package struct TLSKeyPair: Sendable, Equatable {
    /// Common name, or the whole subject without one.
    package let name: String
    /// Validity of the first certificate, seconds since 1970.
    package let notBefore: Int64
    package let notAfter: Int64

    /// - Throws: `badCertificateInvalid`: one of them cannot be read, or they do not belong together.
    package init(certificate: [UInt8], key: [UInt8]) throws(SecurityError) {
        defer { ERR_clear_error() }
        let handle = Self.withBIO(certificate) { PEM_read_bio_X509($0, nil, { _, _, _, _ in -1 }, nil) }
        guard let handle else { throw SecurityError(.badCertificateInvalid, "the certificate cannot be read as PEM") }
        defer { X509_free(handle) }
        // Without a callback OpenSSL would ask for the pass phrase of an encrypted key on the terminal.
        let keyHandle = Self.withBIO(key) { PEM_read_bio_PrivateKey($0, nil, { _, _, _, _ in -1 }, nil) }
        guard let keyHandle else {
            throw SecurityError(.badCertificateInvalid, "the private key cannot be read as unencrypted PEM")
        }
        defer { EVP_PKEY_free(keyHandle) }
        guard X509_check_private_key(handle, keyHandle) == 1 else {
            throw SecurityError(.badCertificateInvalid, "the private key does not belong to the certificate")
        }
        guard let notBefore = CertificateReader.seconds(X509_get0_notBefore(handle)),
            let notAfter = CertificateReader.seconds(X509_get0_notAfter(handle))
        else { throw SecurityError(.badCertificateInvalid, "the certificate's validity cannot be read") }
        let subject = X509_get_subject_name(handle)
        name = CertificateReader.commonName(subject) ?? CertificateReader.text(subject)
        self.notBefore = notBefore
        self.notAfter = notAfter
    }

    private static func withBIO(_ bytes: [UInt8], _ body: (OpaquePointer) -> OpaquePointer?) -> OpaquePointer? {
        bytes.withUnsafeBytes { region in
            guard let bio = BIO_new_mem_buf(region.baseAddress, CInt(clamping: region.count)) else { return nil }
            defer { BIO_free(bio) }
            return body(bio)
        }
    }
}
