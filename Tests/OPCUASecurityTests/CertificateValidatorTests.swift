import OPCUACodec
import Testing

@testable import OPCUASecurity

@Suite("Decisions about certificates")
struct CertificateValidatorTests {
    typealias Check = CertificateProblem.Check

    struct Case: Sendable, CustomTestStringConvertible {
        var chain: [String]
        var trusted: [String] = []
        var issuers: [String] = []
        var lists: [String] = []
        var host: String? = "plc.example"
        var uri: String? = "urn:plant:server"
        var purpose = CertificateExpectation.Purpose.server
        var policy = SecurityPolicy.basic256Sha256
        var problem: Check?
        var warnings: [Check] = []

        var testDescription: String {
            "\(chain) trusting \(trusted), issuers \(issuers), lists \(lists), \(host ?? "-"), \(policy.name)"
        }
    }

    static let allLists = ["rootList", "areaList"]

    static let chains: [Case] = [
        // Trusted through an authority.
        Case(chain: ["server"], trusted: ["root"], issuers: ["area"], lists: allLists),
        Case(chain: ["server", "area"], trusted: ["root"], lists: allLists),
        Case(chain: ["server", "area", "root"], trusted: ["root"], lists: allLists),
        Case(chain: ["server"], trusted: ["root", "area"], lists: allLists),
        Case(chain: ["serverOfRoot"], trusted: ["root"], lists: ["rootList"]),
        // What stands above the trusted authority does not matter, and need not be known.
        Case(chain: ["server"], trusted: ["area"], lists: ["areaList"]),
        Case(chain: ["server"], trusted: ["area"], issuers: ["root"], lists: ["areaList"]),
        // Not trusted.
        Case(chain: ["server", "area", "root"], lists: allLists, problem: .untrusted),
        Case(chain: ["server"], issuers: ["area", "root"], lists: allLists, problem: .untrusted),
        Case(chain: ["selfSigned"], problem: .untrusted),
        Case(chain: ["selfSigned"], trusted: ["server", "root"], lists: allLists, problem: .untrusted),
        Case(chain: ["server"], problem: .chainIncomplete),
        Case(chain: ["server"], trusted: ["root"], lists: allLists, problem: .chainIncomplete),
        Case(chain: ["server", "area"], lists: allLists, problem: .chainIncomplete),
        // Of the same name, with another key.
        Case(chain: ["server"], trusted: ["areaWithOtherKey"], lists: ["areaList"], problem: .chainIncomplete),
        Case(
            chain: ["server", "area"],
            trusted: ["rootWithOtherKey"],
            lists: allLists,
            problem: .chainIncomplete
        ),
        // Not the business of a server to be issued by one.
        Case(chain: ["serverOfPeer"], trusted: ["peer"], lists: ["peerList"], problem: .issuerKeyUsage),
        Case(chain: ["serverOfLoosePeer"], trusted: ["loosePeer"], lists: ["peerList"], problem: .issuerKeyUsage),
        Case(
            chain: ["serverOfBelow", "below"],
            trusted: ["narrow"],
            lists: ["narrowList", "belowList"],
            problem: .issuerKeyUsage
        ),
    ]

    static let revocations: [Case] = [
        Case(chain: ["revoked"], trusted: ["root"], issuers: ["area"], lists: allLists, problem: .revoked),
        Case(chain: ["revoked"], trusted: ["revoked", "area"], lists: ["areaList"], problem: .revoked),
        Case(
            chain: ["serverOfRevokedArea", "revokedArea"],
            trusted: ["root"],
            lists: ["rootList", "revokedAreaList"],
            problem: .issuerRevoked
        ),
        Case(chain: ["server", "area"], trusted: ["root"], problem: .revocationUnknown),
        Case(chain: ["server", "area"], trusted: ["root"], lists: ["rootList"], problem: .revocationUnknown),
        Case(chain: ["server", "area"], trusted: ["root"], lists: ["areaList"], problem: .issuerRevocationUnknown),
        Case(
            chain: ["server", "area"],
            trusted: ["root"],
            lists: ["rootList", "areaListForged"],
            problem: .revocationUnknown
        ),
        Case(
            chain: ["server", "area"],
            trusted: ["root"],
            lists: ["rootList", "areaListOld"],
            problem: .revocationUnknown
        ),
        // The good one counts, wherever it stands.
        Case(chain: ["server", "area"], trusted: ["root"], lists: ["areaListOld"] + allLists),
    ]

