#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// How log lines look: LOG_FORMAT.
package enum LogFormat: String, Sendable, CaseIterable {
    /// One JSON object a line, for collectors.
    case json
    /// Aligned text, for people at a terminal.
    case text

    /// Text when standard error is a terminal, else JSON.
    package static var automatic: LogFormat { isatty(STDERR_FILENO) == 1 ? .text : .json }
}
