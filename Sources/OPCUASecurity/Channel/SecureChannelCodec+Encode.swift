/// How a message is cut into chunks.
private struct ChunkPlan {
    /// Bytes of body in every chunk but the last.
    var room: Int
    var chunks: Int
    /// Bytes of all chunks together.
    var total: Int
}

extension SecureChannelCodec {
    /// Appends the chunks of one message to `output`.
    ///
    /// - Parameter now: see ``install(channelID:tokenID:clientNonce:serverNonce:expiresAt:)``.
    /// - Throws: `badRequestTooLarge` when the peer's limits do not allow the message; nothing was appended then.
    package mutating func encode(
        _ type: MessageHeader.MessageType,
        requestID: UInt32,
        body: UnsafeRawBufferPointer,
        limits: ChunkLimits,
        now: UInt64 = 0,
        into output: inout [UInt8]
    ) throws(SecurityError) {
        let size = try encodedSize(type, bodySize: body.count, limits: limits)
        try output.append(addingCapacity: size) { (span) throws(SecurityError) in
            try span.withUnsafeMutableBufferPointer { (room, count) throws(SecurityError) in
                let region = UnsafeMutableRawBufferPointer(room)
                count = try encode(type, requestID: requestID, body: body, limits: limits, now: now, to: region)
            }
        }
    }

    /// Exactly how many bytes the chunks of a message with a body of `bodySize` bytes take.
    ///
    /// - Throws: `badRequestTooLarge` when the peer's limits do not allow the message.
    package func encodedSize(
        _ type: MessageHeader.MessageType,
        bodySize: Int,
        limits: ChunkLimits
    ) throws(SecurityError) -> Int {
        try plan(type, bodySize, limits).total
    }

    /// The largest body that fits in one chunk of a MSG or CLO message: 0 or less when none does (Part 6, 6.7.2.5).
    package func maximumBodySize(chunkSize: Int) -> Int {
        let signature = security.policy.symmetricSignatureSize
        guard security.encrypts else { return chunkSize - Self.symmetricHeader - Self.sequenceHeader - signature }
        let block = SecurityPolicy.blockSize
        // One byte says how much padding there is.
        return (chunkSize - Self.symmetricHeader) / block * block - Self.sequenceHeader - signature - 1
    }

    private func symmetricChunkSize(_ bodySize: Int) -> Int {
        let signature = security.policy.symmetricSignatureSize
        guard security.encrypts else { return Self.symmetricHeader + Self.sequenceHeader + bodySize + signature }
        let block = SecurityPolicy.blockSize
        let plain = Self.sequenceHeader + bodySize + 1 + signature
        return Self.symmetricHeader + (plain + block - 1) / block * block
    }

    private func plan(
        _ type: MessageHeader.MessageType,
        _ bodySize: Int,
        _ limits: ChunkLimits
    ) throws(SecurityError) -> ChunkPlan {
        func tooLarge() -> SecurityError {
            SecurityError(
                .badRequestTooLarge,
                "a message of \(bodySize) bytes is larger than the peer takes (\(limits.messageSize) bytes in"
                    + " \(limits.chunkCount) chunks of \(limits.chunkSize))"
            )
        }
        guard limits.messageSize == 0 || bodySize <= limits.messageSize else { throw tooLarge() }
        if type == .openSecureChannel {
            // Part 6, 6.7.2.1: never more than one chunk.
            let size = try asymmetricChunkSize(bodySize)
            guard size <= limits.chunkSize else { throw tooLarge() }
            return ChunkPlan(room: bodySize, chunks: 1, total: size)
        }
        let room = maximumBodySize(chunkSize: limits.chunkSize)
        guard room > 0 else { throw SecurityError(.badRequestTooLarge, "the peer's chunks are too small") }
        let chunks = max(1, (bodySize + room - 1) / room)
        guard limits.chunkCount == 0 || chunks <= limits.chunkCount else { throw tooLarge() }
        let last = symmetricChunkSize(bodySize - (chunks - 1) * room)
        return ChunkPlan(room: room, chunks: chunks, total: (chunks - 1) * symmetricChunkSize(room) + last)
    }

