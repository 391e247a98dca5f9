import COpenSSL

/// A certificate revocation list (RFC 5280, 5). Immutable, any thread.
package final class RevocationList: @unchecked Sendable {
    /// Longer files are refused unread.
    package static let maximumSize = 16 * 1024 * 1024

    private let handle: OpaquePointer
    /// RFC 2253 text.
    package let issuer: String
    /// Seconds since 1970; nil when the list does not say.
    package let nextUpdate: Int64?

    /// Reads one list, PEM or DER.
    ///
    /// - Throws: `badCertificateInvalid`.
    package init(fileContent bytes: [UInt8]) throws(SecurityError) {
        let handle = bytes.withUnsafeBytes { region -> OpaquePointer? in
            guard region.count <= Self.maximumSize,
                let bio = BIO_new_mem_buf(region.baseAddress, CInt(clamping: region.count))
            else { return nil }
            defer { BIO_free(bio) }
            if let list = PEM_read_bio_X509_CRL(bio, nil, { _, _, _, _ in -1 }, nil) { return list }
            var start = region.pointer
            return d2i_X509_CRL(nil, &start, region.count)
        }
        ERR_clear_error()
        guard let handle else {
            throw SecurityError(.badCertificateInvalid, "\(bytes.count) bytes are not a certificate revocation list")
        }
        self.handle = handle
        issuer = CertificateReader.text(X509_CRL_get_issuer(handle))
        nextUpdate = CertificateReader.seconds(X509_CRL_get0_nextUpdate(handle))
    }

    deinit { X509_CRL_free(handle) }

    func withHandle<R>(_ body: (OpaquePointer) -> R) -> R { body(handle) }
}
