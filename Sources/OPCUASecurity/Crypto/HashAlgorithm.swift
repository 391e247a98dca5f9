import COpenSSL

package enum HashAlgorithm: Sendable {
    case sha1
    case sha256

    /// Bytes of a digest.
    package var size: Int { self == .sha1 ? 20 : 32 }

    /// OpenSSL's descriptor: a constant of the library, valid for ever.
    var md: OpaquePointer? { self == .sha1 ? EVP_sha1() : EVP_sha256() }

    /// The name by which OpenSSL knows it, as a C string that lives for ever.
    var cName: UnsafePointer<CChar>? { EVP_MD_get0_name(md) }

    /// The digest of `bytes`.
    package func digest(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
            // One-shot digests of the default provider fail only without memory; zeros then match nothing.
            if EVP_Digest(bytes.baseAddress, bytes.count, buffer.baseAddress, nil, md, nil) != 1 {
                buffer.initialize(repeating: 0)
            }
            count = size
        }
    }

    package func digest(_ bytes: [UInt8]) -> [UInt8] { bytes.withUnsafeBytes { digest($0) } }
}

/// Compares in time that depends on the lengths alone.
package func constantTimeEquals(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Bool {
    guard left.count == right.count else { return false }
    guard let first = left.baseAddress, let second = right.baseAddress else { return true }
    return CRYPTO_memcmp(first, second, left.count) == 0
}

package func constantTimeEquals(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    left.withUnsafeBytes { left in right.withUnsafeBytes { constantTimeEquals(left, $0) } }
}
