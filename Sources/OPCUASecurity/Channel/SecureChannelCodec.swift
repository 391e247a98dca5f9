import OPCUACodec

/// What was agreed in Hello and Acknowledge (Part 6, 7.1.2.3): how large chunks and messages may be on the way to the peer.
package struct ChunkLimits: Equatable, Sendable {
    /// Bytes of one chunk; at least 8192.
    package var chunkSize: Int
    /// Bytes of one message's body over all chunks; 0 means no limit.
    package var messageSize: Int
    /// Chunks of one message; 0 means no limit.
    package var chunkCount: Int

    package init(chunkSize: Int = 65_535, messageSize: Int = 0, chunkCount: Int = 0) {
        self.chunkSize = chunkSize
        self.messageSize = messageSize
        self.chunkCount = chunkCount
    }
}

/// A chunk taken apart in place.
package struct DecodedChunk: Equatable, Sendable {
    package var type: MessageHeader.MessageType
    package var chunkType: MessageHeader.ChunkType
    package var channelID: UInt32
    /// 0 in OpenSecureChannel messages, which carry the asymmetric header instead.
    package var tokenID: UInt32
    package var requestID: UInt32
    package var sequenceNumber: UInt32
    /// The message's bytes, as offsets in the chunk.
    package var body: Swift.Range<Int>
}

