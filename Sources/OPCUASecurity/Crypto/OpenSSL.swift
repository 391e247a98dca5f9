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
}
