import COpenSSL

/// An RSA private key. Immutable, any thread; OpenSSL overwrites its memory when the last owner lets go of it.
///
/// Everything here computes for up to some milliseconds (key generation: seconds) and does no I/O.
package final class PrivateKey: @unchecked Sendable, CustomStringConvertible, CustomReflectable {
    private let handle: OpaquePointer
    /// Length of the modulus in bits.
    package let bits: Int

    /// Length of a signature and of an encrypted block, in bytes.
    package var size: Int { (bits + 7) / 8 }

    /// Takes ownership of `handle`.
    private init(owning handle: OpaquePointer) {
        self.handle = handle
        bits = Int(EVP_PKEY_get_bits(handle))
    }

    deinit { EVP_PKEY_free(handle) }

    /// Makes a new key with the public exponent 65537.
    ///
    /// - Parameter bits: 1024 … 4096. Takes a tenth of a second for 2048 bits, seconds for 4096.
    package static func generate(bits: Int = 2048) throws(SecurityError) -> PrivateKey {
        guard (1024...4096).contains(bits), let context = EVP_PKEY_CTX_new_from_name(nil, "RSA", nil) else {
            throw SecurityError(.badInternalError, "no RSA keys of \(bits) bits")
        }
        defer { EVP_PKEY_CTX_free(context) }
        var handle: OpaquePointer?
        guard EVP_PKEY_keygen_init(context) == 1, EVP_PKEY_CTX_set_rsa_keygen_bits(context, CInt(bits)) == 1,
            EVP_PKEY_generate(context, &handle) == 1, let handle
        else { throw SecurityError(.badInternalError, "no RSA key could be made: \(OpenSSL.reason())") }
        return PrivateKey(owning: handle)
    }

    /// Reads an unencrypted key: PEM (PKCS #8 or PKCS #1) or DER.
    ///
    /// - Throws: `badCertificateInvalid` for anything else, encrypted keys among it.
    package convenience init(_ bytes: [UInt8]) throws(SecurityError) {
        let handle = bytes.withUnsafeBytes { region -> OpaquePointer? in
            guard let bio = BIO_new_mem_buf(region.baseAddress, CInt(clamping: region.count)) else { return nil }
            defer { BIO_free(bio) }
            // Without a callback OpenSSL would ask for the pass phrase of an encrypted key on the terminal.
            if let key = PEM_read_bio_PrivateKey(bio, nil, { _, _, _, _ in -1 }, nil) { return key }
            var start = region.pointer
            return d2i_AutoPrivateKey(nil, &start, region.count)
        }
        ERR_clear_error()
        guard let handle else {
            throw SecurityError(.badCertificateInvalid, "the private key is neither unencrypted PEM nor DER")
        }
        guard EVP_PKEY_get_base_id(handle) == EVP_PKEY_RSA, (512...16_384).contains(EVP_PKEY_get_bits(handle)) else {
            EVP_PKEY_free(handle)
            throw SecurityError(.badCertificateInvalid, "the private key is not an RSA key of 512 to 16384 bits")
        }
        self.init(owning: handle)
    }

    /// The key as unencrypted PEM, PKCS #8. The caller keeps it from others' eyes and wipes it.
    func pem() throws(SecurityError) -> [UInt8] {
        guard let bio = BIO_new(BIO_s_secmem()) else { throw SecurityError(.badInternalError, OpenSSL.reason()) }
        defer { BIO_free(bio) }
        guard PEM_write_bio_PrivateKey(bio, handle, nil, nil, 0, nil, nil) == 1 else {
            throw SecurityError(.badInternalError, "the private key could not be written: \(OpenSSL.reason())")
        }
        return OpenSSL.content(of: bio)
    }

    func withHandle<R>(_ body: (OpaquePointer) -> R) -> R { body(handle) }

    /// Whether `publicKey` is the other half of this key.
    package func belongs(to publicKey: PublicKey) -> Bool {
        let equal = publicKey.withHandle { EVP_PKEY_eq($0, handle) == 1 }
        ERR_clear_error()
        return equal
    }

    /// Writes the signature of `message` to `signature`, which has ``size`` bytes.
    func sign(
        _ message: UnsafeRawBufferPointer,
        _ algorithm: RSASignatureAlgorithm,
        to signature: UnsafeMutableRawBufferPointer
    ) -> Bool {
        guard signature.count == size, let context = EVP_MD_CTX_new() else { return false }
        defer { EVP_MD_CTX_free(context) }
        var keyContext: OpaquePointer?
        var length = signature.count
        return EVP_DigestSignInit(context, &keyContext, algorithm.hash.md, nil, handle) == 1
            && algorithm.setPadding(keyContext, saltLength: RSA_PSS_SALTLEN_DIGEST)
            && EVP_DigestSign(context, signature.pointer, &length, message.pointer, message.count) == 1
            && length == size
    }

    /// The signature of `message`, ``size`` bytes.
    package func sign(_ message: [UInt8], _ algorithm: RSASignatureAlgorithm) throws(SecurityError) -> [UInt8] {
        var signature = [UInt8](repeating: 0, count: size)
        let worked = message.withUnsafeBytes { message in
            signature.withUnsafeMutableBytes { sign(message, algorithm, to: $0) }
        }
        guard worked else { throw SecurityError(.badInternalError, "RSA signing failed: \(OpenSSL.reason())") }
        return signature
    }

    /// Decrypts block by block in place and returns how many plaintext bytes now stand at the start of `region`; nil
    /// when any block does not decrypt. Which and why is not told, as that would help who sends forged ones.
    func decrypt(_ region: UnsafeMutableRawBufferPointer, _ algorithm: RSAEncryptionAlgorithm) -> Int? {
        guard region.count % size == 0, let start = region.pointer, let context = EVP_PKEY_CTX_new(handle, nil) else {
            return nil
        }
        defer {
            EVP_PKEY_CTX_free(context)
            ERR_clear_error()
        }
        guard EVP_PKEY_decrypt_init(context) == 1, algorithm.setPadding(context) else { return nil }
        return withUnsafeTemporaryAllocation(byteCount: size, alignment: 16) { block -> Int? in
            defer { OPENSSL_cleanse(block.baseAddress, block.count) }
            var written = 0
            for offset in stride(from: 0, to: region.count, by: size) {
                var length = block.count
                guard EVP_PKEY_decrypt(context, block.pointer, &length, start + offset, size) == 1 else { return nil }
                UnsafeMutableRawBufferPointer(start: start + written, count: length)
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: block[..<length]))
                written += length
            }
            return written
        }
    }

    /// - Throws: `badSecurityChecksFailed` without details.
    package func decrypt(_ ciphertext: [UInt8], _ algorithm: RSAEncryptionAlgorithm) throws(SecurityError) -> [UInt8] {
        var bytes = ciphertext
        guard let count = bytes.withUnsafeMutableBytes({ decrypt($0, algorithm) }) else {
            throw SecurityError(.badSecurityChecksFailed, "the ciphertext does not decrypt")
        }
        bytes.removeLast(bytes.count - count)
        return bytes
    }

    package var description: String { "RSA private key of \(bits) bits" }
    package var customMirror: Mirror { Mirror(self, children: []) }
}