    /// Writes the chunks of one message to the start of `region`, which must not overlap `body`.
    ///
    /// - Parameter region: at least ``encodedSize(_:bodySize:limits:)`` bytes, as a NIO buffer lends them.
    /// - Returns: the bytes written.
    /// - Throws: `badRequestTooLarge` when the peer's limits do not allow the message or the region is too small;
    ///   `badSecureChannelTokenUnknown` when the token has expired; the channel is to be closed after anything else.
    package mutating func encode(
        _ type: MessageHeader.MessageType,
        requestID: UInt32,
        body: UnsafeRawBufferPointer,
        limits: ChunkLimits,
        now: UInt64 = 0,
        to region: UnsafeMutableRawBufferPointer
    ) throws(SecurityError) -> Int {
        let plan = try plan(type, body.count, limits)
        guard region.count >= plan.total else {
            throw SecurityError(.badRequestTooLarge, "\(region.count) bytes of room for \(plan.total) bytes of chunks")
        }
        if type == .openSecureChannel {
            let chunk = UnsafeMutableRawBufferPointer(rebasing: region[..<plan.total])
            try encodeOpen(requestID: requestID, body: body, to: chunk)
            return plan.total
        }
        let token = sendingToken(now)
        guard now < token.expiresAt else {
            throw SecurityError(.badSecureChannelTokenUnknown, "the token to send under has expired")
        }
        guard security.policy == .none || token.keys != nil else {
            throw SecurityError(.badSecureChannelTokenUnknown, "the channel is not open: it has no keys")
        }
        var offset = 0
        for index in 0..<plan.chunks {
            let part = UnsafeRawBufferPointer(
                rebasing: body[index * plan.room..<min((index + 1) * plan.room, body.count)]
            )
            let size = symmetricChunkSize(part.count)
            let chunk = UnsafeMutableRawBufferPointer(rebasing: region[offset..<offset + size])
            let final = index == plan.chunks - 1 ? MessageHeader.ChunkType.final : .intermediate
            writeHeader(type, final, to: chunk)
            chunk.storeBytes(of: token.id.littleEndian, toByteOffset: Self.plainHeader, as: UInt32.self)
            writeSequence(requestID, part, at: Self.symmetricHeader, in: chunk)
            if let keys = token.keys { try secure(chunk, bodySize: part.count, keys.sending) }
            offset += size
        }
        return offset
    }

    /// Message type, length and channel id.
    func writeHeader(
        _ type: MessageHeader.MessageType,
        _ final: MessageHeader.ChunkType,
        to chunk: UnsafeMutableRawBufferPointer
    ) {
        let word = type.rawValue | UInt32(final.rawValue) << 24
        chunk.storeBytes(of: word.littleEndian, as: UInt32.self)
        chunk.storeBytes(of: UInt32(chunk.count).littleEndian, toByteOffset: 4, as: UInt32.self)
        chunk.storeBytes(of: channelID.littleEndian, toByteOffset: 8, as: UInt32.self)
    }

    /// The sequence header and the body behind it.
    mutating func writeSequence(
        _ requestID: UInt32,
        _ body: UnsafeRawBufferPointer,
        at offset: Int,
        in chunk: UnsafeMutableRawBufferPointer
    ) {
        chunk.storeBytes(of: nextSequenceNumber().littleEndian, toByteOffset: offset, as: UInt32.self)
        chunk.storeBytes(of: requestID.littleEndian, toByteOffset: offset + 4, as: UInt32.self)
        UnsafeMutableRawBufferPointer(rebasing: chunk[(offset + Self.sequenceHeader)...]).copyMemory(from: body)
    }

    /// Pads, signs and encrypts a chunk whose headers and body are in place (Part 6, 6.7.2.5 and 6.7.2.6).
    private func secure(
        _ chunk: UnsafeMutableRawBufferPointer,
        bodySize: Int,
        _ keys: DirectionKeys
    ) throws(SecurityError) {
        let signatureStart = chunk.count - keys.signatureSize
        if security.encrypts {
            let padding = Self.symmetricHeader + Self.sequenceHeader + bodySize
            // PaddingSize counts the bytes behind it, each of which repeats it.
            let size = UInt8(truncatingIfNeeded: signatureStart - padding - 1)
            for index in padding..<signatureStart { chunk[index] = size }
        }
        let signed = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(chunk)[..<signatureStart])
        let signature = UnsafeMutableRawBufferPointer(rebasing: chunk[signatureStart...])
        guard keys.sign(signed, to: signature),
            !security.encrypts || keys.crypt(UnsafeMutableRawBufferPointer(rebasing: chunk[Self.symmetricHeader...]))
        else { throw SecurityError(.badInternalError, "a chunk could not be secured: \(OpenSSL.reason())") }
    }
}
