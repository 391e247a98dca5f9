/// The first eight bytes of everything on an OPC UA TCP connection (Part 6, 7.1.2.2).
package struct MessageHeader: Equatable, Sendable {
    package enum MessageType: UInt32, Sendable {
        // Three ASCII letters, read as a little-endian number.
        case hello = 0x4C_4548
        case acknowledge = 0x4B_4341
        case error = 0x52_5245
        case reverseHello = 0x45_4852
        case openSecureChannel = 0x4E_504F
        case closeSecureChannel = 0x4F_4C43
        case message = 0x47_534D
    }

    /// The fourth byte: intermediate, final, or abort (Part 6, 6.7.2.2).
    package enum ChunkType: UInt8, Sendable {
        case intermediate = 0x43
        case final = 0x46
        case abort = 0x41
    }

    @usableFromInline package static let size = 8

    package var type: MessageType
    package var chunkType: ChunkType
    /// Length of the chunk in bytes, this header included.
    package var length: Int

    package init(type: MessageType, chunkType: ChunkType, length: Int) {
        self.type = type
        self.chunkType = chunkType
        self.length = length
    }

    /// Reads the header at the start of `bytes`; nil while fewer than eight have come.
    ///
    /// - Parameter maximumLength: the receive buffer size this side announced; a longer chunk is the peer's fault.
    /// - Throws: `SecurityError.badTcpMessageTypeInvalid` or `.badTcpMessageTooLarge`.
    package static func peek(
        _ bytes: UnsafeRawBufferPointer,
        maximumLength: Int
    ) throws(SecurityError) -> MessageHeader? {
        guard bytes.count >= size else { return nil }
        let word = UInt32(littleEndian: bytes.loadUnaligned(as: UInt32.self))
        guard let type = MessageType(rawValue: word & 0x00FF_FFFF), let chunk = ChunkType(rawValue: UInt8(word >> 24))
        else {
            throw SecurityError(.badTcpMessageTypeInvalid, "the peer does not speak OPC UA TCP: unknown message type")
        }
        let length = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
        guard length >= size, length <= maximumLength else {
            throw SecurityError(
                .badTcpMessageTooLarge,
                "a chunk says it is \(length) bytes long; 8 to \(maximumLength) were agreed"
            )
        }
        return MessageHeader(type: type, chunkType: chunk, length: Int(length))
    }
}
