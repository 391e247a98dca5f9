import FoundationEssentials
import OPCUACodec
import Testing

@testable import OPCUASecurity

/// Both directions against bytes that another implementation made.
@Suite("Security policies as others see them")
struct InteroperabilityTests {
    @Test func derivesKeys() throws {
        let vector = Vectors.shared.derivation
        for (hash, expected) in [(HashAlgorithm.sha1, vector.sha1), (.sha256, vector.sha256)] {
            let derived = try KeyDerivation.pseudoRandom(
                hash,
                secret: [UInt8](vector.secret),
                seed: [UInt8](vector.seed),
                length: expected.count
            )
            #expect(derived.withUnsafeBytes { [UInt8]($0) } == [UInt8](expected))
        }
    }

    @Test(arguments: Vectors.shared.cases)
    func decodesTheirOpen(_ vector: Vectors.Case) throws {
        for (role, chunks) in [(ChannelSecurity.Role.server, vector.openFromClient), (.client, vector.openFromServer)] {
            var codec = try vector.codec(role)
            #expect(chunks.count == 1)
            let (decoded, body) = try decodeChunk(&codec, [UInt8](chunks[0]))
            #expect(decoded.requestID == 3)
            #expect(decoded.sequenceNumber == (role == .server ? 1 : 51))
            #expect(body == [UInt8](vector.openBody))
        }
    }

    /// A server sees policy and certificate before it has a codec.
    @Test(arguments: Vectors.shared.cases)
    func peeksAtTheirOpen(_ vector: Vectors.Case) throws {
        let header = try vector.openFromClient[0].withUnsafeBytes { try AsymmetricHeader.peek($0) }
        #expect(try SecurityPolicy(header.policyURI ?? "") == vector.securityPolicy())
        #expect(header.senderCertificate == [UInt8](vector.clientCertificate))
        #expect(try header.receiverThumbprint == vector.identity(.server).certificate.thumbprint.bytes)
    }

    @Test(arguments: Vectors.shared.cases)
    func decodesTheirMessages(_ vector: Vectors.Case) throws {
        for (role, chunks) in [
            (ChannelSecurity.Role.server, vector.messageFromClient), (.client, vector.messageFromServer),
        ] {
            var receiver = try vector.opened(role)
            var joined: [UInt8] = []
            for chunk in chunks { joined += try decodeChunk(&receiver, [UInt8](chunk)).body }
            #expect(joined == [UInt8](vector.body))
        }
        for (index, chunk) in vector.short.enumerated() {
            var receiver = try vector.opened(.client)
            #expect(try decodeChunk(&receiver, [UInt8](chunk)).body == [UInt8](repeating: 0, count: index + 1))
        }
    }

    /// Symmetric chunks hold nothing random: ours must be theirs, byte for byte. Only with 256-bit keys the other side
    /// pads to 32 bytes instead of AES's 16; there the messages count that come out equally long.
    @Test(arguments: Vectors.shared.cases)
    func encodesWhatTheyEncode(_ vector: Vectors.Case) throws {
        let samePadding = try vector.securityPolicy().encryptionKeySize == 16 || vector.mode == "Sign"
        if samePadding {
            for (role, chunks) in [
                (ChannelSecurity.Role.client, vector.messageFromClient), (.server, vector.messageFromServer),
            ] {
                var sender = try vector.opened(role, first: role == .client ? 2 : 52)
                let limits = ChunkLimits(chunkSize: 1024)
                let ours = try encodeChunks(&sender, .message, [UInt8](vector.body), requestID: 4, limits: limits)
                #expect(ours == chunks.map { [UInt8]($0) })
            }
        }
        var equallyLong = 0
        for (index, chunk) in vector.short.enumerated() {
            var sender = try vector.opened(.server, first: 52)
            let ours = try encodeChunks(&sender, .message, [UInt8](repeating: 0, count: index + 1), requestID: 4)
            guard samePadding || ours[0].count == chunk.count else { continue }
            equallyLong += 1
            #expect(ours == [[UInt8](chunk)])
        }
        #expect(equallyLong >= (samePadding ? 17 : 3))
    }

    @Test(arguments: Vectors.shared.cases)
    func readsTheirPassword(_ vector: Vectors.Case) throws {
        let policy = try vector.securityPolicy()
        let theirs = EncryptedPassword(bytes: [UInt8](vector.password), algorithmURI: vector.passwordAlgorithm)
        let server = try vector.identity(.server)
        let nonce = [UInt8](vector.serverNonce)
        #expect(
            try UserTokenEncryption.decrypt(theirs, policy: policy, key: server.key, serverNonce: nonce)
                == Vectors.shared.password
        )
    }

    @Test(arguments: Vectors.shared.cases)
    func verifiesTheirSessionSignature(_ vector: Vectors.Case) throws {
        let data = SignatureData(algorithm: vector.signatureAlgorithm, signature: [UInt8](vector.serverSignature))
        func verify(_ data: SignatureData, nonce: [UInt8]) throws {
            try SessionSignature.verify(
                data,
                policy: vector.securityPolicy(),
                peerCertificate: vector.identity(.server).certificate,
                ownChain: vector.identity(.client).chain,
                ownNonce: nonce
            )
        }
        try verify(data, nonce: [UInt8](vector.clientNonce))
        #expect(throws: SecurityError.self) { try verify(data, nonce: [UInt8](vector.serverNonce)) }
        #expect(throws: SecurityError.self) {
            try verify(SignatureData(algorithm: data.algorithm, signature: nil), nonce: [UInt8](vector.clientNonce))
        }
        #expect(throws: SecurityError.self) {
            try verify(
                SignatureData(algorithm: "http://example.org/other", signature: data.signature),
                nonce: [UInt8](vector.clientNonce)
            )
        }
    }
}
