import OPCUACodec
import Testing

@testable import OPCUASecurity

@Suite("Secured chunks")
struct SecuredChannelTests {
    /// One of each policy and mode.
    static let cases = Vectors.shared.cases

    func pair(_ vector: Vectors.Case) throws -> (client: SecureChannelCodec, server: SecureChannelCodec) {
        try (vector.opened(.client), vector.opened(.server))
    }

    /// A whole life: open, talk, renew, talk, close.
    @Test(arguments: cases)
    func lives(_ vector: Vectors.Case) throws {
        var client = try vector.codec(.client)
        var server = try vector.codec(.server)
        for round in 1...2 as ClosedRange<UInt32> {
            let clientNonce = try #require(try client.makeNonce())
            #expect(try clientNonce.count == vector.securityPolicy().nonceLength)
            let request = try encodeChunks(&client, .openSecureChannel, clientNonce)
            #expect(try decodeChunk(&server, request[0]).body == clientNonce)
            let serverNonce = try #require(try server.makeNonce())
            try server.install(channelID: 5, tokenID: round, clientNonce: clientNonce, serverNonce: serverNonce)
            let response = try encodeChunks(&server, .openSecureChannel, serverNonce)
            #expect(try decodeChunk(&client, response[0]).body == serverNonce)
            try client.install(channelID: 5, tokenID: round, clientNonce: clientNonce, serverNonce: serverNonce)
            for size in [0, 1, 100, 8000, 8168, 9000, 30_000] {
                let body = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
                #expect(try relay(body, &client, &server) == body)
                #expect(try relay(body, &server, &client) == body)
            }
        }
        let close = try encodeChunks(&client, .closeSecureChannel, [1, 2, 3])
        #expect(try decodeChunk(&server, close[0]).0.type == .closeSecureChannel)
    }

    func relay(
        _ body: [UInt8],
        _ sender: inout SecureChannelCodec,
        _ receiver: inout SecureChannelCodec
    ) throws -> [UInt8] {
        var joined: [UInt8] = []
        for chunk in try encodeChunks(&sender, .message, body) {
            #expect(chunk.count <= 8192)
            joined += try decodeChunk(&receiver, chunk).body
        }
        return joined
    }

    /// The largest body of one chunk fills it as far as blocks allow; one byte more needs a second.
    @Test(arguments: cases, [8192, 8193, 8199, 8207, 65_535])
    func fillsChunks(_ vector: Vectors.Case, _ chunkSize: Int) throws {
        var (client, _) = try pair(vector)
        let limits = ChunkLimits(chunkSize: chunkSize)
        let size = client.maximumBodySize(chunkSize: chunkSize)
        let chunks = try encodeChunks(&client, .message, [UInt8](repeating: 1, count: size), limits: limits)
        #expect(chunks.count == 1)
        #expect(chunkSize - chunks[0].count < (vector.mode == "Sign" ? 1 : 16))
        #expect(try encodeChunks(&client, .message, [UInt8](repeating: 1, count: size + 1), limits: limits).count == 2)
    }

    /// Every byte of a message is under the signature: whichever changes, the chunk is refused.
    @Test(arguments: cases)
    func noticesChangedBytes(_ vector: Vectors.Case) throws {
        var (client, server) = try pair(vector)
        let chunk = try encodeChunks(&client, .message, Array(1...40))[0]
        for index in chunk.indices {
            var damaged = chunk
            damaged[index] ^= 0x40
            var receiver = server
            #expect(throws: SecurityError.self, "byte \(index)") { try decodeChunk(&receiver, damaged) }
        }
        #expect(try decodeChunk(&server, chunk).body == Array(1...40))
    }

    @Test(arguments: cases.filter { $0.policy == "Basic256Sha256" || $0.policy == "Aes256_Sha256_RsaPss" })
    func noticesChangedOpen(_ vector: Vectors.Case) throws {
        var client = try vector.codec(.client)
        let chunk = try encodeChunks(&client, .openSecureChannel, Array(1...40))[0]
        for index in stride(from: 0, to: chunk.count, by: 41) {
            var damaged = chunk
            damaged[index] ^= 1
            // The sender's channel id is not checked in OpenSecureChannel: the server may not know it yet.
            var receiver = try vector.codec(.server)
            #expect(throws: SecurityError.self, "byte \(index)") { try decodeChunk(&receiver, damaged) }
        }
    }

