import FoundationEssentials
import OPCUACodec
import Synchronization
import Testing

@testable import OPCUASecurity

/// vectors.json: what another implementation (asyncua on Python's cryptography) makes of every policy; see
/// Tests/Fixtures/OPCUASecurity/make-vectors.py.
struct Vectors: Decodable {
    struct Derivation: Decodable {
        var secret: Data
        var seed: Data
        var sha1: Data
        var sha256: Data
    }

    struct Case: Decodable, Sendable, CustomTestStringConvertible {
        var policy: String
        var mode: String
        var clientCertificate: Data
        var clientKey: Data
        var serverCertificate: Data
        var serverKey: Data
        var clientNonce: Data
        var serverNonce: Data
        var openBody: Data
        var body: Data
        var openFromClient: [Data]
        var openFromServer: [Data]
        var messageFromClient: [Data]
        var messageFromServer: [Data]
        /// Messages of 1 … 17 zero bytes.
        var short: [Data]
        var password: Data
        var passwordAlgorithm: String
        var serverSignature: Data
        var signatureAlgorithm: String

        var testDescription: String { "\(policy) \(mode) \(clientKey.count)/\(serverKey.count)" }

        func securityPolicy() throws -> SecurityPolicy { try #require(SecurityPolicy(policy)) }

        /// Reading keys takes milliseconds, and tests ask a thousand times: each is read once.
        private static let identities = Mutex<[Data: ApplicationIdentity]>([:])

        func identity(_ role: ChannelSecurity.Role) throws -> ApplicationIdentity {
            let certificate = role == .client ? clientCertificate : serverCertificate
            return try Self.identities.withLock { known in
                if let identity = known[certificate] { return identity }
                let identity = try ApplicationIdentity(
                    chain: CertificateChain(byteString: [UInt8](certificate)),
                    key: PrivateKey([UInt8](role == .client ? clientKey : serverKey))
                )
                known[certificate] = identity
                return identity
            }
        }

        /// A codec whose first sequence number is `first`.
        func codec(_ role: ChannelSecurity.Role, first: UInt32 = 1) throws -> SecureChannelCodec {
            let security = try ChannelSecurity(
                role: role,
                policy: securityPolicy(),
                mode: mode == "Sign" ? .sign : .signAndEncrypt,
                own: identity(role),
                peer: identity(role == .client ? .server : .client).certificate
            )
            return SecureChannelCodec(security: security, firstSequenceNumber: first)
        }

        /// The same, opened as channel 5 with token 9.
        func opened(_ role: ChannelSecurity.Role, first: UInt32 = 1) throws -> SecureChannelCodec {
            var codec = try codec(role, first: first)
            try codec.install(
                channelID: 5,
                tokenID: 9,
                clientNonce: [UInt8](clientNonce),
                serverNonce: [UInt8](serverNonce)
            )
            return codec
        }
    }

    var password: String
    var derivation: Derivation
    var cases: [Case]

    static let shared: Vectors = {
        do {
            let path = "\(#filePath)".split(separator: "/").dropLast(2).joined(separator: "/")
            let file = URL(filePath: "/" + path + "/Fixtures/OPCUASecurity/vectors.json")
            return try JSONDecoder().decode(Vectors.self, from: Data(contentsOf: file))
        } catch {
            fatalError("vectors.json: \(error)")
        }
    }()
}

/// Encodes one message and cuts the result into chunks.
func encodeChunks(
    _ codec: inout SecureChannelCodec,
    _ type: MessageHeader.MessageType = .message,
    _ body: [UInt8],
    requestID: UInt32 = 7,
    limits: ChunkLimits = ChunkLimits(chunkSize: 8192),
    now: UInt64 = 0
) throws -> [[UInt8]] {
    var output: [UInt8] = []
    try body.withUnsafeBytes {
        try codec.encode(type, requestID: requestID, body: $0, limits: limits, now: now, into: &output)
    }
    #expect(try codec.encodedSize(type, bodySize: body.count, limits: limits) == output.count)
    var chunks: [[UInt8]] = []
    while !output.isEmpty {
        let header = try output.withUnsafeBytes { try MessageHeader.peek($0, maximumLength: limits.chunkSize) }
        let length = try #require(header?.length)
        chunks.append(Array(output[..<length]))
        output.removeFirst(length)
    }
    return chunks
}

/// Decodes a copy of `chunk`.
func decodeChunk(
    _ codec: inout SecureChannelCodec,
    _ chunk: [UInt8],
    now: UInt64 = 0
) throws -> (DecodedChunk, body: [UInt8]) {
    var chunk = chunk
    let decoded = try chunk.withUnsafeMutableBytes { try codec.decode($0, now: now) }
    return (decoded, Array(chunk[decoded.body]))
}
