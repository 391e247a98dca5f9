import OPCUASecurity
import Testing

@testable import scada_ingestion

/// The commands about certificates, and what check says of the folder.
@Suite struct PKITests {
    static let day: Int64 = 86_400

    /// A server's certificate, valid for `days` from now.
    private func server(_ name: String, days: Int64 = 365) throws -> Certificate {
        var template = CertificateTemplate.applicationInstance(
            commonName: name,
            applicationUri: "urn:\(name)",
            hostNames: [name],
            now: Validity.now
        )
        template.notAfter = Validity.now + days * Self.day
        return try template.makeCertificate(key: PrivateKey.generate())
    }

    private func run(_ folder: TemporaryFolder, _ arguments: String...) throws -> Program.Outcome {
        try Program.run(arguments, environment: ["OPC_PKI_DIR": "\(folder.path)/pki"])
    }

    @Test func theOwnCertificateIsMadeShownAndRenewed() throws {
        let folder = try TemporaryFolder()
        let missing = try run(folder, "certificate")
        #expect(missing.exitCode == 78)
        #expect(missing.error.contains("certificate create"))

        let created = try run(folder, "certificate", "create")
        #expect(created.exitCode == 0)
        #expect(created.output.contains("urn:\(HostName.current):scada-ingestion"))
        #expect(created.output.contains("\(folder.path)/pki/own/certs/scada-ingestion.der"))
        #expect(try run(folder, "certificate").output == created.output)
        #expect(try run(folder, "certificate", "create").output == created.output)

        let pem = try run(folder, "certificate", "show", "--pem")
        let certificate = try CertificateChain(fileContent: Array(pem.output.utf8)).leaf
        #expect(created.output.contains("\(certificate.thumbprint) (SHA-1)"))

        let renewed = try run(folder, "certificate", "renew")
        #expect(renewed.exitCode == 0)
        #expect(!renewed.output.contains("\(certificate.thumbprint)"))
        #expect(renewed.output.contains("urn:\(HostName.current):scada-ingestion"))
    }

    @Test func aFileIsTrustedRejectedTrustedAgainAndRemoved() throws {
        let folder = try TemporaryFolder()
        let certificate = try server("plc7")
        let thumbprint = "\(certificate.thumbprint)"
        let file = try folder.write("plc7.pem", String(decoding: try certificate.pem(), as: UTF8.self))

        #expect(try run(folder, "trust").error.contains("nothing was refused"))
        let trusted = try run(folder, "trust", file)
        #expect(trusted.exitCode == 0)
        #expect(trusted.output.hasPrefix("trusted: \"plc7\""))
        #expect(try run(folder, "certificate", "list").output.hasPrefix("trusted\t\(thumbprint)\tuntil "))

        #expect(try run(folder, "certificate", "reject", String(thumbprint.prefix(8))).exitCode == 0)
        #expect(try run(folder, "trust").output.hasPrefix("rejected\t\(thumbprint)\t"))
        #expect(try run(folder, "trust", thumbprint.lowercased()).output.hasPrefix("trusted: "))
        #expect(try run(folder, "certificate", "show", thumbprint).output.contains("urn:plc7"))

        #expect(try run(folder, "certificate", "remove", thumbprint).output.hasPrefix("removed: "))
        #expect(try run(folder, "certificate", "list").output.isEmpty)
    }

    @Test func wrongSubjectsAreUsageErrors() throws {
        let folder = try TemporaryFolder()
        let file = try folder.write("notes.txt", "hello")
        let wrong = [
            ["trust", file], ["trust", "/nonexistent.der"], ["trust", "0123456789"],
            ["trust", "--issuer", "0123456789"],
            ["certificate", "reject", "0123456789"], ["certificate", "remove", "xyz"], ["certificate", "show", "123"],
        ]
        for arguments in wrong {
            let outcome = try Program.run(arguments, environment: ["OPC_PKI_DIR": "\(folder.path)/pki"])
            #expect(outcome.exitCode == 64, "\(arguments)")
            #expect(outcome.output.isEmpty, "\(arguments)")
            #expect(outcome.complaints.count == 1, "\(arguments)")
        }
        let unusable = try Program.run(["trust", "0123456789"], environment: ["OPC_PKI_DIR": "\(file)/pki"])
        #expect(unusable.exitCode == 78)
    }

    @Test func checkJudgesTheFolder() throws {
        let folder = try TemporaryFolder()
        let store = try TrustStore(folder: "\(folder.path)/pki")
        let now = Validity.now
        func levels(_ later: Int64 = 0) throws -> [Finding.Level] {
            try CheckRun.findings(store, "s", now: now + later).map(\.level)
        }
        #expect(try levels() == [.ok])
        _ = try store.loadOrCreateIdentity(ApplicationCertificate.template(now: now))
        #expect(try levels() == [.ok])
        #expect(try levels(5 * 365 * Self.day - 10 * Self.day) == [.warn])
        #expect(try levels(5 * 365 * Self.day) == [.fail])

        _ = try store.add(server("good"), to: .trusted)
        #expect(try levels() == [.ok])
        _ = try store.add(server("old", days: 10), to: .trusted)
        #expect(try levels() == [.ok, .warn])
        _ = try store.add(server("refused"), to: .rejected)
        let findings = try CheckRun.findings(store, "s", now: now)
        #expect(findings.map(\.level) == [.ok, .warn, .warn])
        #expect(findings.last?.cure == "see them with scada-ingestion trust")
    }
}
