package import Logging
import Synchronization

/// Logs failures that repeat: at their start, once a minute with a count, and at their end. Any thread.
package final class FailureLog: Sendable {
    private let logger: Logger
    private let now: @Sendable () -> Duration
    private let failures: Mutex<RepeatingFailures>

    /// How long a failure may be absent without a success before it counts as over.
    private static let quiet = Duration.seconds(600)

    /// - Parameter now: monotonic time.
    package init(
        logger: Logger,
        failures: RepeatingFailures = RepeatingFailures(),
        now: (@Sendable () -> Duration)? = nil
    ) {
        self.logger = logger
        self.failures = Mutex(failures)
        let start = ContinuousClock.now
        self.now = now ?? { ContinuousClock.now - start }
    }

    /// Logs the failure if it is the first of its kind, or if a minute has passed since the last line.
    /// - Parameters:
    ///   - message: what went wrong, the same words each time. Computed only when it is logged.
    ///   - metadata: fields of the line, next to `kind` and, when it repeats, `count` and `duration_ms`.
    package func failed(
        _ key: FailureKey,
        _ message: @autoclosure () -> String,
        error: (any Error)? = nil,
        metadata: @autoclosure () -> Logger.Metadata = [:],
        level: Logger.Level = .warning
    ) {
        let now = now()
        let (report, quiet) = failures.withLock { failures in
            let report = failures.failed(key, at: now)
            return (report, report == nil ? [] : failures.endQuiet(for: Self.quiet, at: now))
        }
        for (key, report) in quiet { log(report, key, key.kind, nil, [:], .info) }
        guard let report else { return }
        log(report, key, message(), error, metadata(), level)
    }

    /// Logs the end of this failure if it was going on.
    package func succeeded(
        _ key: FailureKey,
        _ message: @autoclosure () -> String,
        metadata: @autoclosure () -> Logger.Metadata = [:]
    ) {
        let now = now()
        guard let report = failures.withLock({ $0.succeeded(key, at: now) }) else { return }
        log(report, key, message(), nil, metadata(), .info)
    }

    /// Logs the end of every failure of the thing, in one line each.
    package func succeeded(
        thing: String,
        _ message: @autoclosure () -> String,
        metadata: @autoclosure () -> Logger.Metadata = [:]
    ) {
        let now = now()
        let ended = failures.withLock { $0.succeeded(thing: thing, at: now) }
        for (key, report) in ended { log(report, key, message(), nil, metadata(), .info) }
    }

    private func log(
        _ report: RepeatingFailures.Report,
        _ key: FailureKey,
        _ message: String,
        _ error: (any Error)?,
        _ metadata: Logger.Metadata,
        _ level: Logger.Level
    ) {
        var fields = metadata
        fields["kind"] = .string(key.kind)
        var text = message
        switch report {
        case .started:
            break
        case .repeated(let sinceReport, let total, let duration):
            text += " (again, \(sinceReport) times since the last line)"
            fields["count"] = .stringConvertible(total)
            fields["duration_ms"] = .stringConvertible(duration.milliseconds)
        case .ended(let total, let duration):
            text += " (over after \(total) failures)"
            fields["count"] = .stringConvertible(total)
            fields["duration_ms"] = .stringConvertible(duration.milliseconds)
        }
        if let error {
            logger.log(level: level, "\(text)", error: error, metadata: fields)
        } else {
            logger.log(level: level, "\(text)", metadata: fields)
        }
    }
}

extension Duration {
    /// Whole milliseconds, toward zero.
    var milliseconds: Int64 {
        components.seconds.multipliedReportingOverflow(by: 1000).partialValue
            + components.attoseconds / 1_000_000_000_000_000
    }
}
