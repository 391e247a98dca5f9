import COpenSSL

/// An RSA public key, as a certificate holds it. Immutable, any thread.
package final class PublicKey: @unchecked Sendable {
    private let handle: OpaquePointer
    /// Length of the modulus in bits.
    package let bits: Int

    /// Length of a signature and of an encrypted block, in bytes.
    package var size: Int { (bits + 7) / 8 }

    /// Takes ownership of `handle`; nil, and `handle` freed, when the key is not RSA of 512 … 16,384 bits.
    init?(owning handle: OpaquePointer) {
        guard EVP_PKEY_get_base_id(handle) == EVP_PKEY_RSA, (512...16_384).contains(EVP_PKEY_get_bits(handle)) else {
            EVP_PKEY_free(handle)
            return nil
        }
        self.handle = handle
        bits = Int(EVP_PKEY_get_bits(handle))
    }

    deinit { EVP_PKEY_free(handle) }

    func withHandle<R>(_ body: (OpaquePointer) -> R) -> R { body(handle) }

    /// Whether `signature` is the signature of `message` by the private key that belongs to this one.
    package func verify(
        _ message: UnsafeRawBufferPointer,
        signature: UnsafeRawBufferPointer,
        _ algorithm: RSASignatureAlgorithm
    ) -> Bool {
        guard signature.count == size, let context = EVP_MD_CTX_new() else { return false }
        defer { EVP_MD_CTX_free(context) }
        var keyContext: OpaquePointer?
        let verified =
            EVP_DigestVerifyInit(context, &keyContext, algorithm.hash.md, nil, handle) == 1
            // Whatever salt length the peer chose: the check is as strong (RFC 8017, 9.1.2).
            && algorithm.setPadding(keyContext, saltLength: RSA_PSS_SALTLEN_AUTO)
            && EVP_DigestVerify(context, signature.pointer, signature.count, message.pointer, message.count) == 1
        if !verified { ERR_clear_error() }
        return verified
    }

    package func verify(_ message: [UInt8], signature: [UInt8], _ algorithm: RSASignatureAlgorithm) -> Bool {
        message.withUnsafeBytes { message in
            signature.withUnsafeBytes { verify(message, signature: $0, algorithm) }
        }
    }

    /// Bytes of `count` plaintext bytes when encrypted.
    package func encryptedSize(_ count: Int, _ algorithm: RSAEncryptionAlgorithm) -> Int {
        let block = max(1, size - algorithm.overhead)
        return (count + block - 1) / block * size
    }

    /// Encrypts block by block: each of at most `size - overhead` bytes becomes one of `size` bytes (Part 6, 6.7.2.5).
    ///
    /// - Parameter output: exactly ``encryptedSize(_:_:)`` bytes; must not overlap `plaintext`.
    func encrypt(
        _ plaintext: UnsafeRawBufferPointer,
        _ algorithm: RSAEncryptionAlgorithm,
        to output: UnsafeMutableRawBufferPointer
    ) -> Bool {
        let block = size - algorithm.overhead
        guard block > 0, output.count == encryptedSize(plaintext.count, algorithm),
            let context = EVP_PKEY_CTX_new(handle, nil)
        else { return false }
        defer { EVP_PKEY_CTX_free(context) }
        guard EVP_PKEY_encrypt_init(context) == 1, algorithm.setPadding(context) else { return false }
        var read = 0
        var written = 0
        while read < plaintext.count {
            let part = min(block, plaintext.count - read)
            var length = output.count - written
            guard let source = plaintext.pointer, let target = output.pointer,
                EVP_PKEY_encrypt(context, target + written, &length, source + read, part) == 1, length == size
            else { return false }
            read += part
            written += length
        }
        return written == output.count
    }

    /// - Throws: `badInternalError` when the key is too short for the algorithm or OpenSSL fails.
    package func encrypt(_ plaintext: [UInt8], _ algorithm: RSAEncryptionAlgorithm) throws(SecurityError) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: encryptedSize(plaintext.count, algorithm))
        let worked = plaintext.withUnsafeBytes { plaintext in
            output.withUnsafeMutableBytes { encrypt(plaintext, algorithm, to: $0) }
        }
        guard worked else {
            throw SecurityError(.badInternalError, "RSA encryption failed: \(OpenSSL.reason())")
        }
        return output
    }
}

extension RSASignatureAlgorithm {
    /// - Parameter saltLength: of PSS only; `RSA_PSS_SALTLEN_DIGEST` or `RSA_PSS_SALTLEN_AUTO`.
    func setPadding(_ context: OpaquePointer?, saltLength: CInt) -> Bool {
        switch self {
        case .pkcs1Sha1, .pkcs1Sha256: EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) == 1
        case .pssSha256:
            EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1
                && EVP_PKEY_CTX_set_rsa_mgf1_md(context, hash.md) == 1
                && EVP_PKEY_CTX_set_rsa_pss_saltlen(context, saltLength) == 1
        }
    }
}

extension RSAEncryptionAlgorithm {
    func setPadding(_ context: OpaquePointer?) -> Bool {
        func oaep(_ hash: HashAlgorithm) -> Bool {
            EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) == 1
                && EVP_PKEY_CTX_set_rsa_oaep_md(context, hash.md) == 1
                && EVP_PKEY_CTX_set_rsa_mgf1_md(context, hash.md) == 1
        }
        switch self {
        case .pkcs1: return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) == 1
        case .oaepSha1: return oaep(.sha1)
        case .oaepSha256: return oaep(.sha256)
        }
    }
}
