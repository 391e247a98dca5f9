import NIOCore
import OPCUACodec

/// Security policy None: headers and sequence numbers only (Part 6, 6.7.2).
struct PlainChannelCodec: SecureChannelCodec {
    static let policyURI = "http://opcfoundation.org/UA/SecurityPolicy#None"
    /// Message header 12, token 4, sequence header 8.
    static let symmetricHeaderSize = 24

    private var channelID: UInt32 = 0
    private var tokenID: UInt32 = 0

    mutating func sealOpen(
        body: [UInt8],
        requestID: UInt32,
        numbers: inout SecureChannelStateMachine,
        into buffer: inout ByteBuffer
    ) throws(OPCUAClientError) {
        let policy = Self.policyURI.utf8
        let size = 12 + 4 + policy.count + 4 + 4 + 8 + body.count
        buffer.writeStaticString("OPNF")
        buffer.writeInteger(UInt32(size), endianness: .little)
        buffer.writeInteger(channelID, endianness: .little)
        buffer.writeInteger(Int32(policy.count), endianness: .little)
        buffer.writeBytes(policy)
        buffer.writeInteger(Int32(-1), endianness: .little)
        buffer.writeInteger(Int32(-1), endianness: .little)
        buffer.writeInteger(numbers.nextSequenceNumber(), endianness: .little)
        buffer.writeInteger(requestID, endianness: .little)
        buffer.writeBytes(body)
    }

    mutating func seal(
        _ type: TransportStateMachine.MessageType,
        body: [UInt8],
        requestID: UInt32,
        limits: TransportLimits,
        numbers: inout SecureChannelStateMachine,
        into buffer: inout ByteBuffer
    ) throws(OPCUAClientError) {
        let room = limits.sendChunkSize - Self.symmetricHeaderSize
        var rest = body[...]
        repeat {
            let part = rest.prefix(room)
            rest = rest.dropFirst(room)
            buffer.writeString(type.rawValue)
            buffer.writeInteger(rest.isEmpty ? UInt8(ascii: "F") : UInt8(ascii: "C"))
            buffer.writeInteger(UInt32(Self.symmetricHeaderSize + part.count), endianness: .little)
            buffer.writeInteger(channelID, endianness: .little)
            buffer.writeInteger(tokenID, endianness: .little)
            buffer.writeInteger(numbers.nextSequenceNumber(), endianness: .little)
            buffer.writeInteger(requestID, endianness: .little)
            buffer.writeBytes(part)
        } while !rest.isEmpty
    }

    mutating func unseal(_ chunk: inout ByteBuffer, numbers: inout SecureChannelStateMachine, now: NIODeadline)
        throws(OPCUAClientError) -> UnsealedChunk
    {
        func violation(_ what: String, _ status: StatusCode) -> OPCUAClientError {
            OPCUAClientError(.protocolViolation, "the server sent \(what)", status: status)
        }
        guard let type = chunk.readString(length: 3), let letter: UInt8 = chunk.readInteger(),
            chunk.readInteger(as: UInt32.self) != nil, let channel: UInt32 = chunk.readInteger(endianness: .little)
        else { throw violation("a chunk shorter than its header", .badTcpMessageTypeInvalid) }
        guard let position = UnsealedChunk.Position(rawValue: letter) else {
            throw violation("a chunk that is neither final, intermediate nor abort", .badTcpMessageTypeInvalid)
        }
        if type == "OPN" {
            for _ in 0..<3 {
                guard let length: Int32 = chunk.readInteger(endianness: .little),
                    length <= 0 || chunk.readSlice(length: Int(length)) != nil
                else { throw violation("a truncated asymmetric security header", .badDecodingError) }
            }
        } else {
            guard let token: UInt32 = chunk.readInteger(endianness: .little) else {
                throw violation("a chunk shorter than its header", .badTcpMessageTypeInvalid)
            }
            guard numbers.accepts(channelID: channel, tokenID: token, now: now) else {
                throw violation("a message under token \(token), which is unknown", .badSecureChannelTokenUnknown)
            }
        }
        guard let sequence: UInt32 = chunk.readInteger(endianness: .little),
            let requestID: UInt32 = chunk.readInteger(endianness: .little)
        else { throw violation("a chunk shorter than its header", .badTcpMessageTypeInvalid) }
        guard numbers.received(sequenceNumber: sequence) else {
            throw violation("a chunk with sequence number \(sequence) out of order", .badSequenceNumberInvalid)
        }
        return UnsealedChunk(position: position, requestID: requestID)
    }

    mutating func makeNonce() throws(OPCUAClientError) -> [UInt8]? { nil }

    mutating func install(channelID: UInt32, tokenID: UInt32, serverNonce: [UInt8]?) throws(OPCUAClientError) {
        self.channelID = channelID
        self.tokenID = tokenID
    }
}
