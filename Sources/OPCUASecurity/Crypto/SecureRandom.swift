import COpenSSL

/// Unpredictable bytes from OpenSSL's generator, which the kernel seeds.
package enum SecureRandom {
    /// - Parameter count: 0 … 65,536 bytes.
    /// - Throws: `badInternalError` when the generator has no entropy to work with.
    package static func bytes(_ count: Int) throws(SecurityError) -> [UInt8] {
        var worked = true
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            worked = count == 0 || RAND_bytes(buffer.baseAddress, CInt(clamping: count)) == 1
            if !worked { buffer.initialize(repeating: 0) }
            initialized = count
        }
        guard worked else { throw SecurityError(.badInternalError, "no random bytes: \(OpenSSL.reason())") }
        return bytes
    }
}
