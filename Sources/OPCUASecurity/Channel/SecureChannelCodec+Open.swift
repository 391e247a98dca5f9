import OPCUACodec

/// OpenSecureChannel messages: always one chunk; under a policy other than None signed by the sender's key and encrypted
/// for the receiver's, whatever the mode (Part 6, 6.7.4).
extension SecureChannelCodec {
    private struct Algorithms {
        var signature: RSASignatureAlgorithm
        var encryption: RSAEncryptionAlgorithm
        var own: ApplicationIdentity
        var peer: Certificate
    }

    /// nil under policy None.
    private var algorithms: Algorithms? {
        guard let signature = security.policy.asymmetricSignature,
            let encryption = security.policy.asymmetricEncryption, let own = security.own, let peer = security.peer
        else { return nil }
        return Algorithms(signature: signature, encryption: encryption, own: own, peer: peer)
    }

    /// Channel id to thumbprint.
    private func asymmetricHeader(_ algorithms: Algorithms?) -> [UInt8] {
        var encoder = BinaryEncoder(reservingCapacity: 64)
        encoder.string(security.policy.uri)
        encoder.byteString(algorithms?.own.chain.byteString)
        encoder.byteString(algorithms?.peer.thumbprint.bytes)
        return encoder.bytes
    }

    /// Part 6, 6.7.2.5: PaddingSize has a second byte when the key that encrypts is longer than 2048 bits.
    private static func paddingSizeBytes(_ keySize: Int) -> Int { keySize > 256 ? 2 : 1 }

    /// What is encrypted: sequence header, body, padding, signature, up to a whole number of plaintext blocks.
    private func plaintextSize(_ bodySize: Int, _ algorithms: Algorithms) throws(SecurityError) -> Int {
        let keySize = algorithms.peer.publicKey.size
        let block = keySize - algorithms.encryption.overhead
        guard block > 0 else { throw SecurityError(.badSecurityPolicyRejected, "the peer's key is too short") }
        let least =
            Self.sequenceHeader + bodySize + Self.paddingSizeBytes(keySize) + algorithms.own.key.size
        return (least + block - 1) / block * block
    }

    func asymmetricChunkSize(_ bodySize: Int) throws(SecurityError) -> Int {
        let algorithms = algorithms
        let header = Self.plainHeader + asymmetricHeader(algorithms).count
        guard let algorithms else { return header + Self.sequenceHeader + bodySize }
        let plain = try plaintextSize(bodySize, algorithms)
        return header + algorithms.peer.publicKey.encryptedSize(plain, algorithms.encryption)
    }

