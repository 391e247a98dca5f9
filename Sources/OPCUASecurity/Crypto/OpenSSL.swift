import COpenSSL

/// What every call into OpenSSL shares.
enum OpenSSL {
    /// Empties this thread's error queue and returns the first reason in words. Reasons name checks, never key material.
    static func reason() -> String {
        let first = ERR_get_error()
        ERR_clear_error()
        guard first != 0, let text = ERR_reason_error_string(first) else { return "no reason given" }
        return String(cString: text)
    }

    /// What was written to a memory BIO.
    static func content(of bio: OpaquePointer) -> [UInt8] {
        var start: UnsafeMutablePointer<CChar>?
        let count = withUnsafeMutablePointer(to: &start) { BIO_ctrl(bio, BIO_CTRL_INFO, 0, $0) }
        return [UInt8](UnsafeRawBufferPointer(start: start, count: start == nil ? 0 : max(0, count)))
    }
}
