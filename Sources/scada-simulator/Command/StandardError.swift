#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

enum StandardError {
    /// Writes one line; what cannot be written is lost, there is no better place to say so.
    static func line(_ text: String) {
        let bytes = Array((text + "\n").utf8)
        _ = bytes.withUnsafeBytes { write(2, $0.baseAddress, $0.count) }
    }
}

enum StandardOutput {
    /// Writes one line, at once even when standard output is a pipe.
    static func line(_ text: String) {
        print(text)
        fflush(nil)
    }
}
