import Testing

@testable import OPCUASecurity

@Suite("Chunks without security")
struct SecureChannelCodecTests {
    func encode(
        _ codec: inout SecureChannelCodec,
        _ type: MessageHeader.MessageType = .message,
        _ body: [UInt8],
        _ limits: ChunkLimits = ChunkLimits(chunkSize: 8192)
    ) throws -> [[UInt8]] {
        var output: [UInt8] = []
        try body.withUnsafeBytes { try codec.encode(type, requestID: 7, body: $0, limits: limits, into: &output) }
        var chunks: [[UInt8]] = []
        while !output.isEmpty {
            let header = try output.withUnsafeBytes { try MessageHeader.peek($0, maximumLength: limits.chunkSize) }
            let length = try #require(header?.length)
            chunks.append(Array(output[..<length]))
            output.removeFirst(length)
        }
        return chunks
    }

    func decode(_ codec: inout SecureChannelCodec, _ chunk: [UInt8]) throws -> (DecodedChunk, [UInt8]) {
        var chunk = chunk
        let decoded = try chunk.withUnsafeMutableBytes { try codec.decode($0) }
        return (decoded, Array(chunk[decoded.body]))
    }

    func opened() -> SecureChannelCodec {
        var codec = SecureChannelCodec()
        codec.install(channelID: 5, tokenID: 9)
        return codec
    }

    @Test(arguments: [0, 1, 8168, 8169, 30_000])
    func splitsAndJoins(_ size: Int) throws {
        var sender = opened()
        var receiver = opened()
        let body = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
        var joined: [UInt8] = []
        let chunks = try encode(&sender, .message, body)
        #expect(chunks.count == max(1, (size + 8167) / 8168))
        for (index, chunk) in chunks.enumerated() {
            #expect(chunk.count <= 8192)
            let (decoded, part) = try decode(&receiver, chunk)
            #expect(decoded.requestID == 7)
            #expect(decoded.chunkType == (index == chunks.count - 1 ? .final : .intermediate))
            joined += part
        }
        #expect(joined == body)
    }

    @Test func opensWithoutAToken() throws {
        var client = SecureChannelCodec()
        var server = SecureChannelCodec()
        let chunks = try encode(&client, .openSecureChannel, [1, 2, 3])
        let (decoded, body) = try decode(&server, chunks[0])
        #expect(decoded.type == .openSecureChannel)
        #expect(body == [1, 2, 3])
    }

    @Test func acceptsBothTokensUntilTheNewOneIsUsed() throws {
        var sender = opened()
        var receiver = opened()
        receiver.install(channelID: 5, tokenID: 10)
        _ = try decode(&receiver, try encode(&sender, .message, [1])[0])
        sender.install(channelID: 5, tokenID: 10)
        _ = try decode(&receiver, try encode(&sender, .message, [1])[0])
        sender.install(channelID: 5, tokenID: 9)
        let old = try encode(&sender, .message, [1])[0]
        #expect(throws: SecurityError.self) { try decode(&receiver, old) }
    }

    @Test func wrapsSequenceNumbers() throws {
        var sender = SecureChannelCodec(firstSequenceNumber: UInt32.max - 1024)
        sender.install(channelID: 5, tokenID: 9)
        var receiver = opened()
        _ = try decode(&receiver, try encode(&sender, .message, [1])[0])
        #expect(receiver.lastReceived == UInt32.max - 1024)
        _ = try decode(&receiver, try encode(&sender, .message, [1])[0])
        #expect(receiver.lastReceived == 1)
    }

    /// Wrapping is allowed near the end, not asked for there.
    @Test func acceptsNumbersUpToTheVeryLast() throws {
        for last in [UInt32.max - 1, UInt32.max - 500, UInt32.max - 1024] {
            var receiver = opened()
            try receiver.received(sequenceNumber: last)
            try receiver.received(sequenceNumber: last + 1)
            try receiver.received(sequenceNumber: 1023)
            #expect(throws: SecurityError.self) { try receiver.received(sequenceNumber: 5) }
        }
        var receiver = opened()
        try receiver.received(sequenceNumber: .max)
        #expect(throws: SecurityError.self) { try receiver.received(sequenceNumber: 1024) }
        try receiver.received(sequenceNumber: 0)
    }

    @Test func refusesGapsInSequenceNumbers() throws {
        var sender = opened()
        var receiver = opened()
        _ = try decode(&receiver, try encode(&sender, .message, [1])[0])
        _ = try encode(&sender, .message, [1])
        let later = try encode(&sender, .message, [1])[0]
        #expect(throws: SecurityError(.badSequenceNumberInvalid, "sequence number 3 came after 1")) {
            try decode(&receiver, later)
        }
    }

    @Test func refusesWhatThePeerCannotTake() throws {
        var sender = opened()
        #expect(throws: SecurityError.self) {
            try encode(
                &sender,
                .message,
                Array(repeating: 0, count: 100),
                ChunkLimits(chunkSize: 8192, messageSize: 99)
            )
        }
        #expect(throws: SecurityError.self) {
            try encode(
                &sender,
                .message,
                Array(repeating: 0, count: 20_000),
                ChunkLimits(chunkSize: 8192, chunkCount: 2)
            )
        }
    }

    /// Every prefix and every changed byte of a chunk: an error or another message, never a trap.
    @Test func survivesDamage() throws {
        var sender = opened()
        let chunk = try encode(&sender, .message, [1, 2, 3])[0]
        for length in 0..<chunk.count {
            var receiver = opened()
            #expect(throws: SecurityError.self) { try decode(&receiver, Array(chunk[..<length])) }
        }
        for index in chunk.indices {
            for bit in 0..<8 {
                var damaged = chunk
                damaged[index] ^= 1 << bit
                var receiver = opened()
                _ = try? decode(&receiver, damaged)
            }
        }
    }

    @Test(
        arguments: [
            [0x47, 0x45, 0x54, 0x20, 0x2F, 0x20, 0x48, 0x54], [0x4D, 0x53, 0x47, 0x58, 9, 0, 0, 0],
            [0x4D, 0x53, 0x47, 0x46, 7, 0, 0, 0], [0x4D, 0x53, 0x47, 0x46, 0xFF, 0xFF, 0xFF, 0xFF],
        ] as [[UInt8]]
    )
    func refusesForeignHeaders(_ bytes: [UInt8]) {
        #expect(throws: SecurityError.self) {
            try bytes.withUnsafeBytes { try MessageHeader.peek($0, maximumLength: 65_535) }
        }
    }

    @Test func waitsForAWholeHeader() throws {
        for length in 0..<8 {
            let bytes = Array([0x4D, 0x53, 0x47, 0x46, 8, 0, 0, 0].prefix(length)) as [UInt8]
            #expect(try bytes.withUnsafeBytes { try MessageHeader.peek($0, maximumLength: 100) } == nil)
        }
    }
}
