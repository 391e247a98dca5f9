import OPCUACodec
import Testing

@testable import OPCUASecurity

@Suite("Security policies and RSA")
struct PolicyTests {
    @Test func knowsItsNames() {
        #expect(SecurityPolicy.allCases.count == 6)
        for policy in SecurityPolicy.allCases {
            #expect(SecurityPolicy(policy.name) == policy && SecurityPolicy(policy.uri) == policy)
            #expect(policy.uri == "http://opcfoundation.org/UA/SecurityPolicy#" + policy.name)
        }
        #expect(SecurityPolicy("Aes128_Sha256_RsaOaep") == .aes128Sha256RsaOaep)
        for wrong in ["", "none", "Basic256Sha512", "http://opcfoundation.org/UA/SecurityPolicy#"] {
            #expect(SecurityPolicy(wrong) == nil)
        }
        #expect(SecurityPolicy.allCases.filter(\.isDeprecated) == [.basic128Rsa15, .basic256])
    }

    @Test(arguments: RSAEncryptionAlgorithm.allCases, [0, 1, 100, 190, 191, 214, 245, 246, 1000])
    func encryptsInBlocks(_ algorithm: RSAEncryptionAlgorithm, _ size: Int) throws {
        let vector = try #require(Vectors.shared.cases.first { $0.policy == "Basic256Sha256" })
        let identity = try vector.identity(.server)
        let plain = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
        let block = 256 - algorithm.overhead
        let sealed = try identity.certificate.publicKey.encrypt(plain, algorithm)
        #expect(sealed.count == (size + block - 1) / block * 256)
        #expect(try identity.key.decrypt(sealed, algorithm) == plain)
        guard size > 0 else { return }
        for damaged in [sealed.dropLast() + [], sealed.dropLast() + [sealed[sealed.count - 1] ^ 1]] as [[UInt8]] {
            // PKCS #1 v1.5 has no integrity: damage may decrypt to something else.
            let opened = try? identity.key.decrypt(damaged, algorithm)
            #expect(opened != plain)
        }
    }

    @Test(arguments: RSASignatureAlgorithm.allCases)
    func signs(_ algorithm: RSASignatureAlgorithm) throws {
        let vector = try #require(Vectors.shared.cases.first { $0.policy == "Basic256Sha256" })
        let identity = try vector.identity(.server)
        let other = try vector.identity(.client).certificate.publicKey
        let key = identity.certificate.publicKey
        let signature = try identity.key.sign([1, 2, 3], algorithm)
        #expect(key.verify([1, 2, 3], signature: signature, algorithm))
        #expect(!key.verify([1, 2, 4], signature: signature, algorithm))
        #expect(!other.verify([1, 2, 3], signature: signature, algorithm))
        #expect(!key.verify([1, 2, 3], signature: signature.dropLast() + [], algorithm))
        #expect(!key.verify([1, 2, 3], signature: [], algorithm))
        for foreign in RSASignatureAlgorithm.allCases where foreign != algorithm {
            #expect(!key.verify([1, 2, 3], signature: signature, foreign))
        }
    }

    @Test(arguments: SecurityPolicy.allCases)
    func passwordsArrive(_ policy: SecurityPolicy) throws {
        let server = try #require(Vectors.shared.cases.first { $0.policy == "Basic256Sha256" }).identity(.server)
        let nonce = try SecureRandom.bytes(32)
        for password in ["", "p", "€uro", String(repeating: "long", count: 1024)] {
            let sealed = try UserTokenEncryption.encrypt(
                password: password,
                policy: policy,
                serverCertificate: policy == .none ? nil : server.certificate,
                serverNonce: nonce
            )
            #expect(sealed.algorithmURI == policy.asymmetricEncryption?.uri)
            func open(_ sealed: EncryptedPassword, _ nonce: [UInt8]) throws -> String {
                try UserTokenEncryption.decrypt(sealed, policy: policy, key: server.key, serverNonce: nonce)
            }
            #expect(try open(sealed, nonce) == password)
            guard policy != .none else { continue }
            #expect(throws: SecurityError.self) { try open(sealed, SecureRandom.bytes(32)) }
            #expect(throws: SecurityError.self) { try open(sealed, nonce + [0]) }
            let plain = EncryptedPassword(bytes: sealed.bytes, algorithmURI: nil)
            #expect(throws: SecurityError.self) { try open(plain, nonce) }
        }
        #expect(throws: SecurityError.self) {
            try UserTokenEncryption.encrypt(
                password: String(repeating: "x", count: 4097),
                policy: policy,
                serverCertificate: server.certificate,
                serverNonce: nonce
            )
        }
        if policy != .none {
            #expect(throws: SecurityError.self) {
                try UserTokenEncryption.encrypt(
                    password: "p",
                    policy: policy,
                    serverCertificate: nil,
                    serverNonce: nonce
                )
            }
        }
    }

    @Test func signaturesGoBothWays() throws {
        let vector = try #require(Vectors.shared.cases.first { $0.policy == "Basic256Sha256" })
        let (client, server) = try (vector.identity(.client), vector.identity(.server))
        let chain = CertificateChain(leaf: server.certificate, issuers: [client.certificate])
        for policy in SecurityPolicy.allCases {
            let data = try SessionSignature.sign(
                policy: policy,
                key: client.key,
                peerCertificate: server.certificate,
                peerNonce: [1, 2, 3]
            )
            #expect((data.signature == nil) == (policy == .none))
            for ownChain in [server.chain, chain] {
                try SessionSignature.verify(
                    data,
                    policy: policy,
                    peerCertificate: client.certificate,
                    ownChain: ownChain,
                    ownNonce: [1, 2, 3]
                )
            }
        }
    }

    @Test func comparesWithoutHurry() {
        #expect(constantTimeEquals([], []) && constantTimeEquals([1, 2], [1, 2]))
        #expect(!constantTimeEquals([1], []) && !constantTimeEquals([1, 2], [1, 3]))
    }
}
