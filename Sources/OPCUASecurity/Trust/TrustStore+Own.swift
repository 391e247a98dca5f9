/// The application's own certificate. **Every function blocks on the disk**, and for a tenth of a second or more on the
/// making of a key.
extension TrustStore {
    /// Where the application writes its own, and looks first. A pair made elsewhere may have other names in the same
    /// folders: `.der`, `.pem`, `.crt` or `.cer`, and `.pem`, `.key` or `.der` for the key.
    package var ownCertificatePath: String { folder + "/own/certs/scada-ingestion.der" }
    package var ownKeyPath: String { folder + "/own/private/scada-ingestion.pem" }

    /// Reads the own certificate and key, or makes them at the first start: the key as a file of mode 0600 that nobody
    /// else ever could read. Two processes that start at once get the same.
    ///
    /// An existing certificate is used as it is, whatever `template` says: its ApplicationUri (the first of
    /// ``Certificate/uris``) is then the one to give to servers.
    ///
    /// - Throws: `badConfigurationError` or `badCertificateInvalid` naming the file and what is wrong with it.
    package func loadOrCreateIdentity(_ template: CertificateTemplate) throws(SecurityError) -> ApplicationIdentity {
        if let identity = try loadIdentity() { return identity }
        return try FileAccess.locked(folder + "/own/.lock") { () throws(SecurityError) in
            // Another process may have been first.
            if let identity = try loadIdentity() { return identity }
            // The key first: with a key alone, as after a crash, the certificate is made; the other way round is an error.
            let key: PrivateKey
            if let path = try keyPath() {
                key = try loadKey(path)
            } else {
                key = try PrivateKey.generate()
                var pem = try key.pem()
                defer { pem.wipe() }
                try FileAccess.write(pem, to: ownKeyPath, mode: 0o600)
            }
            return try writeCertificate(template, key)
        }
    }

    /// Makes a new certificate for the same key, for instance before the old one expires. Servers that trust the old one
    /// by its thumbprint have to trust the new one.
    package func renewCertificate(_ template: CertificateTemplate) throws(SecurityError) -> ApplicationIdentity {
        try FileAccess.locked(folder + "/own/.lock") { () throws(SecurityError) in
            try writeCertificate(template, try loadKey(try keyPath() ?? ownKeyPath))
        }
    }

    /// nil when there is no own certificate.
    package func loadIdentity() throws(SecurityError) -> ApplicationIdentity? {
        let found = try files(of: .own)
        guard let path = found.contains(ownCertificatePath) ? ownCertificatePath : found.first else { return nil }
        let limit = Certificate.maximumSize * 4
        let chain: CertificateChain
        do throws(SecurityError) {
            chain = try CertificateChain(fileContent: try FileAccess.read(path, limit: limit))
        } catch {
            throw SecurityError(error.code, error.message.hasPrefix(path) ? error.message : "\(path): \(error.message)")
        }
        let keyPath = try keyPath() ?? ownKeyPath
        let key = try loadKey(keyPath)
        do throws(SecurityError) {
            return try ApplicationIdentity(chain: chain, key: key)
        } catch {
            throw SecurityError(error.code, "\(path) and \(keyPath) do not belong together")
        }
    }

    private func keyPath() throws(SecurityError) -> String? {
        let found = try files(in: ["own/private"], suffixes: ["pem", "key", "der"])
        return found.contains(ownKeyPath) ? ownKeyPath : found.first
    }

    private func loadKey(_ path: String) throws(SecurityError) -> PrivateKey {
        var bytes = try FileAccess.read(path, limit: Certificate.maximumSize)
        defer { bytes.wipe() }
        do throws(SecurityError) {
            return try PrivateKey(bytes)
        } catch {
            throw SecurityError(error.code, "\(path): \(error.message)")
        }
    }

    /// Whether others than the owner may read the private key: to be warned of. Orchestrators mount secrets so.
    package func privateKeyIsExposed() throws(SecurityError) -> Bool {
        guard let path = try keyPath(), let known = FileAccess.stamp(path) else { return false }
        return known.mode & 0o077 != 0
    }

    private func writeCertificate(
        _ template: CertificateTemplate,
        _ key: PrivateKey
    ) throws(SecurityError) -> ApplicationIdentity {
        let certificate = try template.makeCertificate(key: key)
        try FileAccess.write(certificate.der, to: ownCertificatePath, mode: 0o644)
        return try ApplicationIdentity(chain: CertificateChain(leaf: certificate), key: key)
    }
}