    /// A chunk of one direction played back in the other, or under another channel's keys.
    @Test(arguments: cases)
    func refusesReflections(_ vector: Vectors.Case) throws {
        var (client, server) = try pair(vector)
        let chunk = try encodeChunks(&client, .message, [1])[0]
        #expect(throws: SecureChannelCodec.checksFailed()) { try decodeChunk(&client, chunk) }
        #expect(try decodeChunk(&server, chunk).body == [1])
        #expect(throws: SecurityError.self) { try decodeChunk(&server, chunk) }
        var other = try vector.codec(.server)
        let nonce = try #require(try other.makeNonce())
        try other.install(channelID: 5, tokenID: 9, clientNonce: nonce, serverNonce: nonce)
        #expect(throws: SecureChannelCodec.checksFailed()) { try decodeChunk(&other, chunk) }
    }

    @Test(arguments: cases)
    func refusesPlainText(_ vector: Vectors.Case) throws {
        var plain = SecureChannelCodec()
        plain.install(channelID: 5, tokenID: 9)
        var server = try vector.opened(.server)
        for size in [0, 7, 8, 24, 32, 100] {
            let chunk = try encodeChunks(&plain, .message, [UInt8](repeating: 0, count: size))[0]
            #expect(throws: SecurityError.self) { try decodeChunk(&server, chunk) }
        }
        let open = try encodeChunks(&plain, .openSecureChannel, [1])[0]
        let error = #expect(throws: SecurityError.self) { try decodeChunk(&server, open) }
        #expect(error?.code == .badSecurityPolicyRejected)
    }

