import FoundationEssentials
import OPCUACodec
import Testing

@testable import OPCUASecurity

/// Numbers that look random and are the same for the same seed (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// Changes valid input into input that is almost valid.
struct Mutator {
    var random: SeededGenerator
    /// Pieces of others are spliced in.
    let corpus: [[UInt8]]

    mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<max(1, bound), using: &random) }

    mutating func mutate(_ input: [UInt8]) -> [UInt8] {
        var bytes = input
        for _ in 0...below(4) {
            guard !bytes.isEmpty else { return [UInt8(below(256))] }
            let index = below(bytes.count)
            switch below(9) {
            case 0: bytes[index] ^= 1 << UInt8(below(8))
            case 1: bytes[index] = UInt8(below(256))
            case 2: bytes.removeLast(below(bytes.count))
            case 3: bytes.append(contentsOf: (0..<below(40)).map { UInt8(truncatingIfNeeded: $0) })
            case 4: bytes.removeSubrange(index..<min(bytes.count, index + below(20)))
            case 5: bytes.insert(contentsOf: bytes[index..<min(bytes.count, index + below(20))], at: index)
            case 6:
                let other = corpus[below(corpus.count)]
                guard !other.isEmpty else { continue }
                let start = below(other.count)
                bytes.replaceSubrange(index..., with: other[start...])
            case 7:
                // Lengths at their limits.
                let extremes: [UInt32] = [0, 1, 7, 8, 255, 256, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE, .max]
                let value = extremes[below(extremes.count)]
                withUnsafeBytes(of: value.littleEndian) { source in
                    for (offset, byte) in source.enumerated() where index + offset < bytes.count {
                        bytes[index + offset] = byte
                    }
                }
            default: bytes.shuffle(using: &random)
            }
        }
        return bytes
    }
}

/// Mutated input of every kind: an error or a result, never a trap. More rounds and other numbers by environment, for long
/// runs by hand: FUZZ_ROUNDS (a factor) and FUZZ_SEED.
@Suite("Hostile bytes")
struct FuzzTests {
    static let rounds = ProcessInfo.processInfo.environment["FUZZ_ROUNDS"].flatMap { Int($0) } ?? 1
    static let seed = ProcessInfo.processInfo.environment["FUZZ_SEED"].flatMap { UInt64($0) } ?? 20_261_127

    func mutator(_ corpus: [[UInt8]], _ salt: UInt64) -> Mutator {
        print("seed \(Self.seed), \(corpus.count) inputs")
        return Mutator(random: SeededGenerator(state: Self.seed &+ salt), corpus: corpus)
    }

    /// Writes the real length into the message header, without which nothing else would be looked at.
    func withLength(_ chunk: [UInt8]) -> [UInt8] {
        guard chunk.count >= 8 else { return chunk }
        var chunk = chunk
        let count = UInt32(chunk.count)
        chunk.withUnsafeMutableBytes { $0.storeBytes(of: count.littleEndian, toByteOffset: 4, as: UInt32.self) }
        return chunk
    }

    /// What must hold of whatever is accepted.
    func decode(_ codec: inout SecureChannelCodec, _ chunk: [UInt8]) {
        var chunk = chunk
        let count = chunk.count
        chunk.withUnsafeMutableBytes { bytes in
            _ = try? AsymmetricHeader.peek(UnsafeRawBufferPointer(bytes))
            guard let decoded = try? codec.decode(bytes) else { return }
            #expect(decoded.body.lowerBound >= 0 && decoded.body.upperBound <= count)
        }
    }

    @Test func chunks() throws {
        var corpus: [[UInt8]] = []
        for vector in Vectors.shared.cases {
            corpus += (vector.openFromServer + vector.messageFromServer + vector.short.prefix(3)).map { [UInt8]($0) }
        }
        var plain = SecureChannelCodec()
        corpus += try encodeChunks(&plain, .openSecureChannel, Array(1...50))
        plain.install(channelID: 5, tokenID: 9)
        corpus += try encodeChunks(&plain, .message, Array(1...50))
        var mutator = mutator(corpus, 1)
        // RSA is slow: only some of the rounds let an OpenSecureChannel message through to it.
        for round in 0..<(200 * Self.rounds) {
            let vector = Vectors.shared.cases[round % Vectors.shared.cases.count]
            var secured = try vector.opened(.client)
            var unsecured = plain
            for _ in 0..<8 {
                let chunk = withLength(mutator.mutate(corpus[mutator.below(corpus.count)]))
                decode(&unsecured, chunk)
                decode(&secured, chunk)
            }
        }
    }

