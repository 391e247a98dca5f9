import FoundationEssentials
import OPCUAClient
import OPCUACodec
import OPCUASecurity
import Testing

@testable import scada_ingestion

/// What `test-connection` says.
@Suite struct ConnectionFindingsTests {
    private func target(_ folder: TemporaryFolder, needed: Bool = false) throws -> ServerTarget {
        ServerTarget(
            configuration: ConnectionConfiguration(
                id: UUID(),
                endpointURLs: ["opc.tcp://plc7:4840"],
                securityMode: .signAndEncrypt,
                securityPolicyURI: SecurityPolicy.basic256Sha256.uri
            ),
            pki: try PKIAccess(folder: folder.path + "/pki", isNeeded: needed)
        )
    }

    private func endpoint(_ policy: SecurityPolicy, _ certificate: [UInt8]? = nil) -> EndpointDescription {
        EndpointDescription(
            endpointUrl: "opc.tcp://plc7:4840",
            server: ApplicationDescription(applicationUri: "urn:plc7"),
            serverCertificate: certificate,
            securityMode: policy == .none ? .none : .signAndEncrypt,
            securityPolicyUri: policy.uri,
            userIdentityTokens: [UserTokenPolicy(policyId: "u", tokenType: .userName)],
            securityLevel: 7
        )
    }

    static let codes: [(ConnectStep, OPCUAClientError.Code, Int32)] = [
        (.connect, .connectFailed, 69), (.secureChannel, .security, 69), (.createSession, .timeout, 69),
        (.certificate, .certificate(.expired), 78), (.activateSession, .certificate(.untrusted), 78),
        (.endpoints, .noMatchingEndpoint, 78), (.activateSession, .identityRejected, 78),
        (.activateSession, .serviceFault, 69), (.connect, .invalidConfiguration, 78),
    ]

    @Test(arguments: codes)
    func exitCodesSayWhoHasToAct(_ step: ConnectStep, _ code: OPCUAClientError.Code, _ exit: Int32) throws {
        let folder = try TemporaryFolder()
        let error = ProbeError(step: step, error: OPCUAClientError(code, "it failed", advice: "Do this"))
        let findings = ConnectionFindings(
            try target(folder),
            error,
            steps: [StepDuration(step: .connect, microseconds: 1_250), StepDuration(step: step, microseconds: 90)]
        )
        let failure = try #require(findings.failure)
        #expect(failure.exitCode == exit)
        #expect(failure.kind == code.description)
        #expect(!findings.works)
        #expect(findings.text.hasPrefix("FAIL  opc.tcp://plc7:4840 (Basic256Sha256, SignAndEncrypt, anonymous)"))
        #expect(findings.text.contains("step   \(step.rawValue)"))
        #expect(findings.text.contains("cure   Do this"))
        #expect(findings.text.contains("1.3 ms\n"))
        #expect(findings.text.contains("0.1 ms  FAILED"))
    }

    @Test func aCertificateThatIsNotTrustedComesWithTheCommand() throws {
        let folder = try TemporaryFolder()
        let key = try PrivateKey.generate()
        let template = CertificateTemplate.applicationInstance(
            commonName: "plc7",
            applicationUri: "urn:plc7",
            hostNames: ["plc7"],
            now: Validity.now
        )
        let certificate = try template.makeCertificate(key: key)
        let target = try target(folder, needed: true)
        var report = ServerReport()
        report.endpoints = [endpoint(.none, certificate.der), endpoint(.basic256Sha256, certificate.der)]
        let findings = ConnectionFindings(target, report, steps: [])
        let found = try #require(findings.certificates.first)
        #expect(findings.certificates.count == 1)
        #expect(found.isTrusted == false)
        #expect(found.thumbprint == "\(certificate.thumbprint)")
        #expect(found.cure?.contains("scada-ingestion trust \(certificate.thumbprint)") == true)
        #expect(findings.endpoints.map(\.isUsed) == [false, true])
        #expect(findings.endpoints[1].userTokens == [.init(type: "user name", securityPolicy: "Basic256Sha256")])
        // The command that is named works: the certificate was kept.
        _ = try #require(target.pki.store).trust("\(certificate.thumbprint)")
        let again = ConnectionFindings(target, report, steps: [])
        #expect(again.certificates.first?.isTrusted == true)
        #expect(again.text.contains("trusted          yes"))
    }

    @Test func aFolderThatIsNotThereIsNotMade() throws {
        let folder = try TemporaryFolder()
        let target = try target(folder)
        #expect(target.pki.store == nil)
        #expect(target.pki.reason.contains("OPC_PKI_DIR"))
        #expect(!FileManager.default.fileExists(atPath: folder.path + "/pki"))
        let found = CertificateFindings([1, 2, 3], host: nil, applicationURI: nil, policy: nil, target.pki)
        #expect(found.isTrusted == false)
        #expect(found.problem?.contains("cannot be read") == true)
    }

    @Test func limitsThatAreNotToldAreNotZero() throws {
        let folder = try TemporaryFolder()
        var report = ServerReport()
        report.limits.maxNodesPerRead = 0
        report.limits.maxMonitoredItemsPerCall = 100
        report.clockOffsetMicroseconds = -2_000_000
        report.serviceLevel = 255
        let text = ConnectionFindings(try target(folder), report, steps: []).text
        let rows = text.split(separator: "\n").map { $0.split(separator: "  ").map { $0.drop { $0 == " " } } }
        func value(_ name: String) -> Substring? { rows.first { $0.first == Substring(name) }?.last }
        #expect(value("nodes per Read") == "none")
        #expect(value("items per CreateMonitoredItems") == "100")
        #expect(value("nodes per Browse") == "not told")
        #expect(text.contains("2000.0 ms behind this machine's"))
        #expect(text.contains("255 (healthy)"))
    }
}
