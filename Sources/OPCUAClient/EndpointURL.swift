import OPCUACodec

/// An `opc.tcp` URL taken apart (Part 6, 7.2): host and port to dial, and the text to put into Hello. With `reverse+` in
/// front the server is not dialled: it dials in and names this URL in its ReverseHello (Part 6, 7.1.2.6).
package struct EndpointURL: Sendable, Hashable, CustomStringConvertible {
    /// Name or address, an IPv6 address without its brackets.
    package let host: String
    package let port: Int
    /// The URL as it was given.
    package let description: String
    /// What the server knows itself by: the URL without `reverse+`.
    package let serverURL: String
    /// The server dials in.
    package let isReverse: Bool

    /// The registered port of OPC UA (Part 6, 7.2).
    package static let defaultPort = 4840

    package init(_ text: String) throws(OPCUAClientError) {
        func wrong(_ why: String) -> OPCUAClientError {
            OPCUAClientError(
                .invalidConfiguration,
                "the endpoint URL \"\(text)\" cannot be used: \(why)",
                status: .badTcpEndpointUrlInvalid,
                advice: "It looks like opc.tcp://host:4840/path",
                isRetryable: false
            )
        }
        let scheme = "opc.tcp://"
        isReverse = text.lowercased().hasPrefix(Self.reversePrefix)
        let server = isReverse ? String(text.dropFirst(Self.reversePrefix.count)) : text
        guard server.utf8.count <= 4096 else { throw wrong("it is longer than 4096 bytes (Part 6, 7.1.2.3)") }
        guard server.lowercased().hasPrefix(scheme) else {
            throw wrong("it must begin with opc.tcp:// or reverse+opc.tcp://")
        }
        let rest = server.dropFirst(scheme.count)
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        var host = authority
        var port: Substring?
        if authority.first == "[" {
            guard let end = authority.firstIndex(of: "]") else {
                throw wrong("the \"]\" of the IPv6 address is missing")
            }
            host = authority[authority.index(after: authority.startIndex)..<end]
            let tail = authority[authority.index(after: end)...]
            if !tail.isEmpty {
                guard tail.first == ":" else { throw wrong("a \":\" and the port must follow the IPv6 address") }
                port = tail.dropFirst()
            }
        } else if let colon = authority.lastIndex(of: ":") {
            host = authority[..<colon]
            port = authority[authority.index(after: colon)...]
        }
        guard !host.isEmpty else { throw wrong("the host is missing") }
        guard !host.contains("@") else { throw wrong("a user name does not belong into the URL") }
        self.host = String(host)
        if let port {
            guard let number = UInt16(port), number > 0 else {
                throw wrong("the port must be a number from 1 to 65535")
            }
            self.port = Int(number)
        } else {
            self.port = Self.defaultPort
        }
        description = text
        serverURL = server
    }

    private static let reversePrefix = "reverse+"

    /// Whether the server of this URL dials in; false for a text that is no URL.
    package static func isReverse(_ text: String) -> Bool { (try? EndpointURL(text))?.isReverse ?? false }

    /// The URLs of one connection: redundant servers are separated by commas.
    package static func list(_ text: String) throws(OPCUAClientError) -> [EndpointURL] {
        var urls: [EndpointURL] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: true) {
            let trimmed = part.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed()
            urls.append(try EndpointURL(String(trimmed)))
        }
        if urls.isEmpty { urls.append(try EndpointURL(text)) }
        return urls
    }
}
