import OPCUACodec
import Testing

@testable import OPCUAClient

@Suite("Endpoint URLs")
struct EndpointURLTests {
    @Test(arguments: [
        ("opc.tcp://plc", "plc", 4840),
        ("opc.tcp://plc:48010", "plc", 48010),
        ("OPC.TCP://plc:1/Server/x?y", "plc", 1),
        ("opc.tcp://192.168.0.7:65535/", "192.168.0.7", 65535),
        ("opc.tcp://[::1]:4841", "::1", 4841),
        ("opc.tcp://[fe80::1]/path", "fe80::1", 4840),
    ])
    func parses(text: String, host: String, port: Int) throws {
        let url = try EndpointURL(text)
        #expect(url.host == host)
        #expect(url.port == port)
        #expect(url.description == text)
    }

    @Test(arguments: [
        "", "plc:4840", "http://plc", "opc.tcp://", "opc.tcp://:4840", "opc.tcp://plc:", "opc.tcp://plc:0",
        "opc.tcp://plc:65536", "opc.tcp://plc:x", "opc.tcp://[::1", "opc.tcp://[::1]x", "opc.tcp://[]:1",
        "opc.tcp://user@plc", "opc.tcp://" + String(repeating: "x", count: 4096),
    ])
    func refuses(text: String) {
        let error = #expect(throws: OPCUAClientError.self) { try EndpointURL(text) }
        #expect(error?.code == .invalidConfiguration)
        #expect(error?.isRetryable == false)
    }

    @Test func listsRedundantServers() throws {
        #expect(try EndpointURL.list("opc.tcp://a, opc.tcp://b:1 ,opc.tcp://c").map(\.host) == ["a", "b", "c"])
        #expect(throws: OPCUAClientError.self) { try EndpointURL.list("") }
        #expect(throws: OPCUAClientError.self) { try EndpointURL.list("opc.tcp://a,b") }
    }
}

@Suite("Choice of endpoint and user token")
struct EndpointSelectionTests {
    static let none = "http://opcfoundation.org/UA/SecurityPolicy#None"
    static let basic = "http://opcfoundation.org/UA/SecurityPolicy#Basic256Sha256"

    static func endpoint(
        _ mode: MessageSecurityMode,
        _ policy: String?,
        level: UInt8 = 0,
        transport: String? = "http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary",
        tokens: [UserTokenPolicy] = []
    ) -> EndpointDescription {
        EndpointDescription(
            securityMode: mode,
            securityPolicyUri: policy,
            userIdentityTokens: tokens,
            transportProfileUri: transport,
            securityLevel: level
        )
    }

    @Test func takesTheConfiguredModeAndPolicy() throws {
        let endpoints = [
            Self.endpoint(.none, Self.none), Self.endpoint(.sign, Self.basic, level: 1),
            Self.endpoint(.sign, Self.basic, level: 5),
            Self.endpoint(
                .sign,
                Self.basic,
                level: 9,
                transport: "http://opcfoundation.org/UA-Profile/Transport/https-uabinary"
            ),
        ]
        let chosen = try EndpointSelection.endpoint(in: endpoints, mode: .sign, policyURI: Self.basic)
        #expect(chosen.securityLevel == 5, "the highest level over opc.tcp")
    }

    @Test(arguments: [nil, "", none] as [String?])
    func takesAnUnnamedPolicyAsNone(policy: String?) throws {
        _ = try EndpointSelection.endpoint(
            in: [Self.endpoint(.none, policy, transport: nil)],
            mode: .none,
            policyURI: Self.none
        )
    }

    @Test func saysWhatTheServerOffersInstead() {
        let error = #expect(throws: OPCUAClientError.self) {
            try EndpointSelection.endpoint(
                in: [Self.endpoint(.sign, Self.basic), Self.endpoint(.signAndEncrypt, Self.basic)],
                mode: .none,
                policyURI: Self.none
            )
        }
        #expect(error?.code == .noMatchingEndpoint)
        #expect(error?.advice?.contains("Sign/Basic256Sha256, SignAndEncrypt/Basic256Sha256") == true)
    }

    @Test func prefersTheTokenPolicyThatEncrypts() throws {
        let plain = UserTokenPolicy(policyId: "plain", tokenType: .userName, securityPolicyUri: Self.none)
        let encrypted = UserTokenPolicy(policyId: "rsa", tokenType: .userName, securityPolicyUri: Self.basic)
        let inherited = UserTokenPolicy(policyId: "inherited", tokenType: .userName)
        let identity = ConnectionConfiguration.Identity.userName("u", password: Secret("p"))
        func chosen(_ mode: MessageSecurityMode, _ tokens: [UserTokenPolicy]) throws -> String? {
            try EndpointSelection.tokenPolicy(
                in: Self.endpoint(mode, mode == .none ? Self.none : Self.basic, tokens: tokens),
                identity: identity
            ).policyId
        }
        #expect(try chosen(.none, [plain, encrypted]) == "rsa")
        #expect(try chosen(.none, [plain, inherited]) == "plain")
        #expect(try chosen(.signAndEncrypt, [plain, inherited]) == "inherited")
        #expect(try chosen(.none, [plain]) == "plain")
    }

    @Test func saysWhichUsersTheServerAccepts() {
        let tokens = [UserTokenPolicy(tokenType: .userName), UserTokenPolicy(tokenType: .certificate)]
        let error = #expect(throws: OPCUAClientError.self) {
            try EndpointSelection.tokenPolicy(
                in: Self.endpoint(.none, Self.none, tokens: tokens),
                identity: .anonymous
            )
        }
        #expect(error?.code == .identityRejected)
        #expect(error?.advice?.contains("user name, certificate") == true)
        #expect(error?.isRetriedAtLongestDelayOnly == true)
    }
}

@Suite("Secrets")
struct SecretTests {
    @Test func neverPrints() {
        let secret = Secret("hunter2")
        let identity = ConnectionConfiguration.Identity.userName("u", password: secret)
        var dumped = ""
        dump(identity, to: &dumped)
        for text in ["\(secret)", "\(identity)", String(reflecting: identity), dumped] {
            #expect(!text.contains("hunter2"), "\(text)")
        }
    }
}
