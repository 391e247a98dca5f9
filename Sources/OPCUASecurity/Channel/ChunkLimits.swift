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
