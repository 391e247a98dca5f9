import COpenSSL

/// A certificate and those that vouch for it, leaf first: the DER certificates of one ByteString (Part 6, 6.2.6).
package struct CertificateChain: Equatable, Sendable {
    /// More are refused: chains of the field have one to three.
    package static let maximumCount = 10

    package let leaf: Certificate
    /// In the order they came.
    package let issuers: [Certificate]

    package var all: [Certificate] { [leaf] + issuers }

    package init(leaf: Certificate, issuers: [Certificate] = []) {
        self.leaf = leaf
        self.issuers = issuers
    }

    /// Takes a ByteString apart.
    ///
    /// - Throws: `badCertificateInvalid` when it is empty, damaged or too long. Zero bytes after the first certificate,
    ///   as some servers pad with, are ignored.
    package init(byteString: [UInt8]) throws(SecurityError) {
        var rest = byteString[...]
        var certificates: [Certificate] = []
        while !rest.isEmpty, certificates.isEmpty || rest.contains(where: { $0 != 0 }) {
            guard certificates.count < Self.maximumCount else {
                throw SecurityError(.badCertificateInvalid, "more than \(Self.maximumCount) certificates in a chain")
            }
            guard let handle = Certificate.take(&rest) else {
                throw SecurityError(
                    .badCertificateInvalid,
                    "certificate \(certificates.count + 1) of a chain of \(byteString.count) bytes is not DER"
                )
            }
            certificates.append(try Certificate(owning: handle))
        }
        guard let leaf = certificates.first else {
            throw SecurityError(.badCertificateInvalid, "an empty certificate")
        }
        self.init(leaf: leaf, issuers: Array(certificates.dropFirst()))
    }

    /// Reads a file's content: PEM with one or more certificates, or DER.
    ///
    /// - Throws: `badCertificateInvalid`.
    package init(fileContent bytes: [UInt8]) throws(SecurityError) {
        guard bytes.count <= Certificate.maximumSize * 4 else {
            throw SecurityError(.badCertificateInvalid, "\(bytes.count) bytes are too many for a certificate file")
        }
        let certificates = try Self.readPEM(bytes)
        guard let leaf = certificates.first else {
            try self.init(byteString: bytes)
            return
        }
        self.init(leaf: leaf, issuers: Array(certificates.dropFirst()))
    }

    private static func readPEM(_ bytes: [UInt8]) throws(SecurityError) -> [Certificate] {
        let handles = bytes.withUnsafeBytes { region -> [OpaquePointer] in
            guard let bio = BIO_new_mem_buf(region.baseAddress, CInt(clamping: region.count)) else { return [] }
            defer { BIO_free(bio) }
            var handles: [OpaquePointer] = []
            while handles.count < maximumCount,
                let handle = PEM_read_bio_X509(bio, nil, { _, _, _, _ in -1 }, nil)
            { handles.append(handle) }
            return handles
        }
        ERR_clear_error()
        var certificates: [Certificate] = []
        for (index, handle) in handles.enumerated() {
            do throws(SecurityError) {
                certificates.append(try Certificate(owning: handle))
            } catch {
                for rest in handles[(index + 1)...] { X509_free(rest) }
                throw error
            }
        }
        return certificates
    }

    /// The ByteString for the wire.
    package var byteString: [UInt8] { all.flatMap(\.der) }
}
