import CGRPC
import Logging
import Synchronization

/// Keeps the gRPC C core initialized. Every object that wraps a C handle holds one; the core shuts down after the last
/// is gone.
final class GRPCLibrary: Sendable {
    init() {
        Self.logSinkInstalled
        grpc_init()
    }

    deinit {
        grpc_shutdown()
    }

    // MARK: - Log lines of the core

    /// Where the core's own log lines go. The core has one log function for the whole process.
    private static let sink = Mutex<(@Sendable (CoreLogLine) -> Void)?>(nil)

    /// Evaluated once, before the first grpc_init: the core must not write plain lines between our JSON ones.
    private static let logSinkInstalled: Void = {
        gpr_set_log_verbosity(GPR_LOG_SEVERITY_INFO)
        gpr_set_log_function { arguments in
            guard let arguments, let message = arguments.pointee.message else { return }
            let line = CoreLogLine(
                isError: arguments.pointee.severity == GPR_LOG_SEVERITY_ERROR,
                file: arguments.pointee.file.map { String(cString: $0) } ?? "",
                message: String(cString: message)
            )
            GRPCLibrary.sink.withLock { $0 }?(line)
        }
    }()

    /// The core calls `sink` on any of its threads; nil drops the lines.
    static func setLogSink(_ newSink: (@Sendable (CoreLogLine) -> Void)?) {
        sink.withLock { $0 = newSink }
    }
}

/// One line of the gRPC core's own log.
struct CoreLogLine: Sendable {
    let isError: Bool
    let file: String
    let message: String

    /// A client that did not get through TLS: no certificate, an expired or unknown one, or no TLS at all.
    var isFailedHandshake: Bool {
        message.hasPrefix("Handshake failed") || message.hasPrefix("Handshaking failed")
            || message.hasPrefix("Security handshake failed")
    }
}
