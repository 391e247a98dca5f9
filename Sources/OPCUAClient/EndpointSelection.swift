import OPCUACodec
import OPCUASecurity

/// Choosing among the endpoints a server offers (Part 4, 5.5.4 and 7.14).
enum EndpointSelection {
    /// The endpoint with the configured mode and policy.
    static func endpoint(
        in endpoints: [EndpointDescription],
        mode: MessageSecurityMode,
        policyURI: String
    ) throws(OPCUAClientError) -> EndpointDescription {
        let binary = endpoints.filter {
            // Servers offer HTTPS and WebSockets beside opc.tcp under the same mode and policy.
            guard let profile = $0.transportProfileUri, !profile.isEmpty else { return true }
            return profile.hasSuffix("uatcp-uasc-uabinary")
        }
        let matching = binary.filter {
            // Servers without any security leave the URI empty.
            let uri = $0.securityPolicyUri.flatMap { $0.isEmpty ? nil : $0 } ?? SecurityPolicy.none.uri
            return $0.securityMode == mode && uri == policyURI
        }
        if let best = matching.max(by: { $0.securityLevel < $1.securityLevel }) { return best }
        let offered = binary.map { name($0.securityMode) + "/" + shortPolicy($0.securityPolicyUri ?? "") }
        let unique = offered.reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }
        throw OPCUAClientError(
            .noMatchingEndpoint,
            "the server offers no endpoint with \(name(mode))/\(shortPolicy(policyURI))",
            status: .badSecurityModeRejected,
            advice: unique.isEmpty
                ? "It offers none over opc.tcp" : "It offers \(unique.joined(separator: ", "))"
        )
    }

    /// The user token policy for the configured identity.
    static func tokenPolicy(
        in endpoint: EndpointDescription,
        identity: ConnectionConfiguration.Identity
    ) throws(OPCUAClientError) -> UserTokenPolicy {
        let wanted: UserTokenType
        switch identity {
        case .anonymous: wanted = .anonymous
        case .userName: wanted = .userName
        case .x509: wanted = .certificate
        }
        let matching = endpoint.userIdentityTokens.filter { $0.tokenType == wanted }
        // Where the server leaves the choice: one that encrypts, else one that does not, rather than a broken one, rather
        // than one nobody here knows.
        func rank(_ policy: UserTokenPolicy) -> Int {
            let uri = policy.securityPolicyUri.flatMap { $0.isEmpty ? nil : $0 } ?? endpoint.securityPolicyUri ?? ""
            guard let policy = uri.isEmpty ? SecurityPolicy.none : SecurityPolicy(uri) else { return 0 }
            return policy == .none ? 2 : policy.isDeprecated ? 1 : 3
        }
        if let best = matching.max(by: { rank($0) < rank($1) }) { return best }
        let offered = endpoint.userIdentityTokens.map { name($0.tokenType) }
        let unique = offered.reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }
        throw OPCUAClientError(
            .identityRejected,
            "the server does not accept \(name(wanted)) users on this endpoint",
            status: .badIdentityTokenRejected,
            advice: unique.isEmpty
                ? "It lists no kind of user at all" : "It accepts \(unique.joined(separator: ", "))",
            isRetriedAtLongestDelayOnly: true
        )
    }

    static func name(_ mode: MessageSecurityMode) -> String {
        switch mode {
        case .none: "None"
        case .sign: "Sign"
        case .signAndEncrypt: "SignAndEncrypt"
        default: "mode \(mode.rawValue)"
        }
    }

    static func name(_ type: UserTokenType) -> String {
        switch type {
        case .anonymous: "anonymous"
        case .userName: "user name"
        case .certificate: "certificate"
        case .issuedToken: "issued token"
        default: "type \(type.rawValue)"
        }
    }

    /// What stands behind `#` in a policy URI.
    static func shortPolicy(_ uri: String) -> String {
        uri.split(separator: "#").last.map(String.init) ?? uri
    }
}
