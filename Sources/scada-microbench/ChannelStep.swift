import FoundationEssentials
import OPCUACodec
import OPCUASecurity

/// A PublishResponse through a secure channel: the server's side signs and encrypts, the client's decrypts and checks.
struct ChannelStep {
    /// The tests' keys: made anew, they would take another number of instructions each time.
    private struct Vectors: Decodable {
        struct Case: Decodable {
            var policy: String
            var mode: String
            var clientCertificate: Data
            var clientKey: Data
            var serverCertificate: Data
            var serverKey: Data
            var clientNonce: Data
            var serverNonce: Data

            func codec(_ role: ChannelSecurity.Role) throws -> SecureChannelCodec {
                let client = try ApplicationIdentity(
                    chain: CertificateChain(byteString: [UInt8](clientCertificate)),
                    key: PrivateKey([UInt8](clientKey))
                )
                let server = try ApplicationIdentity(
                    chain: CertificateChain(byteString: [UInt8](serverCertificate)),
                    key: PrivateKey([UInt8](serverKey))
                )
                let security = try ChannelSecurity(
                    role: role,
                    policy: .basic256Sha256,
                    mode: .signAndEncrypt,
                    own: role == .client ? client : server,
                    peer: (role == .client ? server : client).certificate
                )
                var codec = SecureChannelCodec(security: security)
                try codec.install(
                    channelID: 1,
                    tokenID: 1,
                    clientNonce: [UInt8](clientNonce),
                    serverNonce: [UInt8](serverNonce)
                )
                return codec
            }
        }
        var cases: [Case]
    }

    private let keys: Vectors.Case

    init(keys path: String) throws {
        let vectors = try JSONDecoder().decode(Vectors.self, from: Data(contentsOf: URL(filePath: path)))
        guard let keys = vectors.cases.first(where: { $0.policy == "Basic256Sha256" && $0.mode == "SignAndEncrypt" })
        else { throw StepError("no keys for Basic256Sha256 in \(path)") }
        self.keys = keys
    }

    /// - Returns: values that went through.
    func run(_ rounds: Int) throws -> Int {
        var server = try keys.codec(.server)
        var client = try keys.codec(.client)
        let notification = try SampleNotification(values: 1_000)
        let limits = ChunkLimits()
        var chunk: [UInt8] = []
        for round in 0..<rounds {
            chunk.removeAll(keepingCapacity: true)
            try notification.bytes.withUnsafeBytes {
                try server.encode(.message, requestID: UInt32(round), body: $0, limits: limits, into: &chunk)
            }
            let decoded = try chunk.withUnsafeMutableBytes { try client.decode($0, now: 0) }
            guard decoded.body.count == notification.bytes.count else { throw StepError("a message was not decrypted") }
        }
        return rounds * notification.values
    }
}
