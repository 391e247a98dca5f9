/// Checks of the settings that reach an OPC UA server.
enum EndpointSyntax {
    /// `opc.tcp://host[:port][/path]` without credentials, `reverse+` in front where the server dials in; those of
    /// redundant servers are separated by commas.
    static func url(_ field: String, _ text: String) throws(ControlError) -> String {
        guard !text.isEmpty else { throw .invalid(field, "is required") }
        _ = try Validate.length(field, text, atMost: Bounds.endpointURLBytes)
        for part in text.split(separator: ",", omittingEmptySubsequences: false) { try check(field, part) }
        return text
    }

    private static func check(_ field: String, _ text: Substring) throws(ControlError) {
        let scheme = "opc.tcp://"
        let reverse = "reverse+"
        let text = text.prefix(reverse.count).lowercased() == reverse ? text.dropFirst(reverse.count) : text
        guard text.prefix(scheme.count).lowercased() == scheme else {
            // The text may hold a password: it is not repeated.
            throw .invalid(field, "does not start with \(scheme) or \(reverse)\(scheme)")
        }
        guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw .invalid(field, "has characters that a URL cannot have; percent-encode them")
        }
        let authority = text.dropFirst(scheme.count).prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        guard !authority.contains("@") else {
            throw .invalid(field, "must not hold credentials; use username and password")
        }
        let (host, port) = try split(field, authority)
        guard !host.isEmpty else { throw .invalid(field, "has no host") }
        if let port {
            guard !port.isEmpty, port.utf8.count <= 5, port.utf8.allSatisfy(\.isDigit), let number = UInt32(port),
                (1...65_535).contains(number)
            else { throw .invalid(field, "\(Validate.quoted(String(port))) is not a port from 1 to 65535") }
        }
    }

    private static func split(
        _ field: String,
        _ authority: Substring
    ) throws(ControlError) -> (host: Substring, port: Substring?) {
        if authority.first == "[" {
            guard let end = authority.firstIndex(of: "]") else { throw .invalid(field, "has a [ without ]") }
            let host = authority[authority.index(after: authority.startIndex)..<end]
            let rest = authority[authority.index(after: end)...]
            // A zone (interface) may follow a % sign.
            let parts = host.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
            let isAddress = parts.first?.utf8.allSatisfy { $0.isHexDigit || $0 == 0x3A || $0 == 0x2E } ?? false
            let isZone = parts.count < 2 || (!parts[1].isEmpty && isName(parts[1]))
            guard isAddress, isZone else {
                throw .invalid(field, "\(Validate.quoted(String(host))) is not an IPv6 address")
            }
            if rest.isEmpty { return (host, nil) }
            guard rest.first == ":" else { throw .invalid(field, "has text after the host's ]") }
            return (host, rest.dropFirst())
        }
        let parts = authority.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let host = parts.first ?? ""
        guard isName(host) else { throw .invalid(field, "\(Validate.quoted(String(host))) is not a host name") }
        return (host, parts.count > 1 ? parts[1] : nil)
    }

    private static func isName(_ text: Substring) -> Bool {
        text.utf8.allSatisfy { byte in
            byte.isDigit || (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7A) || byte == 0x2D || byte == 0x2E || byte == 0x5F
        }
    }

    static func securityMode(_ field: String, _ text: String) throws(ControlError) -> SecurityMode {
        if text.isEmpty { return .none }
        guard let mode = SecurityMode(rawValue: text) else {
            let names = SecurityMode.allCases.map(\.rawValue).joined(separator: ", ")
            throw .invalid(field, "\(Validate.quoted(text)) is not one of \(names)")
        }
        return mode
    }

    static func securityPolicy(_ field: String, _ text: String) throws(ControlError) -> SecurityPolicyName {
        if text.isEmpty { return .none }
        let prefix = "http://opcfoundation.org/UA/SecurityPolicy#"
        let name = text.hasPrefix(prefix) ? String(text.dropFirst(prefix.count)) : text
        if let policy = SecurityPolicyName(rawValue: name) { return policy }
        if name == "Basic256" || name == "Basic128Rsa15" {
            throw .invalid(field, "\(name) is deprecated because it is broken (SHA-1); use Basic256Sha256 or newer")
        }
        let names = SecurityPolicyName.allCases.map(\.rawValue).joined(separator: ", ")
        throw .invalid(field, "\(Validate.quoted(text)) is not one of \(names), nor the full URI of one")
    }

    /// All of it together. `prefix` stands before the field names, e.g. "target.".
    static func settings(
        prefix: String,
        url: String,
        mode: String,
        policy: String,
        username: String,
        password: String
    ) throws(ControlError) -> EndpointSettings {
        let settings = EndpointSettings(
            endpointURL: try Self.url(prefix + "endpoint_url", url),
            securityMode: try securityMode(prefix + "security_mode", mode),
            securityPolicy: try securityPolicy(prefix + "security_policy", policy),
            username: try Validate.length(prefix + "username", username, atMost: Bounds.credentialBytes),
            password: Secret(try Validate.length(prefix + "password", password, atMost: Bounds.credentialBytes))
        )
        switch (settings.securityMode, settings.securityPolicy) {
        case (.none, .none): break
        case (.none, let policy):
            throw .invalid(
                prefix + "security_mode",
                "None does not go with security_policy \(policy.rawValue): use Sign or SignAndEncrypt"
            )
        case (let mode, .none):
            throw .invalid(prefix + "security_policy", "is required with security_mode \(mode.rawValue)")
        default: break
        }
        guard !settings.username.isEmpty || settings.password.isEmpty else {
            throw .invalid(prefix + "username", "is required with a password")
        }
        return settings
    }
}