    static let times: [Case] = [
        Case(chain: ["expired"], trusted: ["expired"], problem: .expired),
        Case(chain: ["expiredServer", "area"], trusted: ["root"], lists: allLists, problem: .expired),
        Case(chain: ["future"], trusted: ["future"], problem: .notYetValid),
        Case(
            chain: ["serverOfExpiredArea", "expiredArea"],
            trusted: ["root"],
            lists: ["rootList", "expiredAreaList"],
            problem: .issuerExpired
        ),
        // Untrusted is said before expired: nobody should renew what nobody trusts.
        Case(chain: ["expired"], problem: .untrusted),
    ]

    /// Trusted as themselves.
    static let pinned: [Case] = [
        Case(chain: ["selfSigned"], trusted: ["selfSigned"]),
        Case(chain: ["server"], trusted: ["server"], warnings: [.chainIncomplete, .revocationUnknown]),
        Case(
            chain: ["server", "area"],
            trusted: ["server"],
            warnings: [.chainIncomplete, .revocationUnknown, .issuerRevocationUnknown]
        ),
        Case(
            chain: ["selfSigned"],
            trusted: ["selfSigned"],
            host: "other.example",
            warnings: [.wrongHost]
        ),
        Case(
            chain: ["serverOfExpiredArea", "expiredArea"],
            trusted: ["serverOfExpiredArea"],
            issuers: ["root"],
            lists: ["rootList", "expiredAreaList"],
            warnings: [.issuerExpired]
        ),
        Case(
            chain: ["serverOfPeer"],
            trusted: ["serverOfPeer", "peer"],
            lists: ["peerList"],
            warnings: [.issuerKeyUsage, .revocationUnknown]
        ),
        Case(chain: ["weakHash"], trusted: ["weakHash"], warnings: [.weakSignature]),
        Case(chain: ["oldStyle"], trusted: ["oldStyle"]),
    ]

    static let contents: [Case] = [
        Case(chain: ["server", "area"], trusted: ["root"], lists: allLists, host: "other", problem: .wrongHost),
        Case(chain: ["server", "area"], trusted: ["root"], lists: allLists, host: "PLC.Example."),
        Case(chain: ["server", "area"], trusted: ["root"], lists: allLists, host: "192.0.2.10"),
        Case(chain: ["server", "area"], trusted: ["root"], lists: allLists, host: "192.0.2.11", problem: .wrongHost),
        Case(chain: ["server", "area"], trusted: ["root"], lists: allLists, host: nil, uri: nil),
        Case(chain: ["server", "area"], trusted: ["root"], lists: allLists, host: "", problem: .wrongHost),
        Case(chain: ["wildcard", "area"], trusted: ["root"], lists: allLists, host: "a.plant.example"),
        Case(chain: ["wildcard", "area"], trusted: ["root"], lists: allLists, host: "10.1.2.3"),
        Case(chain: ["wildcard", "area"], trusted: ["root"], lists: allLists, host: "[2001:DB8:0::5]"),
        Case(
            chain: ["wildcard", "area"],
            trusted: ["root"],
            lists: allLists,
            host: "a.b.plant.example",
            problem: .wrongHost
        ),
        Case(
            chain: ["selfSigned"],
            trusted: ["selfSigned"],
            uri: "urn:plant:other",
            warnings: [.wrongApplicationUri]
        ),
        Case(
            chain: ["server", "area"],
            trusted: ["root"],
            lists: allLists,
            uri: "urn:plant:other",
            problem: .wrongApplicationUri
        ),
        Case(chain: ["short"], trusted: ["short"], problem: .keyTooShort),
        Case(chain: ["short"], trusted: ["short"], policy: .basic256),
        Case(chain: ["weakHash"], problem: .weakSignature),
        Case(chain: ["weakHash"], policy: .basic256, problem: .untrusted),
        Case(chain: ["noEncipherment"], trusted: ["noEncipherment"], problem: .keyUsage),
        Case(chain: ["clientOnly"], trusted: ["clientOnly"], problem: .keyUsage),
        Case(chain: ["clientOnly"], trusted: ["clientOnly"], purpose: .client),
    ]

