import OPCUACodec
import OPCUASecurity
import Testing

@testable import scada_simulator

@Suite struct SecurityTests {
    @Test(
        arguments: [
            ("none", [SecurityOffer.none]),
            ("Basic256Sha256:Sign", [SecurityOffer(policy: .basic256Sha256, mode: .sign)]),
            (
                "aes128_sha256_rsaoaep",
                [
                    SecurityOffer(policy: .aes128Sha256RsaOaep, mode: .sign),
                    SecurityOffer(policy: .aes128Sha256RsaOaep, mode: .signAndEncrypt),
                ]
            ),
        ] as [(String, [SecurityOffer])]
    )
    func wordsOfTheOption(_ word: String, _ offers: [SecurityOffer]) {
        #expect(SecurityOffer.parse(word) == offers)
    }

    @Test func allIsWhatIsInUseToday() {
        #expect(SecurityOffer.parse("all")?.count == 7)
        #expect(SecurityOffer.parse("all")?.contains { $0.policy.isDeprecated } == false)
        #expect(SecurityOffer.parse("deprecated")?.count == 4)
    }

    @Test(arguments: ["", "nothing", "None:Sign", "Basic256Sha256:None", "Basic256Sha256:", ":Sign"])
    func otherWordsAreNone(_ word: String) { #expect(SecurityOffer.parse(word) == nil) }

    /// A user's password is not asked for in plain text where it can be encrypted.
    @Test func secretsAreEncryptedWhereTheServerHasACertificate() throws {
        var security = ServerSecurity()
        #expect(security.userPolicyOfNone == .none)
        let key = try PrivateKey.generate()
        let template = CertificateTemplate.applicationInstance(
            commonName: "test",
            applicationUri: "urn:test",
            hostNames: [],
            now: 1_700_000_000
        )
        security.identity = try ApplicationIdentity(
            chain: CertificateChain(leaf: try template.makeCertificate(key: key)),
            key: key
        )
        #expect(security.userPolicyOfNone == .basic256Sha256)
        security.offers = SecurityOffer.all([.none, .aes256Sha256RsaPss])
        #expect(security.userPolicyOfNone == .aes256Sha256RsaPss)
        #expect(security.userTokens(.none).allSatisfy { $0.tokenType == .anonymous || $0.securityPolicyUri != nil })
        #expect(security.userTokens(security.offers[1]).allSatisfy { $0.securityPolicyUri == nil })
    }
}
