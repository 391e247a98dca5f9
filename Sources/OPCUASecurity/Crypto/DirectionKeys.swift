import COpenSSL
import Synchronization

/// The symmetric keys of one direction of a secure channel under one token (Part 6, 6.7.5): HMAC and AES-CBC, both in
/// place, with contexts that are set up once and reused for every chunk.
///
/// One user at a time is the normal case; a lock makes copies of the value that holds it harmless.
final class DirectionKeys: @unchecked Sendable {
    private let lock = Mutex(())
    private let mac: OpaquePointer
    /// nil where the mode does not encrypt.
    private let cipher: OpaquePointer?
    private let initializationVector: SecretBytes
    let signatureSize: Int

    /// Derives signing key, encrypting key and initialization vector, in this order, from P_hash(secret, seed).
    ///
    /// - Parameter encrypts: false for mode Sign; then no cipher is set up.
    init(
        policy: SecurityPolicy,
        secret: [UInt8],
        seed: [UInt8],
        encrypts: Bool,
        sending: Bool
    ) throws(SecurityError) {
        let signing = policy.signingKeySize
        let encrypting = policy.encryptionKeySize
        let block = try KeyDerivation.pseudoRandom(
            policy.hash,
            secret: secret,
            seed: seed,
            length: signing + encrypting + SecurityPolicy.blockSize
        )
        guard let mac = Self.makeMAC(policy.hash, block, signing) else {
            throw SecurityError(.badInternalError, "no HMAC: \(OpenSSL.reason())")
        }
        self.mac = mac
        signatureSize = policy.symmetricSignatureSize
        initializationVector = block.withUnsafeBytes { SecretBytes(copying: $0.dropFirst(signing + encrypting)) }
        guard encrypts else {
            cipher = nil
            return
        }
        guard let cipher = Self.makeCipher(block, signing, encrypting, sending) else {
            // A class's own deinit does not run for an initializer that throws before every property is set.
            EVP_MAC_CTX_free(mac)
            throw SecurityError(.badInternalError, "no AES-CBC: \(OpenSSL.reason())")
        }
        self.cipher = cipher
    }

    deinit {
        // Both overwrite the keys they hold.
        EVP_MAC_CTX_free(mac)
        EVP_CIPHER_CTX_free(cipher)
    }

    private static func makeMAC(_ hash: HashAlgorithm, _ block: SecretBytes, _ size: Int) -> OpaquePointer? {
        guard let algorithm = EVP_MAC_fetch(nil, "HMAC", nil) else { return nil }
        defer { EVP_MAC_free(algorithm) }
        guard let context = EVP_MAC_CTX_new(algorithm) else { return nil }
        var parameters = [
            OSSL_PARAM_construct_utf8_string(shim_mac_digest(), UnsafeMutablePointer(mutating: hash.cName), 0),
            OSSL_PARAM_construct_end(),
        ]
        guard block.withUnsafeBytes({ EVP_MAC_init(context, $0.pointer, size, &parameters) }) == 1 else {
            EVP_MAC_CTX_free(context)
            return nil
        }
        return context
    }

    private static func makeCipher(
        _ block: SecretBytes,
        _ offset: Int,
        _ size: Int,
        _ encrypts: Bool
    ) -> OpaquePointer? {
        guard let context = EVP_CIPHER_CTX_new() else { return nil }
        let worked = block.withUnsafeBytes { bytes -> Bool in
            guard let start = bytes.pointer else { return false }
            return EVP_CipherInit_ex(
                context,
                size == 16 ? EVP_aes_128_cbc() : EVP_aes_256_cbc(),
                nil,
                start + offset,
                start + offset + size,
                encrypts ? 1 : 0
            ) == 1 && EVP_CIPHER_CTX_set_padding(context, 0) == 1
        }
        guard worked else {
            EVP_CIPHER_CTX_free(context)
            return nil
        }
        return context
    }

    /// Writes the signature of `message` to `signature`, which has ``signatureSize`` bytes.
    func sign(_ message: UnsafeRawBufferPointer, to signature: UnsafeMutableRawBufferPointer) -> Bool {
        lock.withLock { _ in
            var length = 0
            // Without a key: starts anew with the one it has.
            return EVP_MAC_init(mac, nil, 0, nil) == 1
                && EVP_MAC_update(mac, message.pointer, message.count) == 1
                && EVP_MAC_final(mac, signature.pointer, &length, signature.count) == 1
                && length == signatureSize
        }
    }

    /// Whether `signature` is that of `message`, in constant time.
    func verify(_ message: UnsafeRawBufferPointer, _ signature: UnsafeRawBufferPointer) -> Bool {
        withUnsafeTemporaryAllocation(byteCount: signatureSize, alignment: 1) { expected in
            sign(message, to: expected) && constantTimeEquals(UnsafeRawBufferPointer(expected), signature)
        }
    }

    /// Encrypts or decrypts whole blocks in place, every chunk from the same initialization vector (Part 6, 6.7.5).
    func crypt(_ region: UnsafeMutableRawBufferPointer) -> Bool {
        guard let cipher, region.count % SecurityPolicy.blockSize == 0, region.count <= CInt.max else { return false }
        return lock.withLock { _ in
            initializationVector.withUnsafeBytes { vector in
                var length: CInt = 0
                return EVP_CipherInit_ex(cipher, nil, nil, nil, vector.pointer, -1) == 1
                    && EVP_CipherUpdate(
                        cipher,
                        region.pointer,
                        &length,
                        UnsafePointer(region.pointer),
                        CInt(region.count)
                    ) == 1
                    && Int(length) == region.count
            }
        }
    }
}
