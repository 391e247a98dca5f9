import FoundationEssentials
import Testing

@testable import OPCUASecurity

/// A PKI folder that goes away with the test.
final class PKIFolder {
    let path: String

    init() throws {
        let base = FileManager.default.temporaryDirectory.path(percentEncoded: false)
        path = base + (base.hasSuffix("/") ? "" : "/") + "pki-\(UUID().uuidString)"
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func store() throws -> TrustStore { try TrustStore(folder: path) }

    func write(_ bytes: [UInt8], _ name: String) throws { try Data(bytes).write(to: URL(filePath: path + "/" + name)) }
    func read(_ name: String) throws -> [UInt8] { try [UInt8](Data(contentsOf: URL(filePath: path + "/" + name))) }
    func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: path + "/" + name) }
    func remove(_ name: String) throws { try FileManager.default.removeItem(atPath: path + "/" + name) }

    func names(_ folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: path + "/" + folder).sorted()
    }

    func mode(_ name: String) throws -> UInt32 {
        try #require(FileAccess.stamp(path + "/" + name)).mode & 0o777
    }
}

@Suite("PKI folder")
struct TrustStoreTests {
    let plant = Plant.shared
    let expectation = CertificateExpectation(purpose: .server, hostName: "plc.example")

    func check(_ store: TrustStore, _ names: [String]) throws -> CertificateProblem.Check? {
        try store.validate(plant.chain(names), expecting: expectation, now: Plant.now).problem?.check
    }

    @Test func rejectsThenTrustsThenRejects() throws {
        let folder = try PKIFolder()
        let store = try folder.store()
        let certificate = try plant.certificate("selfSigned")
        let thumbprint = "\(certificate.thumbprint)"
        let verdict = try store.validate(plant.chain(["selfSigned"]), expecting: expectation, now: Plant.now)
        #expect(verdict.problem?.check == .untrusted)
        #expect(verdict.problem?.advice.contains("scada-ingestion trust \(thumbprint)") == true)
        #expect(try folder.read("rejected/certs/\(thumbprint).der") == certificate.der)

        let trusted = try store.trust(thumbprint.lowercased())
        #expect(trusted.location == .trusted && trusted.certificate == certificate)
        #expect(try folder.names("rejected/certs").isEmpty)
        #expect(try check(store, ["selfSigned"]) == nil)
        #expect(try store.trust(thumbprint) == trusted)

        #expect(try store.reject(String(thumbprint.prefix(8))).location == .rejected)
        #expect(try check(store, ["selfSigned"]) == .untrusted)
        #expect(try store.list().map(\.location) == [.rejected])

        #expect(try store.remove(thumbprint).count == 1)
        #expect(try store.list().isEmpty)
        #expect(throws: SecurityError.self) { try store.trust(thumbprint) }
        #expect(throws: SecurityError.self) { try store.reject(thumbprint) }
    }

    @Test(arguments: ["", "123", "XYZ45678", String(repeating: "0", count: 41), "00000000"])
    func findsOnlyThumbprints(_ text: String) throws {
        let folder = try PKIFolder()
        let store = try folder.store()
        _ = try store.add(plant.certificate("selfSigned"), to: .trusted)
        let error = #expect(throws: SecurityError.self) { try store.find(text) }
        #expect(error?.code == .badNothingToDo)
    }

    /// Every folder and form in which operators and other programs leave files.
    @Test func readsWhatOthersPutThere() throws {
        let folder = try PKIFolder()
        let store = try folder.store()
        try folder.write(plant.certificate("root").pem(), "trusted/plant root.crt")
        try folder.write(plant.bytes("area"), "issuers/certs/area.DER")
        #expect(try check(store, ["server"]) == .revocationUnknown)
        try folder.write(plant.bytes("rootList"), "trusted/crl/root.crl")
        try folder.write(plant.bytes("areaList"), "issuers/crl/area.crl")
        #expect(try check(store, ["server"]) == nil)
        #expect(try check(store, ["revoked"]) == .revoked)
        // Replaced in place.
        try folder.write(plant.bytes("areaListOld"), "issuers/crl/area.crl")
        #expect(try check(store, ["server"]) == .revocationUnknown)
        try folder.write(plant.bytes("areaList"), "issuers/crl/area.crl")
        #expect(try check(store, ["server"]) == nil)
        try folder.remove("trusted/plant root.crt")
        #expect(try check(store, ["server"]) == .chainIncomplete)
        // Several in one file.
        try folder.write(plant.certificates(["root", "area"]).flatMap { try $0.pem() }, "trusted/certs/bundle.pem")
        #expect(try check(store, ["server"]) == nil)
        #expect(throws: SecurityError.self) { try store.remove("\(plant.certificate("root").thumbprint)") }
        #expect(folder.exists("trusted/certs/bundle.pem"))
    }

