import Testing

@testable import ControlAPI

struct NodeIDSyntaxTests {
    @Test(arguments: [
        "i=2258", "i=1", "i=4294967295", "ns=0;i=85", "ns=1;i=0", "ns=65535;s=x", "s=Well1.Pressure",
        "ns=2;s=Well 1;Pressure=\"bar\"", "ns=2;s==", "ns=2;s=é", "ns=2;s=\u{301}accent first", "ns=2;s=\r\n",
        "g=09087e75-8e5e-499b-954f-f2a9603db28a", "ns=3;g=09087E75-8E5E-499B-954F-F2A9603DB28A",
        "b=M/RbKBsRVkePCePcx24oRA==", "ns=1;b=YWJj", "nsu=http://example.com/a%3Bb;s=x", "nsu=urn:x;i=0",
        "ns=2;s=" + String(repeating: "x", count: Bounds.nodeIDBytes - 7),
    ])
    func takes(text: String) {
        #expect(NodeIDSyntax.problem(text) == nil)
    }

    @Test(arguments: [
        ("", "is required"), ("i=0", "null node id"), ("ns=0;i=0", "null node id"), ("i=", "not a number"),
        ("i=4294967296", "not a number"), ("i=99999999999", "not a number"), ("i=-1", "not a number"),
        ("i=+1", "not a number"), ("i=1 ", "not a number"), ("i=１", "not a number"),
        ("ns=65536;i=1", "namespace index"),
        ("ns=;i=1", "namespace index"), ("ns=-1;i=1", "namespace index"), ("ns=2", "such as"), ("ns=2;", "such as"),
        ("ns=2;x=1", "such as"), ("ns=2;s", "such as"), ("ns=2;s=", "empty identifier"), ("s=", "empty identifier"),
        ("nsu=;s=x", "empty namespace URI"), ("nsu=urn:x", "such as"), ("svr=1;i=1", "another server"),
        ("ns=2\u{37E}s=x", "such as"), ("g=09087e75", "not a GUID"),
        ("g=09087e75-8e5e-499b-954f-f2a9603db28g", "not a GUID"), ("b=", "not base64"), ("b=abc", "not base64"),
        ("b=====", "not base64"), ("b=a===", "not base64"), ("b=YW=j", "not base64"), ("b=YW j", "not base64"),
        ("Well1.Pressure", "such as"), ("S=x", "such as"), (" s=x", "such as"), ("NS=2;s=x", "such as"),
        ("ns=2;s=" + String(repeating: "x", count: Bounds.nodeIDBytes - 6), "bytes long"),
    ])
    func refuses(text: String, problem: String) {
        #expect(NodeIDSyntax.problem(text)?.contains(problem) == true, "\(NodeIDSyntax.problem(text) ?? "taken")")
    }
}

struct EndpointSyntaxTests {
    static let policyURI = "http://opcfoundation.org/UA/SecurityPolicy#"

    @Test(arguments: [
        "opc.tcp://plc", "opc.tcp://plc:4840", "OPC.TCP://PLC:4840", "opc.tcp://10.0.0.7:1/path/x?y#z",
        "opc.tcp://[::1]:4840", "opc.tcp://[fe80::1%eth0]", "opc.tcp://a:1/x,opc.tcp://[::1]:2",
        "opc.tcp://a_b-c.example:65535/", "opc.tcp://plc/a:b@c", "reverse+opc.tcp://plc:4840/x",
        "opc.tcp://a,Reverse+opc.tcp://b",
    ])
    func takesURLs(text: String) throws {
        #expect(try EndpointSyntax.url("endpoint_url", text) == text)
    }