    @Test(arguments: chains + revocations + times + pinned + contents)
    func decides(_ each: Case) throws {
        let plant = Plant.shared
        let verdict = try CertificateValidator.validate(
            plant.chain(each.chain),
            plant.list(trusted: each.trusted, issuers: each.issuers, lists: each.lists),
            CertificateExpectation(
                purpose: each.purpose,
                hostName: each.host,
                applicationUri: each.uri,
                policy: each.policy
            ),
            now: Plant.now
        )
        #expect(verdict.problem?.check == each.problem, "\(verdict.problem?.description ?? "trusted")")
        if each.problem == nil { #expect(verdict.warnings.map(\.check) == each.warnings, "\(verdict.warnings)") }
        #expect(try verdict.chain.first == plant.certificate(each.chain[0]))
        if let problem = verdict.problem {
            #expect(problem.status.isBad && problem.status.name != nil)
            #expect(!problem.message.isEmpty && !problem.advice.isEmpty)
        }
    }

    /// What can be cured by trusting this certificate names the very command.
    @Test(arguments: chains + revocations + contents)
    func namesTheCommand(_ each: Case) throws {
        let plant = Plant.shared
        let curable: [Check] = [
            .untrusted, .chainIncomplete, .wrongHost, .wrongApplicationUri, .revocationUnknown,
            .issuerRevocationUnknown, .weakSignature,
            .issuerKeyUsage,
        ]
        guard let expected = each.problem, curable.contains(expected) else { return }
        func decide(_ trusted: [String]) throws -> CertificateVerdict {
            try CertificateValidator.validate(
                plant.chain(each.chain),
                plant.list(trusted: trusted, issuers: each.issuers, lists: each.lists),
                CertificateExpectation(
                    purpose: each.purpose,
                    hostName: each.host,
                    applicationUri: each.uri,
                    policy: each.policy
                ),
                now: Plant.now
            )
        }
        let thumbprint = try plant.certificate(each.chain[0]).thumbprint
        let problem = try decide(each.trusted).problem
        #expect(problem?.advice.contains("scada-ingestion trust \(thumbprint)") == true)
        // And the command keeps its word.
        #expect(try decide(each.trusted + [each.chain[0]]).isTrusted)
    }

    @Test func everyStatusHasAName() {
        for check in Check.allCases { #expect(check.status.name?.hasPrefix("BadCertificate") == true) }
    }

    /// A chain with one byte of the leaf's signature changed.
    @Test func noticesForgedSignatures() throws {
        var bytes = try Plant.shared.bytes("server")
        bytes[bytes.count - 1] ^= 1
        let chain = try CertificateChain(
            leaf: Certificate(der: bytes),
            issuers: [Plant.shared.certificate("area")]
        )
        let verdict = try CertificateValidator.validate(
            chain,
            Plant.shared.list(trusted: ["root"], lists: Self.allLists),
            CertificateExpectation(purpose: .server),
            now: Plant.now
        )
        #expect(verdict.problem?.check == .badSignature)
    }

    @Test func writesTimes() {
        #expect(utcText(1_893_456_000) == "2030-01-01 00:00:00 UTC")
        #expect(utcText(.max).contains("1970"))
    }
}
