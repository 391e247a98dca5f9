import OPCUACodec

/// The clear text at the start of an OpenSecureChannel message (Part 6, 6.7.2.3): what a server must look at before it
/// can choose keys, and what both sides compare with what they expect.
package struct AsymmetricHeader: Equatable, Sendable {
    package var channelID: UInt32
    /// null is possible on the wire and never valid.
    package var policyURI: String?
    /// The sender's certificate, or its chain; nil under policy None.
    package var senderCertificate: [UInt8]?
    /// SHA-1 of the receiver's certificate; nil under policy None.
    package var receiverThumbprint: [UInt8]?

    /// Part 6, 6.7.2.3: SecurityPolicyUri has at most 255 bytes.
    static let maximumPolicyLength = 255

    /// Reads it from a whole OpenSecureChannel chunk, message header included.
    ///
    /// - Throws: `badDecodingError`, `badTcpMessageTypeInvalid` when it is no OPN chunk.
    package static func peek(_ chunk: UnsafeRawBufferPointer) throws(SecurityError) -> AsymmetricHeader {
        guard let header = try MessageHeader.peek(chunk, maximumLength: chunk.count), header.length == chunk.count,
            header.type == .openSecureChannel
        else { throw SecurityError(.badTcpMessageTypeInvalid, "an OpenSecureChannel message was expected") }
        var offset = 0
        return try read(chunk, endingAt: &offset)
    }

    /// `chunk` has at least the eight bytes of a message header.
    static func read(
        _ chunk: UnsafeRawBufferPointer,
        endingAt offset: inout Int
    ) throws(SecurityError) -> AsymmetricHeader {
        do throws(DecodingError) {
            var decoder = BinaryDecoder(chunk)
            decoder.offset = MessageHeader.size
            let channel = try decoder.uint32()
            let policy = try decoder.string()
            let certificate = try decoder.byteString()
            let thumbprint = try decoder.byteString()
            offset = decoder.offset
            guard policy.map({ $0.utf8.count <= maximumPolicyLength }) ?? true else {
                throw decoder.failure(.invalidLength)
            }
            return AsymmetricHeader(
                channelID: channel,
                policyURI: policy,
                senderCertificate: certificate,
                receiverThumbprint: thumbprint
            )
        } catch {
            throw SecurityError(.badDecodingError, "a security header is not what Part 6, 6.7.2 says: \(error)")
        }
    }
}
