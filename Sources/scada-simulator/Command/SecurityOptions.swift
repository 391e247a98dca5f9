import ArgumentParser
import FoundationEssentials
import OPCUACodec
import OPCUASecurity

/// Options of certificates, policies and users.
struct SecurityOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            What channels may be opened with: none, all (None and the policies in use today), deprecated, a policy's \
            name such as Basic256Sha256 or Aes256_Sha256_RsaPss, or POLICY:MODE with Sign or SignAndEncrypt. May be \
            repeated. (default: none)
            """,
            valueName: "policy[:mode]"
        )
    )
    var security: [String] = []
    @Option(
        help: ArgumentHelp(
            "Folder of the own certificate, made at the first start, and of clients' certificates. (default: a new "
                + "certificate at every start)",
            valueName: "folder"
        )
    )
    var pkiDir: String?
    @Flag(help: "Take only clients whose certificate lies in trusted/certs of --pki-dir.")
    var trustClients = false
    @Option(help: ArgumentHelp("Own certificate, DER or PEM, instead of one made here.", valueName: "file"))
    var certificate: String?
    @Option(help: ArgumentHelp("Its private key.", valueName: "file"))
    var privateKey: String?
    @Option(
        help: ArgumentHelp(
            "What the server says its ApplicationUri is. (default: as in the certificate)",
            valueName: "uri"
        )
    )
    var applicationURI: String?
    @Option(help: ArgumentHelp("Take only this user name and password.", valueName: "name:password"))
    var user: String?
    @Option(help: ArgumentHelp("Take users who come with this certificate. May be repeated.", valueName: "file"))
    var userCertificate: [String] = []
    @Flag(help: "Take no users who say nothing.")
    var noAnonymous = false

    func validate() throws {
        if let wrong = security.first(where: { SecurityOffer.parse($0) == nil }) {
            let names = SecurityPolicy.allCases.dropFirst().map(\.name).joined(separator: ", ")
            throw ValidationError("--security has no \(wrong); it takes none, all, deprecated, or one of \(names)")
        }
        if let user, user.first == ":" || !user.contains(":") {
            throw ValidationError("--user has to be name:password")
        }
        guard (certificate == nil) == (privateKey == nil) else {
            throw ValidationError("--certificate and --private-key go together")
        }
        guard !trustClients || pkiDir != nil else { throw ValidationError("--trust-clients needs --pki-dir") }
    }

    private var offers: [SecurityOffer] {
        var seen = Set<SecurityOffer>()
        let wanted = security.isEmpty ? [.none] : security.compactMap(SecurityOffer.parse).flatMap { $0 }
        return wanted.filter { seen.insert($0).inserted }
    }

    /// For servers under one host on consecutive ports: the same key, a certificate each. Blocks.
    /// - Throws: `UnavailableError` naming the file.
    func make(host: String, ports: Swift.Range<Int>) throws -> [(uri: String, security: ServerSecurity)] {
        do {
            var common = ServerSecurity()
            common.offers = offers
            common.allowsAnonymous = !noAnonymous
            common.user = user.map { text in
                let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
                return (String(parts[0]), String(parts[1]))
            }
            for path in userCertificate {
                common.userCertificates.append(try CertificateChain(fileContent: try Self.read(path)).leaf)
            }
            let store = try pkiDir.map { folder throws(SecurityError) in try TrustStore(folder: folder) }
            if trustClients { common.trustStore = store }
            let isSecured = common.offers != [.none] || certificate != nil || pkiDir != nil
            let now = Int64(Date().timeIntervalSince1970)
            var key: PrivateKey?
            return try ports.map { port in
                var security = common
                let uri = applicationURI ?? "urn:scada-simulator:\(port)"
                guard isSecured else { return (uri, security) }
                let identity: ApplicationIdentity
                let template = CertificateTemplate.applicationInstance(
                    commonName: "scada-simulator \(port)",
                    applicationUri: uri,
                    hostNames: Array(Set([host, "localhost", "127.0.0.1"])).sorted(),
                    now: now
                )
                if let certificate, let privateKey {
                    identity = try ApplicationIdentity(
                        chain: try CertificateChain(fileContent: try Self.read(certificate)),
                        key: try PrivateKey(try Self.read(privateKey))
                    )
                } else if let store, port == ports.lowerBound {
                    identity = try store.loadOrCreateIdentity(template)
                } else {
                    let used = try key ?? PrivateKey.generate()
                    identity = try ApplicationIdentity(
                        chain: CertificateChain(leaf: try template.makeCertificate(key: used)),
                        key: used
                    )
                }
                key = identity.key
                security.identity = identity
                return (applicationURI ?? identity.certificate.uris.first ?? uri, security)
            }
        } catch let error as SecurityError {
            throw UnavailableError(description: error.message)
        }
    }

    private static func read(_ path: String) throws(UnavailableError) -> [UInt8] {
        do {
            return [UInt8](try Data(contentsOf: URL(filePath: path)))
        } catch {
            throw UnavailableError(description: "\(path) cannot be read")
        }
    }
}
