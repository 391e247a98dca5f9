package import Logging
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Where the process's loggers come from.
package enum LoggingSetup {
    /// The outputs to flush when the process exits.
    private static let outputs = Mutex<[LogOutput]>([])

    /// What `LoggingSystem.bootstrap` wants. The lines go to standard error through a `LogOutput` that is flushed, for a
    /// second at most, when the process leaves through exit(3).
    package static func make(
        level: Logger.Level,
        format: LogFormat,
        metadataProvider: Logger.MetadataProvider? = nil
    ) -> @Sendable (_ label: String) -> any LogHandler {
        let output = output(format: format)
        outputs.withLock { outputs in
            if outputs.isEmpty { atexit { LoggingSetup.flush() } }
            outputs.append(output)
        }
        return handlerFactory(level: level, format: format, output: output, metadataProvider: metadataProvider)
    }

    /// `make`, installed for the whole process. Once per process.
    package static func bootstrap(
        level: Logger.Level,
        format: LogFormat,
        metadataProvider: Logger.MetadataProvider? = nil
    ) {
        let factory = make(level: level, format: format, metadataProvider: metadataProvider)
        LoggingSystem.bootstrap({ label, _ in factory(label) }, metadataProvider: metadataProvider)
    }

    /// Waits until what was logged has left. For exits that pass by exit(3), such as a command that failed.
    package static func flush(atMost timeout: Duration = .seconds(1)) {
        for output in outputs.withLock({ $0 }) { output.flush(atMost: timeout) }
    }

    /// Lines dropped since the start, for `scada_log_lines_dropped_total`.
    package static var dropped: Int { outputs.withLock { $0.reduce(0) { $0 + $1.dropped } } }

    /// An output whose notice of dropped lines has the format of the others.
    package static func output(format: LogFormat, descriptor: Int32 = STDERR_FILENO, limit: Int = 1 << 20) -> LogOutput
    {
        LogOutput(descriptor: descriptor, limit: limit) { dropped in
            let message = "log lines were dropped because standard error did not take them in time"
            let fields = [(key: "dropped", value: Logger.MetadataValue.stringConvertible(dropped))]
            let now = UTCTime.nowMilliseconds()
            return switch format {
            case .json:
                JSONLogHandler.line(
                    milliseconds: now,
                    level: .warning,
                    message: message,
                    source: "Observability",
                    fields: fields
                )
            case .text:
                TextLogHandler.line(
                    milliseconds: now,
                    level: .warning,
                    message: message,
                    fields: fields,
                    usesColor: false
                )
            }
        }
    }

    package static func handlerFactory(
        level: Logger.Level,
        format: LogFormat,
        output: LogOutput,
        metadataProvider: Logger.MetadataProvider? = nil
    ) -> @Sendable (_ label: String) -> any LogHandler {
        let usesColor = format == .text && terminalHasColor
        return { _ in
            switch format {
            case .json: JSONLogHandler(output: output, level: level, metadataProvider: metadataProvider)
            case .text:
                TextLogHandler(
                    output: output,
                    level: level,
                    usesColor: usesColor,
                    metadataProvider: metadataProvider
                )
            }
        }
    }

    /// no-color.org: any value of NO_COLOR but the empty one means none.
    private static var terminalHasColor: Bool {
        guard isatty(STDERR_FILENO) == 1 else { return false }
        if let wish = getenv("NO_COLOR"), wish.pointee != 0 { return false }
        guard let terminal = getenv("TERM") else { return false }
        return String(cString: terminal) != "dumb"
    }
}