    @Test func needsKeys() throws {
        let vector = Self.cases[0]
        var codec = try vector.codec(.client)
        #expect(throws: SecurityError.self) { try encodeChunks(&codec, .message, [1]) }
        codec.install(channelID: 5, tokenID: 9)
        #expect(throws: SecurityError.self) { try encodeChunks(&codec, .message, [1]) }
        for (client, server) in [(15, 16), (16, 0), (257, 16)] {
            #expect(throws: SecurityError.self) {
                try codec.install(
                    channelID: 5,
                    tokenID: 9,
                    clientNonce: [UInt8](repeating: 0, count: client),
                    serverNonce: [UInt8](repeating: 0, count: server)
                )
            }
        }
    }

    // MARK: Renewal

    /// Client and server with token 9 until 100, then token 10 until 200.
    func renewed(_ vector: Vectors.Case) throws -> (client: SecureChannelCodec, server: SecureChannelCodec) {
        func codec(_ role: ChannelSecurity.Role) throws -> SecureChannelCodec {
            var codec = try vector.codec(role)
            let nonce = [UInt8](repeating: 1, count: 32)
            for (token, end) in [(9, 100), (10, 200)] as [(UInt32, UInt64)] {
                try codec.install(
                    channelID: 5,
                    tokenID: token,
                    clientNonce: nonce,
                    serverNonce: [UInt8](repeating: UInt8(token), count: 32),
                    expiresAt: end
                )
            }
            return codec
        }
        return try (codec(.client), codec(.server))
    }

    @Test(arguments: cases)
    func serverKeepsTheOldTokenUntilTheClientUsesTheNew(_ vector: Vectors.Case) throws {
        var (client, server) = try renewed(vector)
        let old = try encodeChunks(&server, .message, [1], now: 50)[0]
        let (decoded, _) = try decodeChunk(&client, old, now: 50)
        #expect(decoded.tokenID == 9)
        let new = try encodeChunks(&client, .message, [2], now: 50)[0]
        #expect(try decodeChunk(&server, new, now: 50).0.tokenID == 10)
        #expect(server.previousTokenID == nil)
        let answer = try encodeChunks(&server, .message, [3], now: 50)[0]
        #expect(try decodeChunk(&client, answer, now: 50).0.tokenID == 10)
        #expect(client.previousTokenID == nil)
    }

    @Test(arguments: cases)
    func expiredTokensServeNothing(_ vector: Vectors.Case) throws {
        var (client, server) = try renewed(vector)
        let old = try encodeChunks(&server, .message, [1], now: 99)[0]
        #expect(throws: SecurityError.self) { try decodeChunk(&client, old, now: 100) }
        let new = try encodeChunks(&server, .message, [1], now: 100)[0]
        #expect(try decodeChunk(&client, new, now: 100).0.tokenID == 10)
        #expect(throws: SecurityError.self) { try encodeChunks(&client, .message, [1], now: 200) }
        #expect(throws: SecurityError.self) { try encodeChunks(&server, .message, [1], now: 200) }
    }

    /// Who cannot sign must not end the old token's life by writing the new one's number.
    @Test(arguments: cases)
    func forgedChunksDoNotEndTheOldToken(_ vector: Vectors.Case) throws {
        var (client, server) = try renewed(vector)
        var forged = try encodeChunks(&client, .message, [1], now: 50)[0]
        forged[forged.count - 1] ^= 1
        #expect(throws: SecureChannelCodec.checksFailed()) { try decodeChunk(&server, forged, now: 50) }
        #expect(server.previousTokenID == 9)
    }

    // MARK: What channels are made of

    @Test func refusesKeysThePolicyForbids() throws {
        let short = try #require(Self.cases.first { $0.policy == "Basic128Rsa15" }).identity(.client)
        let long = try #require(Self.cases.first { $0.policy == "Basic256Sha256" }).identity(.server)
        #expect(short.certificate.keyBits == 1024 && long.certificate.keyBits == 2048)
        for (policy, own, peer) in [
            (SecurityPolicy.basic256Sha256, short, long), (.aes256Sha256RsaPss, long, short), (.none, long, long),
        ] {
            #expect(throws: SecurityError.self) {
                try ChannelSecurity(role: .client, policy: policy, mode: .sign, own: own, peer: peer.certificate)
            }
        }
        for mode in [MessageSecurityMode.none, .invalid, MessageSecurityMode(rawValue: 4)] {
            #expect(throws: SecurityError.self) {
                try ChannelSecurity(
                    role: .client,
                    policy: .basic256Sha256,
                    mode: mode,
                    own: long,
                    peer: long.certificate
                )
            }
        }
        #expect(throws: SecurityError.self) { try ApplicationIdentity(chain: long.chain, key: short.key) }
    }

    @Test func serverChoosesTheModeOnce() throws {
        let vector = Self.cases[0]
        let security = try ChannelSecurity(
            role: .server,
            policy: vector.securityPolicy(),
            mode: nil,
            own: vector.identity(.server),
            peer: vector.identity(.client).certificate
        )
        var codec = SecureChannelCodec(security: security)
        #expect(throws: SecurityError.self) {
            try codec.install(channelID: 5, tokenID: 9, clientNonce: [], serverNonce: [])
        }
        #expect(throws: SecurityError.self) { try codec.choose(mode: .none) }
        try codec.choose(mode: .sign)
        try codec.choose(mode: .sign)
        #expect(throws: SecurityError.self) { try codec.choose(mode: .signAndEncrypt) }
    }

    /// A server's way to its codec, from the bytes of the first message on.
    @Test(arguments: cases)
    func acceptsClients(_ vector: Vectors.Case) throws {
        let own = try vector.identity(.server)
        let policy = try vector.securityPolicy()
        let chunk = [UInt8](vector.openFromClient[0])
        var header = try chunk.withUnsafeBytes { try AsymmetricHeader.peek($0) }
        let (security, peer) = try ChannelSecurity.accepting(header, own: own, allowed: [.none, policy])
        #expect(try peer?.leaf == vector.identity(.client).certificate)
        var codec = SecureChannelCodec(security: security)
        #expect(try decodeChunk(&codec, chunk).body == [UInt8](vector.openBody))
        try codec.choose(mode: .sign)

        func refuses(
            _ header: AsymmetricHeader,
            _ own: ApplicationIdentity?,
            _ allowed: Set<SecurityPolicy>,
            _ expected: SecurityError.Code
        ) {
            let error = #expect(throws: SecurityError.self) {
                try ChannelSecurity.accepting(header, own: own, allowed: allowed)
            }
            #expect(error?.code == expected)
        }
        refuses(header, own, [.none], .badSecurityPolicyRejected)
        refuses(header, nil, [policy], .badSecurityPolicyRejected)
        refuses(header, try vector.identity(.client), [policy], .badCertificateInvalid)
        header.senderCertificate = nil
        refuses(header, own, [policy], .badCertificateInvalid)
        header.policyURI = nil
        refuses(header, own, [policy], .badSecurityPolicyRejected)
        header.policyURI = SecurityPolicy.none.uri
        #expect(try ChannelSecurity.accepting(header, own: own, allowed: [.none]).security.policy == .none)
    }

    @Test func refusesAnotherCertificateLater() throws {
        let vector = try #require(Self.cases.first { $0.policy == "Basic256Sha256" })
        let own = try vector.identity(.client)
        let stranger = CertificateTemplate.applicationInstance(
            commonName: "stranger",
            applicationUri: "urn:stranger",
            hostNames: [],
            now: 1_700_000_000
        )
        let key = try PrivateKey.generate(bits: 2048)
        let identity = try ApplicationIdentity(
            chain: CertificateChain(leaf: stranger.makeCertificate(key: key)),
            key: key
        )
        var impostor = SecureChannelCodec(
            security: try ChannelSecurity(
                role: .server,
                policy: .basic256Sha256,
                mode: .sign,
                own: identity,
                peer: own.certificate
            )
        )
        let chunk = try encodeChunks(&impostor, .openSecureChannel, [1])[0]
        var client = try vector.codec(.client)
        #expect(throws: SecurityError.self) { try decodeChunk(&client, chunk) }
    }
}
