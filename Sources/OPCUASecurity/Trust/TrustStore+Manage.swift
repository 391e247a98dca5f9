/// A certificate in the PKI folder.
package struct StoredCertificate: Equatable, Sendable {
    package enum Location: String, CaseIterable, Sendable { case own, trusted, issuers, rejected }

    package var certificate: Certificate
    package var location: Location
    /// The file it is in, possibly with others.
    package var path: String
}

/// What the operator does with certificates. **Every function blocks on the disk.**
extension TrustStore {
    /// All certificates that can be read, in the order of the locations, then of the file names.
    package func list() throws(SecurityError) -> [StoredCertificate] {
        var stored: [StoredCertificate] = []
        for location in StoredCertificate.Location.allCases {
            for path in try files(of: location) {
                guard let bytes = try? FileAccess.read(path, limit: Certificate.maximumSize * 4),
                    let chain = try? CertificateChain(fileContent: bytes)
                else { continue }
                stored += chain.all.map { StoredCertificate(certificate: $0, location: location, path: path) }
            }
        }
        return stored
    }

    /// The certificates whose thumbprint is `text` or, from eight digits on, begins with it.
    ///
    /// - Throws: `badNothingToDo` when there is none, `badTooManyMatches` when different ones fit.
    package func find(_ text: String) throws(SecurityError) -> [StoredCertificate] {
        let digits = text.filter { !":- ".contains($0) }.uppercased()
        guard digits.count >= 8, digits.count <= 40, digits.allSatisfy({ $0.isASCII && $0.isHexDigit }) else {
            throw SecurityError(
                .badNothingToDo,
                "\"\(text)\" is not a thumbprint: 40 hexadecimal digits, or at least the first 8 of them"
            )
        }
        let found = try list().filter { $0.certificate.thumbprint.description.hasPrefix(digits) }
        guard let first = found.first else {
            throw SecurityError(.badNothingToDo, "there is no certificate \(digits) in \(folder)")
        }
        guard found.allSatisfy({ $0.certificate == first.certificate }) else {
            throw SecurityError(.badTooManyMatches, "several certificates begin with \(digits): give more digits")
        }
        return found
    }

    /// Trusts the certificate with this thumbprint, which stands in rejected/ or issuers/.
    ///
    /// - Returns: the certificate, in its new place.
    package func trust(_ text: String) throws(SecurityError) -> StoredCertificate {
        let found = try find(text)
        if let known = found.first(where: { $0.location == .trusted }) { return known }
        guard let first = found.first(where: { $0.location != .own }) else {
            throw SecurityError(.badNothingToDo, "certificate \(text) is our own")
        }
        let stored = try add(first.certificate, to: .trusted)
        try removeFiles(found.filter { $0.location == .rejected })
        return stored
    }

    /// Trusts a certificate from elsewhere, or makes an authority's known as an issuer.
    ///
    /// - Parameter location: `.trusted` or `.issuers`.
    package func add(
        _ certificate: Certificate,
        to location: StoredCertificate.Location
    ) throws(SecurityError) -> StoredCertificate {
        try FileAccess.makeFolder(path(location))
        let path = path(location) + "/\(certificate.thumbprint).der"
        try FileAccess.write(certificate.der, to: path, mode: 0o644)
        return StoredCertificate(certificate: certificate, location: location, path: path)
    }

    /// Takes trust away: moves the certificate from trusted/ and issuers/ to rejected/.
    package func reject(_ text: String) throws(SecurityError) -> StoredCertificate {
        let found = try find(text).filter { $0.location == .trusted || $0.location == .issuers }
        guard let first = found.first else {
            throw SecurityError(.badNothingToDo, "certificate \(text) is neither in trusted/ nor in issuers/")
        }
        // Removed first: a crash in between must not leave it trusted.
        try removeFiles(found)
        return try add(first.certificate, to: .rejected)
    }

    /// Deletes the certificate from trusted/, issuers/ and rejected/.
    package func remove(_ text: String) throws(SecurityError) -> [StoredCertificate] {
        let found = try find(text).filter { $0.location != .own }
        guard !found.isEmpty else { throw SecurityError(.badNothingToDo, "certificate \(text) is our own") }
        try removeFiles(found)
        return found
    }

    /// - Throws: `badConfigurationError` when a file holds other certificates too: what is left is the operator's to say.
    private func removeFiles(_ stored: [StoredCertificate]) throws(SecurityError) {
        let all = try list()
        for each in stored {
            let others = all.filter { $0.path == each.path && $0.certificate != each.certificate }
            guard others.isEmpty else {
                throw SecurityError(
                    .badConfigurationError,
                    "\(each.path) holds \(others.count) other certificate\(others.count == 1 ? "" : "s") too: take"
                        + " \(each.certificate) out of it by hand"
                )
            }
        }
        for path in Set(stored.map(\.path)) { try FileAccess.remove(path) }
    }
}
