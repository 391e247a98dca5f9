import FoundationEssentials
import NIOCore
import NIOPosix
import OPCUACodec
import OPCUASecurity
import Synchronization
import Testing

@testable import OPCUAClient

/// The checks a secured client makes of its server; that good servers pass them is met in the system tests.
@Suite("Secured connections", .timeLimit(.minutes(4)))
struct SecuredConnectionTests {
    static let server = Result { try SecuredSide.identity("urn:double") }
    static let client = Result { try SecuredSide.identity("urn:scada-ingestion:test") }

    /// Runs `body` with a PKI folder that trusts the server, or not.
    static func withSecurity(trusting: Bool, _ body: (ClientSecurity) async throws -> Void) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "opcua-client-\(UUID())").path
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = try TrustStore(folder: folder)
        if trusting {
            let leaf = try server.get().certificate
            try Data(leaf.der).write(to: URL(filePath: folder + "/trusted/certs/server.der"))
        }
        try await body(ClientSecurity(identity: try client.get(), trustStore: store))
    }

    /// Connects once.
    static func probe(
        _ side: SecuredSide,
        mode: MessageSecurityMode,
        trusting: Bool = true,
        configure: (inout ConnectionConfiguration) -> Void = { _ in },
        script: @escaping ServerDouble.Script = { _ in .usual }
    ) async throws -> Result<ServerReport, ProbeError> {
        let double = try await ServerDouble(secured: side, script: script)
        var configuration = ConnectionConfiguration(
            id: UUID(),
            endpointURLs: [double.url],
            securityMode: mode,
            securityPolicyURI: mode == .none ? SecurityPolicy.none.uri : side.policy.uri
        )
        configuration.connectionTimeout = 60_000
        configure(&configuration)
        let box = Mutex<Result<ServerReport, ProbeError>?>(nil)
        try await withSecurity(trusting: trusting) { security in
            let probe = OPCUAProbe(
                configuration: configuration,
                security: security,
                eventLoop: MultiThreadedEventLoopGroup.singleton.next()
            )
            do throws(ProbeError) {
                let report = try await probe.connect()
                box.withLock { $0 = .success(report) }
            } catch {
                box.withLock { $0 = .failure(error) }
            }
            await probe.close()
        }
        await double.close()
        return try #require(box.withLock { $0 })
    }

    static func side(_ flaw: SecuredSide.Flaw = .none, _ policy: SecurityPolicy = .basic256Sha256) throws -> SecuredSide
    {
        SecuredSide(identity: try server.get(), policy: policy, flaw: flaw)
    }

    @Test(
        arguments: [MessageSecurityMode.sign, .signAndEncrypt],
        [SecurityPolicy.basic256Sha256, .aes256Sha256RsaPss]
    )
    func connects(mode: MessageSecurityMode, policy: SecurityPolicy) async throws {
        let result = try await Self.probe(try Self.side(.none, policy), mode: mode)
        let report = try result.get()
        #expect(report.endpoint?.securityMode == mode)
        #expect(report.endpoints.count == 3)
    }

    @Test(arguments: [
        (SecuredSide.Flaw.wrongSignature, StatusCode.badSecurityChecksFailed, ConnectStep.createSession),
        (.noSignature, .badSecurityChecksFailed, .createSession),
        (.otherCertificate, .badCertificateInvalid, .createSession),
        (.shortNonce, .badNonceInvalid, .createSession),
        (.endpointTakenAway, .badSecurityChecksFailed, .createSession),
        (.shortActivateNonce, .badNonceInvalid, .activateSession),
    ])
    func refusesAServerThatCannotProveItself(flaw: SecuredSide.Flaw, status: StatusCode, step: ConnectStep) async throws
    {
        let result = try await Self.probe(try Self.side(flaw), mode: .signAndEncrypt)
        guard case .failure(let error) = result else {
            Issue.record("connected")
            return
        }
        #expect(error.error.status == status)
        #expect(error.step == step)
        #expect(error.error.code == .security)
    }

    @Test func refusesACertificateNobodyTrusts() async throws {
        let result = try await Self.probe(try Self.side(), mode: .sign, trusting: false)
        guard case .failure(let error) = result else {
            Issue.record("connected")
            return
        }
        #expect(error.step == .certificate)
        #expect(error.error.status == .badCertificateUntrusted)
        #expect(error.error.code == .certificate(.untrusted))
        let thumbprint = try Self.server.get().certificate.thumbprint
        #expect(error.error.advice?.contains("scada-ingestion trust \(thumbprint)") == true)
    }

    @Test(arguments: [
        (nil as SecurityPolicy?, true, false, false), (nil, true, true, true), (.basic256Sha256, true, false, true),
        (.basic256Sha256, false, false, false),
    ])
    func sendsNoPasswordInPlainTextOrToJustAnybody(
        tokenPolicy: SecurityPolicy?,
        isTrusted: Bool,
        allowsPlaintext: Bool,
        connects: Bool
    ) async throws {
        var side = try Self.side()
        side.tokenPolicy = tokenPolicy
        let seen = Mutex<[[UInt8]]>([])
        let result = try await Self.probe(side, mode: .none, trusting: isTrusted) {
            $0.identity = .userName("operator", password: Secret("hunter2"))
            $0.allowPlaintextPassword = allowsPlaintext
        } script: { request in
            if request.type == ActivateSessionRequest.binaryEncodingId { seen.withLock { $0.append(request.body) } }
            return .usual
        }
        #expect(((try? result.get()) != nil) == connects, "\(result)")
        let bodies = seen.withLock { $0 }
        #expect(bodies.count == (connects ? 1 : 0))
        let isReadable = bodies.contains { String(decoding: $0, as: UTF8.self).contains("hunter2") }
        #expect(isReadable == (connects && tokenPolicy == nil))
    }

    @Test(arguments: [
        ("http://opcfoundation.org/UA/SecurityPolicy#Basic256", MessageSecurityMode.sign),
        ("http://opcfoundation.org/UA/SecurityPolicy#Nonsense", .sign),
        ("http://opcfoundation.org/UA/SecurityPolicy#None", .sign),
        ("http://opcfoundation.org/UA/SecurityPolicy#Basic256Sha256", .none),
    ])
    func refusesPoliciesThatDoNotServe(uri: String, mode: MessageSecurityMode) async throws {
        let result = try await Self.probe(try Self.side(), mode: mode) { $0.securityPolicyURI = uri }
        guard case .failure(let error) = result else {
            Issue.record("connected")
            return
        }
        #expect(error.error.code == .invalidConfiguration)
        #expect(error.error.advice != nil)
    }

    @Test func aUserCertificateThatCannotBeReadIsNamed() async throws {
        var side = try Self.side()
        side.tokenPolicy = .basic256Sha256
        let result = try await Self.probe(side, mode: .sign) {
            $0.identity = .x509(certificatePath: "/nowhere/user.der", privateKeyPath: "/nowhere/user.pem")
        }
        guard case .failure(let error) = result else {
            Issue.record("connected")
            return
        }
        // This server takes no user certificates at all, which is found out first.
        #expect(error.step == .activateSession)
        #expect(error.error.isRetriedAtLongestDelayOnly)
        let missing = #expect(throws: OPCUAClientError.self) {
            try UserCertificate.load(certificatePath: "/nowhere/user.der", keyPath: "/nowhere/user.pem")
        }
        #expect(missing?.message.contains("/nowhere/user.der") == true)
    }
}