    @Test func reportsWhatItCannotRead() throws {
        let folder = try PKIFolder()
        let store = try folder.store()
        try folder.write(plant.bytes("selfSigned"), "trusted/certs/good.der")
        try folder.write([1, 2, 3], "trusted/certs/bad.der")
        try folder.write([UInt8](repeating: 0x30, count: Certificate.maximumSize * 4 + 1), "issuers/certs/huge.pem")
        try folder.write(Array("hello".utf8), "issuers/crl/text.crl")
        try folder.write(Array("hello".utf8), "trusted/certs/README.txt")
        try folder.write([1], "trusted/certs/.hidden.der")
        #expect(try check(store, ["selfSigned"]) == nil)
        let unreadable = try store.unreadableFiles()
        #expect(unreadable.count == 3)
        for name in ["bad.der", "huge.pem", "text.crl"] { #expect(unreadable.contains { $0.contains(name) }) }
        #expect(try store.list().count == 1)
    }

    /// The oldest go, the newest stay, and what is there is not written again.
    @Test func keepsFewRejected() throws {
        let folder = try PKIFolder()
        let store = try folder.store()
        _ = try check(store, ["selfSigned"])
        for index in 0..<(TrustStore.maximumRejected + 20) {
            try folder.write([UInt8(index & 255)], "rejected/certs/\(index).der")
        }
        _ = try check(store, ["oldStyle"])
        let names = try folder.names("rejected/certs")
        #expect(names.count == TrustStore.maximumRejected)
        #expect(try names.contains("\(plant.certificate("oldStyle").thumbprint).der"))
        _ = try check(store, ["oldStyle"])
        #expect(try folder.names("rejected/certs") == names)
    }

    @Test func damagedCertificatesAreAVerdict() throws {
        let folder = try PKIFolder()
        let store = try folder.store()
        for bytes in [[], [1, 2, 3]] as [[UInt8]] {
            let verdict = try store.validate(byteString: bytes, expecting: expectation, now: Plant.now)
            #expect(verdict.problem?.check == .malformed)
        }
        let verdict = try store.validate(
            byteString: plant.bytes("selfSigned"),
            expecting: expectation,
            now: Plant.now
        )
        #expect(verdict.problem?.check == .untrusted)
    }

    /// A trusted certificate that fails for another reason does not belong into rejected/.
    @Test func keepsTrustedOutOfRejected() throws {
        let folder = try PKIFolder()
        let store = try folder.store()
        _ = try store.add(plant.certificate("expired"), to: .trusted)
        #expect(try check(store, ["expired"]) == .expired)
        #expect(try folder.names("rejected/certs").isEmpty)
    }

    // MARK: Own certificate

    func template() -> CertificateTemplate {
        .applicationInstance(
            commonName: "scada-ingestion",
            applicationUri: "urn:gateway:scada-ingestion",
            hostNames: ["gateway"],
            now: Plant.now
        )
    }

    @Test func makesItsOwnCertificateOnce() throws {
        let folder = try PKIFolder()
        let store = try folder.store()
        #expect(try store.loadIdentity() == nil)
        let identity = try store.loadOrCreateIdentity(template())
        #expect(identity.certificate.uris == ["urn:gateway:scada-ingestion"] && identity.key.bits == 2048)
        #expect(try folder.mode("own/private/scada-ingestion.pem") == 0o600)
        #expect(try folder.mode("own/private") == 0o700)
        #expect(try store.privateKeyIsExposed() == false)
        #expect(try folder.store().loadOrCreateIdentity(template()).certificate == identity.certificate)
        #expect(try store.list().map(\.location) == [.own])
        #expect(throws: SecurityError.self) { try store.remove("\(identity.certificate.thumbprint)") }
        #expect(try folder.names("own/private") == ["scada-ingestion.pem"])

        let renewed = try store.renewCertificate(template())
        #expect(renewed.certificate != identity.certificate && renewed.key.belongs(to: identity.certificate.publicKey))
        #expect(try store.loadIdentity()?.certificate == renewed.certificate)

        // As after a crash between the two files.
        try folder.remove("own/certs/scada-ingestion.der")
        #expect(try store.loadOrCreateIdentity(template()).key.belongs(to: identity.certificate.publicKey))
    }

    @Test func usesAPairMadeElsewhere() throws {
        let folder = try PKIFolder()
        let store = try folder.store()
        let vector = try #require(Vectors.shared.cases.first { $0.policy == "Basic256Sha256" })
        let identity = try vector.identity(.client)
        try folder.write(identity.certificate.pem(), "own/certs/gateway.crt")
        #expect(throws: SecurityError.self) { try store.loadIdentity() }
        try folder.write([UInt8](vector.serverKey), "own/private/gateway.key")
        let error = #expect(throws: SecurityError.self) { try store.loadOrCreateIdentity(template()) }
        #expect(error?.message.contains("do not belong together") == true)
        try folder.write([UInt8](vector.clientKey), "own/private/gateway.key")
        #expect(try store.loadOrCreateIdentity(template()).certificate == identity.certificate)
        #expect(try store.privateKeyIsExposed())
        try folder.write([1, 2, 3], "own/certs/gateway.crt")
        #expect(throws: SecurityError.self) { try store.loadOrCreateIdentity(template()) }
    }

    /// Many at once, as two processes would: each opens the lock file for itself.
    @Test func makesOneCertificateForAll() async throws {
        let folder = try PKIFolder()
        let path = folder.path
        _ = try folder.store()
        let template = template()
        let certificates = try await withThrowingTaskGroup(of: [UInt8].self) { group in
            for _ in 0..<4 {
                group.addTask {
                    try TrustStore(folder: path).loadOrCreateIdentity(template).certificate.der
                }
            }
            return try await group.reduce(into: Set<[UInt8]>()) { $0.insert($1) }
        }
        #expect(certificates.count == 1)
        withExtendedLifetime(folder) {}
    }

    @Test func namesThePathThatFails() throws {
        let folder = try PKIFolder()
        _ = try folder.store()
        try folder.write([], "file")
        let error = #expect(throws: SecurityError.self) { try TrustStore(folder: folder.path + "/file") }
        #expect(error?.code == .badConfigurationError && error?.message.contains("/file") == true)
    }
}