    @Test(arguments: [
        ("", "is required"), ("http://plc", "does not start with"), ("opc.tcp:/plc", "does not start with"),
        ("opc.tcp://", "has no host"), ("opc.tcp://:4840", "has no host"), ("opc.tcp:///path", "has no host"),
        ("opc.tcp://[]", "has no host"), ("opc.tcp://user:hunter2@plc", "must not hold credentials"),
        ("opc.tcp://plc:", "not a port"), ("opc.tcp://plc:0", "not a port"), ("opc.tcp://plc:65536", "not a port"),
        ("opc.tcp://plc:48a", "not a port"), ("opc.tcp://plc:1:2", "not a port"),
        ("opc.tcp://plc:123456", "not a port"),
        ("opc.tcp://p lc", "cannot have"), ("opc.tcp://pl\u{0}c", "cannot have"), ("opc.tcp://plé", "cannot have"),
        ("opc.tcp://p,lc", "does not start with"),
        ("opc.tcp://a,", "does not start with"), ("opc.tcp://a,opc.tcp://u:hunter2@b", "must not hold credentials"),
        ("opc.tcp://p!lc", "not a host name"), ("opc.tcp://[fe80::1%]", "not an IPv6"), ("opc.tcp://[::1", "without ]"),
        ("opc.tcp://[::g]", "not an IPv6"),
        ("opc.tcp://[::1]x", "text after"), ("opc.tcp://[::1]:x", "not a port"),
        ("opc.tcp://" + String(repeating: "x", count: 2_039), "bytes long"),
    ])
    func refusesURLs(text: String, problem: String) {
        let error = refusal { () throws(ControlError) in try EndpointSyntax.url("endpoint_url", text) }
        #expect(error?.field == "endpoint_url")
        #expect(error?.message.contains(problem) == true, "\(error?.message ?? "taken")")
        #expect(error?.message.contains("hunter2") != true)
    }

    @Test func takesEveryModeAndPolicyByNameAndURI() throws {
        for mode in SecurityMode.allCases {
            #expect(try EndpointSyntax.securityMode("security_mode", mode.rawValue) == mode)
        }
        for policy in SecurityPolicyName.allCases {
            #expect(try EndpointSyntax.securityPolicy("security_policy", policy.rawValue) == policy)
            #expect(try EndpointSyntax.securityPolicy("security_policy", Self.policyURI + policy.rawValue) == policy)
        }
        #expect(try EndpointSyntax.securityMode("security_mode", "") == .none)
        #expect(try EndpointSyntax.securityPolicy("security_policy", "") == .none)
    }

    @Test(arguments: ["sign", "NONE", "SignAndEncrypt ", "3", "Invalid"])
    func refusesModes(text: String) {
        let error = refusal { () throws(ControlError) in try EndpointSyntax.securityMode("security_mode", text) }
        #expect(error?.message.contains("None, Sign, SignAndEncrypt") == true)
    }

    @Test(arguments: [
        "basic256sha256", "Basic256", "Basic128Rsa15", policyURI, policyURI + "Basic256", "http://x#None",
    ])
    func refusesPolicies(text: String) {
        let error = refusal { () throws(ControlError) in try EndpointSyntax.securityPolicy("security_policy", text) }
        #expect(error?.field == "security_policy")
    }

    struct Combination: Sendable {
        var mode = ""
        var policy = ""
        var username = ""
        var password = ""
    }

    private static func settings(_ it: Combination) throws(ControlError) -> EndpointSettings {
        try EndpointSyntax.settings(
            prefix: "target.",
            url: "opc.tcp://plc",
            mode: it.mode,
            policy: it.policy,
            username: it.username,
            password: it.password
        )
    }

    @Test(arguments: [
        Combination(), Combination(mode: "None", policy: "None"), Combination(mode: "Sign", policy: "Basic256Sha256"),
        Combination(mode: "SignAndEncrypt", policy: "Aes256_Sha256_RsaPss", username: "u", password: "p"),
        Combination(username: "u"),
    ])
    func takesCombinations(it: Combination) throws {
        let settings = try Self.settings(it)
        #expect(settings.username == it.username)
        #expect(settings.password.value == it.password)
    }

    @Test(arguments: [
        (Combination(policy: "Basic256Sha256"), "target.security_mode"),
        (Combination(mode: "Sign"), "target.security_policy"),
        (Combination(mode: "SignAndEncrypt", policy: "None"), "target.security_policy"),
        (Combination(password: "hunter2"), "target.username"),
        (Combination(username: String(repeating: "u", count: 1_025)), "target.username"),
        (Combination(username: "u", password: String(repeating: "p", count: 1_025)), "target.password"),
    ])
    func refusesCombinations(it: Combination, field: String) {
        let error = refusal { () throws(ControlError) in try Self.settings(it) }
        #expect(error?.field == field)
        #expect(error?.message.contains("hunter2") != true)
    }

    @Test func secretsDoNotShow() throws {
        let settings = try Self.settings(Combination(username: "u", password: "hunter2"))
        var dumped = ""
        dump(settings, to: &dumped)
        for text in ["\(settings)", String(reflecting: settings), dumped] { #expect(!text.contains("hunter2")) }
    }
}
