import ControlAPI
import OPCUASecurity
import Testing

@testable import scada_ingestion

@Suite struct CertificateCheckTests {
    static let day: Int64 = 86_400
    static let start: Int64 = 1_000

    static let times: [(seconds: Int64, mark: String)] = [
        (start - 1, "FAIL"), (start, "ok"), (start + 69 * day, "ok"), (start + 71 * day, "warn"),
        (start + 100 * day - 1, "warn"), (start + 100 * day, "FAIL"),
    ]

    @Test(arguments: times) func validity(_ now: Int64, _ mark: String) {
        let finding = Validity.finding(
            "s",
            "it",
            notBefore: Self.start,
            notAfter: Self.start + 100 * Self.day,
            now: now,
            cure: "renew"
        )
        #expect(finding.line.hasPrefix(mark))
    }

    @Test func datesAreUTC() {
        #expect(Validity.date(0) == "1970-01-01")
        #expect(Validity.date(951_782_399) == "2000-02-28")
        #expect(Validity.date(951_782_400) == "2000-02-29")
    }

    /// A pair in files, as OpenSSL's own command makes them.
    private func pair(_ folder: TemporaryFolder, _ name: String, _ kind: [String]) throws -> (String, String) {
        let (certificate, key) = ("\(folder.path)/\(name).crt", "\(folder.path)/\(name).key")
        let arguments =
            ["req", "-x509", "-newkey"] + kind + [
                "-nodes", "-days", "100", "-subj", "/CN=\(name)", "-keyout", key, "-out", certificate,
            ]
        try #require(try Program.launch("/usr/bin/openssl", arguments).exitCode == 0)
        return (certificate, key)
    }

    @Test func filesOfAnyKindOfKey() throws {
        let folder = try TemporaryFolder()
        let rsa = try pair(folder, "rsa", ["rsa:2048"])
        let elliptic = try pair(folder, "elliptic", ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
        for (certificate, key) in [rsa, elliptic] {
            let findings = CheckRun.checkTLS(.init(certificateFile: certificate, keyFile: key), now: Validity.now)
            #expect(findings.map(\.level) == [.ok])
            let late = CheckRun.checkTLS(
                .init(certificateFile: certificate, keyFile: key),
                now: Validity.now + 101 * Self.day
            )
            #expect(late.first?.message.contains("expired on") == true)
        }
        let mixed = CheckRun.checkTLS(.init(certificateFile: rsa.0, keyFile: elliptic.1), now: Validity.now)
        #expect(mixed.map(\.level) == [.fail])
        #expect(mixed.first?.message.contains("does not belong to the certificate") == true)
    }

    @Test func filesThatAreNoPair() throws {
        let folder = try TemporaryFolder()
        let (certificate, key) = try pair(folder, "good", ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
        let broken = try folder.write("broken", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        let encrypted = try folder.write(
            "encrypted",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----"
        )
        for (certificate, key) in [(broken, key), (certificate, encrypted), ("/nonexistent", key), (key, certificate)] {
            let findings = CheckRun.checkTLS(.init(certificateFile: certificate, keyFile: key), now: Validity.now)
            #expect(findings.map(\.level) == [.fail])
            #expect(findings.first?.cure != nil)
        }
    }
}
