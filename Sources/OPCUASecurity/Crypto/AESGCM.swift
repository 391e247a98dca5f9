import COpenSSL

/// AES-256-GCM (NIST SP 800-38D) with a 12-byte nonce and a 16-byte tag, as used for secrets at rest.
enum AESGCM {
    static let keySize = 32
    static let nonceSize = 12
    static let tagSize = 16

    /// nonce ‖ ciphertext ‖ tag under a fresh random nonce.
    static func seal(_ plaintext: [UInt8], key: SecretBytes) throws(SecurityError) -> [UInt8] {
        let nonce = try SecureRandom.bytes(nonceSize)
        var output = nonce + [UInt8](repeating: 0, count: plaintext.count + tagSize)
        let worked = withContext { context in
            key.withUnsafeBytes { keyBytes in
                output.withUnsafeMutableBufferPointer { out -> Bool in
                    guard let start = out.baseAddress else { return false }
                    var length: CInt = 0
                    return EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), nil, keyBytes.pointer, nonce) == 1
                        && EVP_EncryptUpdate(
                            context,
                            start + nonceSize,
                            &length,
                            plaintext,
                            CInt(clamping: plaintext.count)
                        ) == 1
                        && EVP_EncryptFinal_ex(context, start + nonceSize + plaintext.count, &length) == 1
                        && EVP_CIPHER_CTX_ctrl(
                            context,
                            EVP_CTRL_AEAD_GET_TAG,
                            CInt(tagSize),
                            start + nonceSize + plaintext.count
                        ) == 1
                }
            }
        }
        guard worked else { throw SecurityError(.badInternalError, "AES-GCM does not work: \(OpenSSL.reason())") }
        return output
    }

    /// The plaintext of nonce ‖ ciphertext ‖ tag; nil when the tag does not fit: another key, or altered bytes.
    static func open(_ sealed: [UInt8], key: SecretBytes) -> [UInt8]? {
        let size = sealed.count - nonceSize - tagSize
        guard size >= 0, key.count == keySize else { return nil }
        var tag = Array(sealed.suffix(tagSize))
        var plaintext = [UInt8](repeating: 0, count: size)
        let worked = withContext { context in
            key.withUnsafeBytes { keyBytes in
                sealed.withUnsafeBufferPointer { input -> Bool in
                    guard let start = input.baseAddress else { return false }
                    var length: CInt = 0
                    // An empty ciphertext leaves no array memory to write to; nothing is written then.
                    var nothing: [UInt8] = [0]
                    return EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), nil, keyBytes.pointer, start) == 1
                        && (size == 0
                            || EVP_DecryptUpdate(
                                context,
                                &plaintext,
                                &length,
                                start + nonceSize,
                                CInt(clamping: size)
                            ) == 1)
                        && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, CInt(tagSize), &tag) == 1
                        && EVP_DecryptFinal_ex(context, &nothing, &length) == 1
                }
            }
        }
        guard worked else {
            plaintext.wipe()
            ERR_clear_error()
            return nil
        }
        return plaintext
    }

    private static func withContext(_ body: (OpaquePointer) -> Bool) -> Bool {
        guard let context = EVP_CIPHER_CTX_new() else { return false }
        defer { EVP_CIPHER_CTX_free(context) }
        return body(context)
    }
}

extension UnsafeRawBufferPointer {
    /// The start as C functions want it; nil when empty.
    var pointer: UnsafePointer<UInt8>? { baseAddress?.assumingMemoryBound(to: UInt8.self) }
}

extension UnsafeMutableRawBufferPointer {
    var pointer: UnsafeMutablePointer<UInt8>? { baseAddress?.assumingMemoryBound(to: UInt8.self) }
}
