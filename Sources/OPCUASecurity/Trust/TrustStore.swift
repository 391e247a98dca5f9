import Synchronization

/// The PKI folder (OPC_PKI_DIR): whom we trust, who we are.
///
/// | folder | holds |
/// |---|---|
/// | own/certs, own/private | the application's certificate and private key |
/// | trusted/certs (or trusted/), trusted/crl | peers and authorities that are trusted, and revocation lists |
/// | issuers/certs (or issuers/), issuers/crl | authorities that complete chains, and revocation lists |
/// | rejected/certs | certificates of peers that were refused, for the operator to look at |
///
/// Certificates are `.der`, `.pem`, `.crt` or `.cer` files, lists `.crl`, `.der` or `.pem`. Operators and other programs
/// may change the folders at any time: they are looked at again before every use, and read again when they changed.
///
/// **Every function blocks on the disk**: call them from a thread of your own or a dispatch queue, not from an event loop
/// or a task. Any thread may call, one after the other gets its turn.
package final class TrustStore: Sendable {
    /// Certificates kept in rejected/: the oldest make room for new ones.
    package static let maximumRejected = 100
    /// Certificates and lists read from one folder; more are reported and left out.
    static let maximumFiles = 10_000

    struct Cache {
        var stamps: [String: FileAccess.Stamp] = [:]
        var isRead = false
        var list = TrustList()
        var unreadable: [String] = []
    }

    package let folder: String
    let cache = Mutex(Cache())

    /// Opens the folder and makes what is missing of it.
    ///
    /// - Throws: `badConfigurationError` naming the path and the reason. A folder that cannot be written to is no error as
    ///   long as it can be read.
    package init(folder: String) throws(SecurityError) {
        let trimmed = folder.count > 1 && folder.hasSuffix("/") ? String(folder.dropLast()) : folder
        self.folder = trimmed.isEmpty ? "." : trimmed
        for each in ["own/certs", "own/private", "trusted/certs", "trusted/crl", "issuers/certs", "issuers/crl"] {
            do throws(SecurityError) {
                try FileAccess.makeFolder(self.folder + "/" + each)
            } catch {
                // Mounted read-only: good enough when something is there.
                guard FileAccess.stamp(self.folder)?.isFolder ?? false else { throw error }
            }
        }
        try? FileAccess.makeFolder(self.folder + "/rejected/certs")
    }

    // MARK: Validation

    /// Decides about a peer's certificate. One that is not trusted, or not fully, is written to rejected/certs, so that
    /// ``trust(_:)`` finds it. **Blocks.**
    ///
    /// - Parameter now: seconds since 1970.
    /// - Throws: `badConfigurationError` when the folders cannot be read, `badInternalError`.
    package func validate(
        _ chain: CertificateChain,
        expecting expectation: CertificateExpectation,
        now: Int64
    ) throws(SecurityError) -> CertificateVerdict {
        let list = try currentList()
        var verdict = try CertificateValidator.validate(chain, list, expectation, now: now)
        guard verdict.problem != nil, !list.trusted.contains(chain.leaf) else { return verdict }
        do throws(SecurityError) {
            try keepRejected(chain.leaf)
        } catch {
            verdict.problem?.advice += ". (The certificate could not be kept for that: \(error.message))"
        }
        return verdict
    }

    /// As ``validate(_:expecting:now:)`` for a ByteString from the wire: a damaged one is a verdict too.
    package func validate(
        byteString: [UInt8],
        expecting expectation: CertificateExpectation,
        now: Int64
    ) throws(SecurityError) -> CertificateVerdict {
        let chain: CertificateChain
        do throws(SecurityError) {
            chain = try CertificateChain(byteString: byteString)
        } catch {
            let problem = CertificateProblem(
                check: .malformed,
                message: "the peer's certificate cannot be read: \(error.message)",
                advice: "Give the peer a certificate with an RSA key as OPC UA Part 6, 6.2.2 describes it"
            )
            return CertificateVerdict(chain: [], problem: problem, warnings: [])
        }
        return try validate(chain, expecting: expectation, now: now)
    }

    /// Writes a refused certificate to rejected/certs unless it is there, and removes the oldest beyond the bound.
    private func keepRejected(_ certificate: Certificate) throws(SecurityError) {
        let folder = path(.rejected)
        let name = "\(certificate.thumbprint).der"
        let result: Result<Void, SecurityError> = cache.withLock { _ in
            do throws(SecurityError) {
                var names = try FileAccess.names(in: folder)
                if names.contains(name) { return .success(()) }
                try FileAccess.makeFolder(folder)
                if names.count >= Self.maximumRejected {
                    func age(_ name: String) -> (Int, Int) {
                        let stamp = FileAccess.stamp(folder + "/" + name)?.stamp
                        return (stamp?.seconds ?? 0, stamp?.nanoseconds ?? 0)
                    }
                    let ages = Dictionary(uniqueKeysWithValues: names.map { ($0, age($0)) })
                    names.sort { (ages[$0] ?? (0, 0)) < (ages[$1] ?? (0, 0)) }
                    for old in names.prefix(names.count - Self.maximumRejected + 1) {
                        try FileAccess.remove(folder + "/" + old)
                    }
                }
                try FileAccess.write(certificate.der, to: folder + "/" + name, mode: 0o644)
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        try result.get()
    }

    // MARK: Reading

    /// What is trusted now. **Blocks.**
    package func currentList() throws(SecurityError) -> TrustList {
        let result: Result<TrustList, SecurityError> = cache.withLock { cache in
            do throws(SecurityError) {
                try refresh(&cache)
                return .success(cache.list)
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    /// Files in trusted/ and issuers/ that could not be read, each with its reason: to be logged. **Blocks.**
    package func unreadableFiles() throws(SecurityError) -> [String] {
        _ = try currentList()
        return cache.withLock { $0.unreadable }
    }

    private func refresh(_ cache: inout Cache) throws(SecurityError) {
        let trusted = try files(of: .trusted)
        let issuers = try files(of: .issuers)
        let lists = try files(in: ["trusted/crl", "issuers/crl"], suffixes: ["crl", "der", "pem"])
        var stamps: [String: FileAccess.Stamp] = [:]
        for path in trusted + issuers + lists { stamps[path] = FileAccess.stamp(path)?.stamp }
        if cache.isRead, stamps == cache.stamps { return }
        var unreadable: [String] = []
        func read<T>(
            _ paths: [String],
            limit: Int,
            _ parse: ([UInt8]) throws(SecurityError) -> [T]
        ) -> [T] {
            if paths.count > Self.maximumFiles { unreadable.append("more than \(Self.maximumFiles) files in a folder") }
            return paths.prefix(Self.maximumFiles).flatMap { path -> [T] in
                do throws(SecurityError) {
                    return try parse(try FileAccess.read(path, limit: limit))
                } catch {
                    unreadable.append(error.message.hasPrefix(path) ? error.message : "\(path): \(error.message)")
                    return []
                }
            }
        }
        let certificates = { (bytes: [UInt8]) throws(SecurityError) in try CertificateChain(fileContent: bytes).all }
        let limit = Certificate.maximumSize * 4
        cache.list = TrustList(
            trusted: read(trusted, limit: limit, certificates),
            issuers: read(issuers, limit: limit, certificates),
            revocationLists: read(lists, limit: RevocationList.maximumSize) { bytes throws(SecurityError) in
                [try RevocationList(fileContent: bytes)]
            }
        )
        cache.unreadable = unreadable
        cache.stamps = stamps
        cache.isRead = true
    }

    // MARK: Folders

    func path(_ location: StoredCertificate.Location) -> String { folder + "/" + location.rawValue + "/certs" }

    /// The certificate files of a location: in its certs folder, and directly in it but for own/.
    func files(of location: StoredCertificate.Location) throws(SecurityError) -> [String] {
        let folders = [location.rawValue + "/certs"] + (location == .own ? [] : [location.rawValue])
        return try files(in: folders, suffixes: ["der", "pem", "crt", "cer"])
    }

    func files(in folders: [String], suffixes: [String]) throws(SecurityError) -> [String] {
        var paths: [String] = []
        for each in folders {
            for name in try FileAccess.names(in: folder + "/" + each) {
                let suffix = name.split(separator: ".").last.map { $0.lowercased() } ?? ""
                if suffixes.contains(suffix) { paths.append(folder + "/" + each + "/" + name) }
            }
        }
        return paths
    }
}
