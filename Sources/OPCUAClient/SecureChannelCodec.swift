import NIOCore
import OPCUACodec

/// Turns message bodies into secured chunks and back, for one secure channel.
///
/// This is the seam to OPCUASecurity, which knows keys and algorithms. One value belongs to one channel.
protocol SecureChannelCodec {
    /// The bytes of an OpenSecureChannelRequest message. Always one chunk (Part 6, 6.7.2.1).
    mutating func sealOpen(
        body: [UInt8],
        requestID: UInt32,
        numbers: inout SecureChannelStateMachine,
        into buffer: inout ByteBuffer
    ) throws(OPCUAClientError)

    /// The chunks of a MSG or CLO message.
    mutating func seal(
        _ type: TransportStateMachine.MessageType,
        body: [UInt8],
        requestID: UInt32,
        limits: TransportLimits,
        numbers: inout SecureChannelStateMachine,
        into buffer: inout ByteBuffer
    ) throws(OPCUAClientError)

    /// Checks, decrypts and strips a whole OPN or MSG chunk: on return the buffer's readable bytes are the body.
    mutating func unseal(_ chunk: inout ByteBuffer, numbers: inout SecureChannelStateMachine, now: NIODeadline)
        throws(OPCUAClientError) -> UnsealedChunk

    /// The client nonce of the next OpenSecureChannelRequest.
    mutating func makeNonce() throws(OPCUAClientError) -> [UInt8]?
    /// Derives the keys of a new token.
    mutating func install(channelID: UInt32, tokenID: UInt32, serverNonce: [UInt8]?) throws(OPCUAClientError)
}

struct UnsealedChunk: Equatable {
    /// Part 6, 6.7.2.2.
    enum Position: UInt8 {
        case intermediate = 0x43  // "C"
        case final = 0x46  // "F"
        case abort = 0x41  // "A"
    }

    var position: Position
    var requestID: UInt32
}
