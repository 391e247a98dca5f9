import Testing

@testable import OPCUASecurity

@Suite("Certificates")
struct CertificateTests {
    static let now: Int64 = 1_760_000_000
    /// One key for all tests here: making one takes a while.
    static let key = try? PrivateKey.generate(bits: 2048)

    func key() throws -> PrivateKey { try #require(Self.key) }

    func own(hosts: [String] = ["gateway.example", "192.0.2.7", "2001:db8::7"]) throws -> Certificate {
        try CertificateTemplate.applicationInstance(
            commonName: "scada-ingestion@gateway",
            applicationUri: "urn:gateway.example:scada,ingestion;=DNS:evil.example",
            hostNames: hosts,
            now: Self.now
        ).makeCertificate(key: key())
    }

    @Test func makesApplicationInstanceCertificates() throws {
        let certificate = try own()
        #expect(certificate.name == "scada-ingestion@gateway")
        #expect(certificate.subject == "CN=scada-ingestion@gateway" && certificate.issuer == certificate.subject)
        #expect(certificate.uris == ["urn:gateway.example:scada,ingestion;=DNS:evil.example"])
        #expect(certificate.dnsNames == ["gateway.example"])
        #expect(certificate.ipAddresses == ["192.0.2.7", "2001:db8::7"])
        #expect(certificate.keyBits == 2048)
        #expect(certificate.notBefore == Self.now - 3600)
        #expect(certificate.notAfter == Self.now + 5 * 365 * 86_400)
        #expect(
            certificate.keyUsage
                == [.digitalSignature, .nonRepudiation, .keyEncipherment, .dataEncipherment, .keyCertSign]
        )
        #expect(certificate.extendedKeyUsage == [.clientAuth, .serverAuth])
        #expect(certificate.isSelfSigned && !certificate.isAuthority)
        #expect(certificate.signatureHash == .sha2)
        #expect(try key().belongs(to: certificate.publicKey))
        #expect(try own().serialNumber != certificate.serialNumber)
    }

    @Test func survivesTheWayThroughFiles() throws {
        let certificate = try own()
        #expect(try CertificateChain(fileContent: certificate.pem()).leaf == certificate)
        #expect(try CertificateChain(fileContent: certificate.der).leaf == certificate)
        #expect(try Certificate(der: certificate.der) == certificate)
        #expect(try PrivateKey(key().pem()).belongs(to: certificate.publicKey))
    }

    @Test func readsChains() throws {
        let first = try own()
        let second = try own(hosts: [])
        let chain = try CertificateChain(byteString: first.der + second.der)
        #expect(chain == CertificateChain(leaf: first, issuers: [second]))
        #expect(chain.byteString == first.der + second.der)
        #expect(try CertificateChain(fileContent: first.pem() + second.pem()) == chain)
        #expect(try CertificateChain(byteString: first.der + [0, 0, 0]).issuers.isEmpty)
        let damaged: [[UInt8]] = [
            [], [0], [0x30], first.der.dropLast(1), first.der + [1], first.der + second.der.dropLast(2),
        ]
        for bytes in damaged {
            #expect(throws: SecurityError.self) { try CertificateChain(byteString: bytes) }
        }
        let long = Array(repeatElement(first.der, count: 11).joined())
        #expect(throws: SecurityError.self) { try CertificateChain(byteString: long) }
        #expect(throws: SecurityError.self) { try Certificate(der: first.der + second.der) }
    }

    /// Facts as Python's cryptography wrote them.
    @Test func readsOthersCertificates() throws {
        let vector = try #require(Vectors.shared.cases.first { $0.policy == "Basic256Sha256" })
        let certificate = try Certificate(der: [UInt8](vector.clientCertificate))
        #expect(certificate.name == "client" && certificate.uris == ["urn:test:client"])
        #expect(certificate.notBefore == 1_704_067_200 && certificate.notAfter == 2_335_219_200)
        #expect(certificate.keyUsage == nil && certificate.extendedKeyUsage == nil)
        #expect(certificate.isSelfSigned)
    }

    @Test func refusesForeignKeys() {
        let encrypted = """
            -----BEGIN ENCRYPTED PRIVATE KEY-----
            MIGjMF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQEFDDAkBBAAAAAAAAAAAAAAAAAA
            -----END ENCRYPTED PRIVATE KEY-----
            """
        for bytes in [[], [0x30, 0x03, 1, 2, 3], Array(encrypted.utf8)] as [[UInt8]] {
            #expect(throws: SecurityError.self) { try PrivateKey(bytes) }
        }
    }

    @Test func printsNoKey() throws {
        var text = ""
        dump(try ApplicationIdentity(chain: CertificateChain(leaf: own()), key: key()), to: &text)
        #expect(text.contains("RSA private key of 2048 bits") && !text.contains("BEGIN"))
    }

    @Test(arguments: [
        ("192.0.2.1", "192.0.2.1"), ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"), ("[::1]", "::1"), ("::", "::"),
        ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"), ("1:0:0:2:0:0:0:3", "1:0:0:2::3"), ("fe80::", "fe80::"),
    ])
    func readsAddresses(_ text: String, _ expected: String) {
        #expect(IPAddress(text)?.description == expected)
    }

    @Test(arguments: ["", "host", "1.2.3", "1.2.3.4.5", "256.1.1.1", ":::", "1:2", "[::1"])
    func refusesWhatIsNoAddress(_ text: String) { #expect(IPAddress(text) == nil) }

    @Test func readsThumbprints() throws {
        let thumbprint = try own().thumbprint
        let text = thumbprint.description
        #expect(text.count == 40 && Thumbprint(text) == thumbprint && Thumbprint(text.lowercased()) == thumbprint)
        let pairs = stride(from: 0, to: 40, by: 2).map { String(Array(text)[$0..<$0 + 2]) }
        #expect(Thumbprint(pairs.joined(separator: ":")) == thumbprint)
        for wrong in ["", String(text.dropLast()), text + "0", String(repeating: "g", count: 40)] {
            #expect(Thumbprint(wrong) == nil)
        }
    }
}
