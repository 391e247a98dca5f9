import ArgumentParser
import Glibc
import OPCUASecurity

/// What the commands about certificates share.
enum PKICommand {
    /// Opens OPC_PKI_DIR and does something with it; a failure is said and ends the command.
    static func run<R>(
        _ options: ConfigurationOptions,
        _ body: (TrustStore) throws(SecurityError) -> R
    ) throws -> R {
        let folder = try options.load(only: ["OPC_PKI_DIR"]).opc.pkiDirectory
        try refuseForeignFolder(folder)
        do throws(SecurityError) {
            return try body(try TrustStore(folder: folder))
        } catch {
            Console.error(error.message)
            // The folder is as it should be, the argument is not.
            throw [.badNothingToDo, .badTooManyMatches].contains(error.code) ? ExitCode.usage : .configuration
        }
    }

    /// Files that root leaves in the folder of another user are files that the daemon cannot read.
    static func refuseForeignFolder(_ folder: String) throws {
        guard let owner = foreignOwner(folder) else { return }
        Console.error(
            "\(folder) belongs to \(owner): run this command as that user, for example with runuser -u \(owner) --"
        )
        throw ExitCode.configuration
    }

    /// The user whose folder it is, where root runs and it is somebody else.
    static func foreignOwner(_ folder: String) -> String? {
        var info = stat()
        guard stat(folder, &info) == 0, info.st_uid != geteuid(), geteuid() == 0 else { return nil }
        return getpwuid(info.st_uid).map { String(cString: $0.pointee.pw_name) } ?? "user id \(info.st_uid)"
    }

    /// One line: where, thumbprint, validity, name.
    static func line(_ stored: StoredCertificate) -> String {
        let certificate = stored.certificate
        return "\(stored.location.rawValue)\t\(certificate.thumbprint)\tuntil \(Validity.date(certificate.notAfter))\t"
            + certificate.name
    }

    /// Everything a person compares, a line each.
    static func details(_ certificate: Certificate, path: String?) -> String {
        var rows: [(String, String)] = []
        if let path { rows.append(("file", path)) }
        rows.append(("name", certificate.name))
        rows.append(("subject", certificate.subject))
        if !certificate.isSelfSigned { rows.append(("issuer", certificate.issuer)) }
        for uri in certificate.uris { rows.append(("application URI", uri)) }
        let hosts = certificate.dnsNames + certificate.ipAddresses
        if !hosts.isEmpty { rows.append(("hosts", hosts.joined(separator: ", "))) }
        rows.append(("valid", "\(Validity.date(certificate.notBefore)) to \(Validity.date(certificate.notAfter))"))
        rows.append(("key", "RSA, \(certificate.keyBits) bits"))
        rows.append(("thumbprint", "\(certificate.thumbprint) (SHA-1)"))
        rows.append(("", "\(Thumbprint(certificate.sha256)) (SHA-256)"))
        let width = rows.map(\.0.count).max() ?? 0
        return rows.map { name, value in
            name + String(repeating: " ", count: width - name.count + 2) + Console.oneLine(value)
        }.joined(separator: "\n")
    }
}
