extension SecureChannelCodec {
    /// Checks one whole chunk, decrypts it in place, and says where its body is. `chunk` is the chunk alone, its length
    /// already checked by ``MessageHeader/peek(_:maximumLength:)``.
    ///
    /// - Parameter now: see ``install(channelID:tokenID:clientNonce:serverNonce:expiresAt:)``.
    /// - Throws: `SecurityError`; the connection is to be closed. Failed cryptographic checks all look the same.
    package mutating func decode(
        _ chunk: UnsafeMutableRawBufferPointer,
        now: UInt64 = 0
    ) throws(SecurityError) -> DecodedChunk {
        guard let header = try MessageHeader.peek(UnsafeRawBufferPointer(chunk), maximumLength: chunk.count),
            header.length == chunk.count
        else { throw SecurityError(.badDecodingError, "a chunk of \(chunk.count) bytes does not say so") }
        switch header.type {
        case .message, .closeSecureChannel: return try decodeSymmetric(chunk, header, now)
        case .openSecureChannel: return try decodeOpen(chunk, header)
        case .hello, .acknowledge, .error, .reverseHello:
            throw SecurityError(
                .badTcpMessageTypeInvalid,
                "a \(header.type) message where a secured one was expected"
            )
        }
    }

    private mutating func decodeSymmetric(
        _ chunk: UnsafeMutableRawBufferPointer,
        _ header: MessageHeader,
        _ now: UInt64
    ) throws(SecurityError) -> DecodedChunk {
        let overhead = Self.symmetricHeader + Self.sequenceHeader
        guard chunk.count >= overhead else { throw Self.truncated(chunk.count) }
        let channel = Self.integer(chunk, 8)
        guard channel == channelID else {
            throw SecurityError(.badTcpSecureChannelUnknown, "a message for channel \(channel), not \(channelID)")
        }
        let token: ChannelToken
        let id = Self.integer(chunk, Self.plainHeader)
        // The common case first: no search, no copy of a token's references.
        if id == current.id, previous == nil, security.policy == .none, now < current.expiresAt {
            return try finish(chunk, header, token: id, sequence: Self.symmetricHeader, end: chunk.count)
        }
        token = try receivingToken(id, now)
        guard security.policy != .none else {
            used(token: id)
            return try finish(chunk, header, token: id, sequence: Self.symmetricHeader, end: chunk.count)
        }
        guard let keys = token.keys?.receiving else {
            throw SecurityError(.badSecureChannelTokenUnknown, "the channel is not open: it has no keys")
        }
        let end = try open(chunk, keys)
        // Only now is it sure that the peer has the new keys.
        used(token: id)
        return try finish(chunk, header, token: id, sequence: Self.symmetricHeader, end: end)
    }

    /// Decrypts and verifies a symmetric chunk; returns where its body ends.
    private func open(_ chunk: UnsafeMutableRawBufferPointer, _ keys: DirectionKeys) throws(SecurityError) -> Int {
        let start = Self.symmetricHeader
        if security.encrypts, !keys.crypt(UnsafeMutableRawBufferPointer(rebasing: chunk[start...])) {
            throw Self.checksFailed()
        }
        let signatureStart = chunk.count - keys.signatureSize
        let bytes = UnsafeRawBufferPointer(chunk)
        guard signatureStart >= start + Self.sequenceHeader,
            keys.verify(
                UnsafeRawBufferPointer(rebasing: bytes[..<signatureStart]),
                UnsafeRawBufferPointer(rebasing: bytes[signatureStart...])
            )
        else { throw Self.checksFailed() }
        guard security.encrypts else { return signatureStart }
        // The signature covers the padding: what stands here now is what the peer wrote.
        let padding = 1 + Int(chunk[signatureStart - 1])
        guard padding <= signatureStart - start - Self.sequenceHeader else { throw Self.checksFailed() }
        return signatureStart - padding
    }

    /// Reads and checks the sequence header at `sequence`; the body goes from behind it to `end`.
    mutating func finish(
        _ chunk: UnsafeMutableRawBufferPointer,
        _ header: MessageHeader,
        token: UInt32,
        sequence: Int,
        end: Int
    ) throws(SecurityError) -> DecodedChunk {
        guard end - sequence >= Self.sequenceHeader else { throw Self.truncated(chunk.count) }
        let number = Self.integer(chunk, sequence)
        try received(sequenceNumber: number)
        return DecodedChunk(
            type: header.type,
            chunkType: header.chunkType,
            channelID: Self.integer(chunk, 8),
            tokenID: token,
            requestID: Self.integer(chunk, sequence + 4),
            sequenceNumber: number,
            body: sequence + Self.sequenceHeader..<end
        )
    }

    /// The offset must be at most `chunk.count - 4`.
    private static func integer(_ chunk: UnsafeMutableRawBufferPointer, _ offset: Int) -> UInt32 {
        UInt32(littleEndian: chunk.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    static func truncated(_ count: Int) -> SecurityError {
        SecurityError(.badDecodingError, "a chunk of \(count) bytes is shorter than its headers")
    }

    /// One error for every failure behind a cipher: differences would help who sends forged chunks.
    static func checksFailed() -> SecurityError {
        SecurityError(.badSecurityChecksFailed, "a chunk was altered, or secured with other keys than this channel's")
    }
}
