import COpenSSL

/// P_SHA1 and P_SHA256 of RFC 5246, 5 (P_hash), as Part 6, 6.7.5 uses them to derive keys from two nonces.
package enum KeyDerivation {
    /// The first `length` bytes of P_hash(secret, seed).
    ///
    /// - Throws: `badInternalError` when OpenSSL refuses, for instance an empty secret.
    package static func pseudoRandom(
        _ hash: HashAlgorithm,
        secret: [UInt8],
        seed: [UInt8],
        length: Int
    ) throws(SecurityError) -> SecretBytes {
        // TLS1-PRF with one digest is P_hash itself (RFC 5246, 5); the label belongs to the seed.
        guard let kdf = EVP_KDF_fetch(nil, "TLS1-PRF", nil) else { throw failure() }
        defer { EVP_KDF_free(kdf) }
        guard let context = EVP_KDF_CTX_new(kdf) else { throw failure() }
        defer { EVP_KDF_CTX_free(context) }
        var secret = secret
        var seed = seed
        let derived = secret.withUnsafeMutableBytes { secretBytes in
            seed.withUnsafeMutableBytes { seedBytes in
                SecretBytes(count: length) { output in
                    var parameters = [
                        OSSL_PARAM_construct_utf8_string(
                            shim_kdf_digest(),
                            UnsafeMutablePointer(mutating: hash.cName),
                            0
                        ),
                        OSSL_PARAM_construct_octet_string(
                            shim_kdf_secret(),
                            secretBytes.baseAddress,
                            secretBytes.count
                        ),
                        OSSL_PARAM_construct_octet_string(shim_kdf_seed(), seedBytes.baseAddress, seedBytes.count),
                        OSSL_PARAM_construct_end(),
                    ]
                    return EVP_KDF_derive(context, output.pointer, output.count, &parameters) == 1
                }
            }
        }
        secret.wipe()
        guard let derived else { throw failure() }
        return derived
    }

    private static func failure() -> SecurityError {
        SecurityError(.badInternalError, "keys could not be derived: \(OpenSSL.reason())")
    }
}