    /// - Parameter chunk: exactly ``asymmetricChunkSize(_:)`` bytes.
    mutating func encodeOpen(
        requestID: UInt32,
        body: UnsafeRawBufferPointer,
        to chunk: UnsafeMutableRawBufferPointer
    ) throws(SecurityError) {
        let algorithms = algorithms
        let header = asymmetricHeader(algorithms)
        let start = Self.plainHeader + header.count
        writeHeader(.openSecureChannel, .final, to: chunk)
        UnsafeMutableRawBufferPointer(rebasing: chunk[Self.plainHeader..<start]).copyBytes(from: header)
        guard let algorithms else { return writeSequence(requestID, body, at: start, in: chunk) }
        // Signed is the plain text with the headers before it, and the headers already tell the encrypted length.
        let plain = try plaintextSize(body.count, algorithms)
        let signatureSize = algorithms.own.key.size
        var work = [UInt8](repeating: 0, count: start + plain)
        let worked = work.withUnsafeMutableBytes { work -> Bool in
            work.copyMemory(from: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(chunk)[..<start]))
            writeSequence(requestID, body, at: start, in: work)
            let end = work.count - signatureSize
            let sizeBytes = Self.paddingSizeBytes(algorithms.peer.publicKey.size)
            let paddingStart = start + Self.sequenceHeader + body.count
            let padding = end - paddingStart - sizeBytes
            for index in paddingStart..<end { work[index] = UInt8(truncatingIfNeeded: padding) }
            if sizeBytes == 2 { work[end - 1] = UInt8(truncatingIfNeeded: padding >> 8) }
            let bytes = UnsafeRawBufferPointer(work)
            return algorithms.own.key.sign(
                UnsafeRawBufferPointer(rebasing: bytes[..<end]),
                algorithms.signature,
                to: UnsafeMutableRawBufferPointer(rebasing: work[end...])
            )
                && algorithms.peer.publicKey.encrypt(
                    UnsafeRawBufferPointer(rebasing: bytes[start...]),
                    algorithms.encryption,
                    to: UnsafeMutableRawBufferPointer(rebasing: chunk[start...])
                )
        }
        // It holds our nonce, from which keys are derived.
        work.wipe()
        guard worked else {
            throw SecurityError(
                .badInternalError,
                "an OpenSecureChannel message could not be secured: \(OpenSSL.reason())"
            )
        }
    }

    mutating func decodeOpen(
        _ chunk: UnsafeMutableRawBufferPointer,
        _ header: MessageHeader
    ) throws(SecurityError) -> DecodedChunk {
        guard header.chunkType == .final else {
            throw SecurityError(.badTcpMessageTypeInvalid, "an OpenSecureChannel message in more than one chunk")
        }
        var start = 0
        let fields = try AsymmetricHeader.read(UnsafeRawBufferPointer(chunk), endingAt: &start)
        guard fields.policyURI == security.policy.uri else {
            throw SecurityError(
                .badSecurityPolicyRejected,
                "the peer answers with security policy \(fields.policyURI ?? "null"), not \(security.policy.name)"
            )
        }
        guard let algorithms else { return try finish(chunk, header, token: 0, sequence: start, end: chunk.count) }
        try Self.check(fields, algorithms)
        let encrypted = UnsafeMutableRawBufferPointer(rebasing: chunk[start...])
        guard !encrypted.isEmpty, let plain = algorithms.own.key.decrypt(encrypted, algorithms.encryption) else {
            throw Self.checksFailed()
        }
        let end = start + plain - algorithms.peer.publicKey.size
        let sizeBytes = Self.paddingSizeBytes(algorithms.own.key.size)
        let bytes = UnsafeRawBufferPointer(chunk)
        guard end >= start + Self.sequenceHeader + sizeBytes,
            algorithms.peer.publicKey.verify(
                UnsafeRawBufferPointer(rebasing: bytes[..<end]),
                signature: UnsafeRawBufferPointer(rebasing: bytes[end..<start + plain]),
                algorithms.signature
            )
        else { throw Self.checksFailed() }
        // The last byte of the padding repeats its size; with a second byte of the size, the one before it does.
        let high = sizeBytes == 2 ? Int(chunk[end - 1]) << 8 : 0
        let padding = high + Int(chunk[end - sizeBytes])
        guard padding <= end - start - Self.sequenceHeader - sizeBytes else { throw Self.checksFailed() }
        return try finish(chunk, header, token: 0, sequence: start, end: end - sizeBytes - padding)
    }

    private static func check(_ fields: AsymmetricHeader, _ algorithms: Algorithms) throws(SecurityError) {
        // The certificate may be followed by its issuers' (Part 6, 6.2.6).
        guard let sender = fields.senderCertificate, sender.starts(with: algorithms.peer.der) else {
            throw SecurityError(
                .badSecurityChecksFailed,
                "the peer secures the channel with another certificate than \(algorithms.peer)"
            )
        }
        guard fields.receiverThumbprint == algorithms.own.certificate.thumbprint.bytes else {
            throw SecurityError(
                .badCertificateInvalid,
                "the peer encrypted for another certificate than \(algorithms.own.certificate)"
            )
        }
    }
}
