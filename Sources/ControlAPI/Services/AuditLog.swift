import Logging
import Synchronization

/// Writes the audit: a line for every command, and lines for calls and clients that were refused, whose number is bounded
/// because anybody who reaches the port can cause them. What others wrote stands in a line bounded and escaped.
final class AuditLog: Sendable {
    private let logger: Logger
    private let onAudit: @Sendable (AuditEntry) -> Void
    private let budget = Mutex(RefusalBudget())

    init(logger: Logger, onAudit: @escaping @Sendable (AuditEntry) -> Void) {
        self.logger = logger
        self.onAudit = onAudit
    }

    /// A command of a caller who was let in. Every one is written.
    func command(_ entry: AuditEntry) {
        onAudit(entry)
        let isDone = entry.code == .ok && entry.message.isEmpty
        logger.log(
            level: isDone ? .notice : .warning,
            isDone ? "audit: command" : "audit: command failed",
            metadata: Self.metadata(entry)
        )
    }

    /// A call that was refused.
    func refusal(_ entry: AuditEntry) {
        onAudit(entry)
        // Shed load is a state, not an event of interest each: it shows in the metrics, and in the log when asked for.
        if entry.code == .resourceExhausted {
            logger.debug("audit: call refused", metadata: Self.metadata(entry))
        } else {
            write("audit: call refused", Self.metadata(entry))
        }
    }

    /// A client that did not get through TLS.
    func failedHandshake(_ reason: String) {
        write("audit: TLS handshake refused", ["reason": "\(Self.safe(reason))"])
    }

    private func write(_ line: Logger.Message, _ metadata: Logger.Metadata) {
        switch budget.withLock({ $0.take(now: .now) }) {
        case .withhold:
            break
        case .write(let withheld):
            var metadata = metadata
            if withheld > 0 { metadata["withheld_before"] = "\(withheld)" }
            logger.warning(line, metadata: metadata)
        }
    }

    private static func metadata(_ entry: AuditEntry) -> Logger.Metadata {
        var metadata: Logger.Metadata = [
            "caller": "\(safe(entry.identity))", "peer": "\(safe(entry.peer))", "method": "\(safe(entry.method))",
            "result": "\(entry.code)",
        ]
        for (key, value) in entry.subject { metadata[key] = "\(safe(value))" }
        if !entry.message.isEmpty { metadata["reason"] = "\(safe(entry.message))" }
        return metadata
    }

    /// Longest field of a line, bytes of UTF-8 before what is escaped.
    static let longestText = 512

    /// Text that may be a caller's: cut, and what could break a line, command a terminal or turn its text around as escapes.
    static func safe(_ text: String) -> String {
        var result = ""
        var used = 0
        for scalar in text.unicodeScalars {
            used += UTF8.width(scalar)
            guard used <= longestText else { return result + "…" }
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned:
                result += "\\u{\(String(scalar.value, radix: 16))}"
            default:
                result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}

/// How many refusals may be written: so many in each window of time. Those beyond are counted, and the number goes with
/// the next that is written.
struct RefusalBudget: Sendable {
    enum Decision: Equatable {
        /// `withheld`: not written since the last that was.
        case write(withheld: Int)
        case withhold
    }

    static let window: Duration = .seconds(10)
    static let linesPerWindow = 20

    private var windowStart: ContinuousClock.Instant?
    private var written = 0
    private var withheld = 0

    mutating func take(now: ContinuousClock.Instant) -> Decision {
        if windowStart.map({ now - $0 >= Self.window }) ?? true {
            windowStart = now
            written = 0
        }
        guard written < Self.linesPerWindow else {
            withheld += 1
            return .withhold
        }
        written += 1
        defer { withheld = 0 }
        return .write(withheld: withheld)
    }
}
