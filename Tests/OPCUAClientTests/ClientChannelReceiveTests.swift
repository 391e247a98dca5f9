import NIOCore
import NIOEmbedded
import OPCUACodec
import Testing

@testable import OPCUAClient

/// Bytes come in whatever pieces TCP makes of them.
@Suite struct ClientChannelReceiveTests {
    /// A channel that is open, and what it has yet to be told of answers.
    private struct Opened {
        let transport = EmbeddedChannel()
        let channel: ClientChannel

        /// - Parameter cuts: how many bytes each piece has, from how many are left.
        init(_ cuts: (Int) -> Int) throws {
            channel = ClientChannel(
                ClientChannel.Parameters(
                    endpointURL: "opc.tcp://double",
                    channelLifetime: 3_600_000,
                    openTimeout: .seconds(10)
                )
            )
            try transport.pipeline.syncOperations.addHandler(channel)
            try transport.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 4840)).wait()
            _ = try transport.readOutbound(as: ByteBuffer.self)
            try feed(ServerDouble.acknowledge(), cuts)
            let open = try #require(try transport.readOutbound(as: ByteBuffer.self))
            let id = try #require(open.getInteger(at: 75, endianness: .little, as: UInt32.self))
            let answer = OpenSecureChannelResponse(
                securityToken: ChannelSecurityToken(channelId: 1, tokenId: 1, revisedLifetime: 3_600_000)
            )
            try feed(ServerDouble.chunk(answer.messageBody, requestID: id, sequence: 1, isOpen: true), cuts)
        }

        func feed(_ bytes: [UInt8], _ cuts: (Int) -> Int) throws {
            var rest = ByteBuffer(bytes: bytes)
            while rest.readableBytes > 0 {
                let piece = rest.readSlice(length: min(max(cuts(rest.readableBytes), 1), rest.readableBytes))
                try transport.writeInbound(try #require(piece))
            }
        }
    }

    private static func expectAnswers(_ random: inout SplitMix64, _ note: Comment, cuts: (Int) -> Int) throws {
        let opened = try Opened(cuts)
        var sequence: UInt32 = 1
        var bytes: [UInt8] = []
        var expected: [[UInt8]] = []
        var answers: [[UInt8]] = []
        for round in 1...4 {
            let id = opened.channel.nextRequestID()
            opened.channel.send([], requestID: id, timeout: nil) { result in
                if case .success(let body) = result { answers.append(Array(body.readableBytesView)) }
            }
            let body = (0..<Int.random(in: 1...round * 900, using: &random)).map { _ in
                UInt8.random(in: .min ... .max, using: &random)
            }
            expected.append(body)
            let size = Int.random(in: 100...1_000, using: &random)
            bytes += ServerDouble.chunks(body, of: size, requestID: id, sequence: &sequence)
        }
        try opened.feed(bytes, cuts)
        #expect(opened.channel.failure == nil, note)
        #expect(answers == expected, note)
        #expect(opened.channel.partial == nil, note)
        _ = try? opened.transport.finish()
    }

    @Test(arguments: [1, 2, 7, 8, 9, 24, 100_000]) func pieces(of size: Int) throws {
        var random = SplitMix64(seed: 1)
        try Self.expectAnswers(&random, "pieces of \(size)") { _ in size }
    }

    @Test(arguments: 1...40) func piecesOfChance(_ seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var cutter = SplitMix64(seed: seed &+ 1_000)
        try Self.expectAnswers(&random, "seed \(seed)") { left in
            Int.random(in: 1...(Bool.random(using: &cutter) ? 40 : left), using: &cutter)
        }
    }

    /// A size nobody offered ends the connection, whether its header comes at once or byte by byte.
    @Test(arguments: [1, 3, 100]) func anAbsurdSizeIsRefused(_ piece: Int) throws {
        let opened = try Opened { $0 }
        var chunk = ServerDouble.chunk([1, 2, 3], requestID: 9, sequence: 2)
        chunk.replaceSubrange(4..<8, with: [0xFF, 0xFF, 0xFF, 0x7F])
        try? opened.feed(chunk) { _ in piece }
        #expect(opened.channel.failure?.code == .protocolViolation)
        #expect(opened.channel.partial == nil)
        _ = try? opened.transport.finish()
    }
}