    /// Behind the signature: what a peer with the right keys may have made wrong.
    @Test func signedNonsense() throws {
        var mutator = mutator([Array(0...255)], 2)
        for round in 0..<(800 * Self.rounds) {
            let vector = Vectors.shared.cases[round % Vectors.shared.cases.count]
            let sender = try vector.opened(.client)
            let keys = try #require(sender.current.keys).sending
            var receiver = try vector.opened(.server)
            let signature = keys.signatureSize
            var size = mutator.below(100) + signature
            if vector.mode == "SignAndEncrypt" { size = (size + 15) / 16 * 16 }
            var chunk = [UInt8](repeating: 0, count: 16 + size)
            for index in 16..<chunk.count { chunk[index] = UInt8(mutator.below(256)) }
            chunk.replaceSubrange(0..<16, with: [0x4D, 0x53, 0x47, 0x46, 0, 0, 0, 0, 5, 0, 0, 0, 9, 0, 0, 0])
            chunk = withLength(chunk)
            let accepted = chunk.withUnsafeMutableBytes { bytes -> DecodedChunk? in
                let end = bytes.count - signature
                let message = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes)[..<end])
                #expect(keys.sign(message, to: UnsafeMutableRawBufferPointer(rebasing: bytes[end...])))
                if vector.mode == "SignAndEncrypt" {
                    #expect(keys.crypt(UnsafeMutableRawBufferPointer(rebasing: bytes[16...])))
                }
                return try? receiver.decode(bytes)
            }
            guard let accepted else { continue }
            #expect(accepted.body.lowerBound == 24 && accepted.body.upperBound <= chunk.count - signature)
        }
    }

    /// The same for OpenSecureChannel messages.
    @Test func signedNonsenseInOpen() throws {
        var mutator = mutator([Array(0...255)], 3)
        for round in 0..<(32 * Self.rounds) {
            let vector = Vectors.shared.cases[round % Vectors.shared.cases.count]
            let client = try vector.identity(.client)
            let server = try vector.identity(.server)
            let policy = try vector.securityPolicy()
            let encryption = try #require(policy.asymmetricEncryption)
            let algorithm = try #require(policy.asymmetricSignature)
            var encoder = BinaryEncoder()
            encoder.bytes = [0x4F, 0x50, 0x4E, 0x46, 0, 0, 0, 0, 0, 0, 0, 0]
            encoder.string(policy.uri)
            encoder.byteString(client.certificate.der)
            encoder.byteString(server.certificate.thumbprint.bytes)
            let header = encoder.bytes
            let plain = (0..<mutator.below(300)).map { _ in UInt8(mutator.below(256)) }
            let size =
                header.count + server.certificate.publicKey.encryptedSize(plain.count + client.key.size, encryption)
            var signed = header + plain
            let count = UInt32(size)
            signed.withUnsafeMutableBytes { $0.storeBytes(of: count.littleEndian, toByteOffset: 4, as: UInt32.self) }
            let secret = try plain + client.key.sign(signed, algorithm)
            let chunk =
                try Array(signed[..<header.count]) + server.certificate.publicKey.encrypt(secret, encryption)
            var receiver = try vector.codec(.server)
            decode(&receiver, chunk)
        }
    }

    @Test func certificates() throws {
        let names = ["server", "area", "root", "selfSigned", "wildcard", "oldStyle"]
        var corpus = try names.map { try Plant.shared.bytes($0) }
        corpus += try ["rootList", "areaList"].map { try Plant.shared.bytes($0) }
        corpus.append(corpus[0] + corpus[1] + corpus[2])
        corpus.append(try Plant.shared.certificate("server").pem())
        let list = try Plant.shared.list(trusted: ["root"], issuers: ["area"], lists: ["rootList", "areaList"])
        let expectation = CertificateExpectation(
            purpose: .server,
            hostName: "plc.example",
            applicationUri: "urn:plant:server",
            policy: .basic256Sha256
        )
        var mutator = mutator(corpus, 4)
        var read = 0
        for _ in 0..<(1500 * Self.rounds) {
            let bytes = mutator.mutate(corpus[mutator.below(corpus.count)])
            if let revocations = try? RevocationList(fileContent: bytes) {
                var list = list
                list.revocationLists.append(revocations)
                _ = try CertificateValidator.validate(Plant.shared.chain(["server"]), list, expectation, now: Plant.now)
            }
            _ = try? CertificateChain(fileContent: bytes)
            guard let chain = try? CertificateChain(byteString: bytes) else { continue }
            read += 1
            #expect(chain.all.count <= CertificateChain.maximumCount)
            let verdict = try? CertificateValidator.validate(chain, list, expectation, now: Plant.now)
            let unchanged = try Plant.shared.certificates(["server", "wildcard"])
            if verdict?.isTrusted == true { #expect(unchanged.contains(chain.leaf)) }
        }
        #expect(read > 0)
    }

    @Test func keysAndSecrets() throws {
        let vector = try #require(Vectors.shared.cases.first { $0.policy == "Basic256Sha256" })
        let key = [UInt8](vector.clientKey)
        let cipher = try SecretCipher(key: SecretCipherTests.key)
        let secret = Array(try cipher.encrypt("secret").utf8)
        var mutator = mutator([key, secret], 5)
        for _ in 0..<(200 * Self.rounds) {
            if let damaged = try? PrivateKey(mutator.mutate(key)) { _ = try? damaged.sign([1, 2, 3], .pkcs1Sha256) }
            let text = mutator.mutate(secret)
            if let opened = try? cipher.open(String(decoding: text, as: UTF8.self)), opened.form != .plain {
                #expect(opened.plaintext == "secret")
            }
        }
    }
}