/// Turns messages into secured chunks and back (Part 6, 6.7): both directions of one secure channel, of either role.
///
/// A value without I/O or clock, used on one thread. Sequence numbers of both directions live here.
package struct SecureChannelCodec: Sendable {
    /// Part 6, 6.7.2.4: a sequence number may wrap when it is larger than this, and then starts below 1024.
    private static let wrapsAfter = UInt32.max - 1024
    private static let policyNone = "http://opcfoundation.org/UA/SecurityPolicy#None"
    /// Message header and channel id; token id or the asymmetric header follows.
    private static let plainHeader = 12
    private static let sequenceHeader = 8

    package private(set) var lastSent: UInt32
    package private(set) var lastReceived: UInt32?
    /// 0 until the server's first OpenSecureChannel response.
    package private(set) var channelID: UInt32 = 0
    /// The token to send with.
    package private(set) var tokenID: UInt32 = 0
    /// Still accepted from the peer until it uses the new one (Part 4, 5.5.2.1).
    package private(set) var previousTokenID: UInt32?

    package init(firstSequenceNumber: UInt32 = 1) { lastSent = firstSequenceNumber &- 1 }

    /// The channel was opened or renewed.
    package mutating func install(channelID: UInt32, tokenID: UInt32) {
        previousTokenID = self.channelID == 0 ? nil : self.tokenID
        self.channelID = channelID
        self.tokenID = tokenID
    }

    // MARK: Sending

    /// Appends the chunks of one message to `output`.
    ///
    /// - Throws: `badRequestTooLarge` when the peer's limits do not allow the message; nothing was appended then.
    package mutating func encode(
        _ type: MessageHeader.MessageType,
        requestID: UInt32,
        body: UnsafeRawBufferPointer,
        limits: ChunkLimits,
        into output: inout [UInt8]
    ) throws(SecurityError) {
        let securityHeader: [UInt8]
        if type == .openSecureChannel {
            var encoder = BinaryEncoder(reservingCapacity: 64)
            encoder.string(Self.policyNone)
            encoder.byteString(nil)
            encoder.byteString(nil)
            securityHeader = encoder.bytes
        } else {
            securityHeader = withUnsafeBytes(of: tokenID.littleEndian) { Array($0) }
        }
        let overhead = Self.plainHeader + securityHeader.count + Self.sequenceHeader
        let room = limits.chunkSize - overhead
        guard room > 0 else { throw SecurityError(.badRequestTooLarge, "the peer's chunks are too small") }
        let chunks = max(1, (body.count + room - 1) / room)
        guard limits.messageSize == 0 || body.count <= limits.messageSize,
            limits.chunkCount == 0 || chunks <= limits.chunkCount, type != .openSecureChannel || chunks == 1
        else {
            throw SecurityError(
                .badRequestTooLarge,
                "a message of \(body.count) bytes is larger than the peer takes (\(limits.messageSize) bytes in"
                    + " \(limits.chunkCount) chunks of \(limits.chunkSize))"
            )
        }
        for index in 0..<chunks {
            let part = body[index * room..<min((index + 1) * room, body.count)]
            let isLast = index == chunks - 1
            var encoder = BinaryEncoder(reservingCapacity: 0)
            swap(&encoder.bytes, &output)
            let final = isLast ? MessageHeader.ChunkType.final : .intermediate
            encoder.integer(type.rawValue | UInt32(final.rawValue) << 24)
            encoder.integer(UInt32(overhead + part.count))
            encoder.integer(channelID)
            encoder.bytes.append(contentsOf: securityHeader)
            lastSent = Self.next(lastSent)
            encoder.integer(lastSent)
            encoder.integer(requestID)
            encoder.bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: part))
            swap(&encoder.bytes, &output)
        }
    }

    static func next(_ number: UInt32) -> UInt32 { number >= wrapsAfter ? 1 : number + 1 }

    // MARK: Receiving

    /// Checks one whole chunk and says where its body is. `chunk` is the chunk alone, its length already checked by
    /// ``MessageHeader/peek(_:maximumLength:)``.
    ///
    /// - Throws: `SecurityError`; the connection is to be closed.
    package mutating func decode(_ chunk: UnsafeMutableRawBufferPointer) throws(SecurityError) -> DecodedChunk {
        guard let header = try MessageHeader.peek(UnsafeRawBufferPointer(chunk), maximumLength: chunk.count),
            header.length == chunk.count
        else { throw SecurityError(.badDecodingError, "a chunk of \(chunk.count) bytes does not say so") }
        let fields:
            (channel: UInt32, token: UInt32, policy: String?, sequenceNumber: UInt32, requestID: UInt32, body: Int)
        do throws(DecodingError) {
            fields = try Self.headers(UnsafeRawBufferPointer(chunk), header.type)
        } catch {
            throw SecurityError(.badDecodingError, "a chunk's headers are not what Part 6, 6.7.2 says: \(error)")
        }
        try check(header.type, fields.channel, fields.token, fields.policy)
        if let last = lastReceived, fields.sequenceNumber != Self.next(last),
            !(last >= Self.wrapsAfter && fields.sequenceNumber < 1024)
        {
            throw SecurityError(
                .badSequenceNumberInvalid,
                "sequence number \(fields.sequenceNumber) came after \(last)"
            )
        }
        lastReceived = fields.sequenceNumber
        if header.type != .openSecureChannel, fields.token == tokenID { previousTokenID = nil }
        return DecodedChunk(
            type: header.type,
            chunkType: header.chunkType,
            channelID: fields.channel,
            tokenID: fields.token,
            requestID: fields.requestID,
            sequenceNumber: fields.sequenceNumber,
            body: fields.body..<chunk.count
        )
    }

    private static func headers(
        _ chunk: UnsafeRawBufferPointer,
        _ type: MessageHeader.MessageType
    ) throws(DecodingError) -> (UInt32, UInt32, String?, UInt32, UInt32, Int) {
        var decoder = BinaryDecoder(chunk)
        decoder.offset = MessageHeader.size
        let channel = try decoder.uint32()
        var token: UInt32 = 0
        var policy: String?
        if type == .openSecureChannel {
            policy = try decoder.string()
            _ = try decoder.lengthPrefixed()
            _ = try decoder.lengthPrefixed()
        } else {
            token = try decoder.uint32()
        }
        let sequenceNumber = try decoder.uint32()
        let requestID = try decoder.uint32()
        return (channel, token, policy, sequenceNumber, requestID, decoder.offset)
    }

    private func check(
        _ type: MessageHeader.MessageType,
        _ channel: UInt32,
        _ token: UInt32,
        _ policy: String?
    ) throws(SecurityError) {
        switch type {
        case .openSecureChannel:
            guard policy == Self.policyNone else {
                throw SecurityError(
                    .badSecurityPolicyRejected,
                    "the peer answers with security policy \(policy ?? "null"), not None"
                )
            }
        case .message, .closeSecureChannel:
            guard channel == channelID else {
                throw SecurityError(.badTcpSecureChannelUnknown, "a message for channel \(channel), not \(channelID)")
            }
            guard token == tokenID || token == previousTokenID else {
                throw SecurityError(.badSecureChannelTokenUnknown, "a message under token \(token), not \(tokenID)")
            }
        default:
            throw SecurityError(.badTcpMessageTypeInvalid, "a \(type) message where a secured one was expected")
        }
    }
}
