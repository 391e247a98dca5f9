package import Logging

/// For people at a terminal: `12:34:56.789 warning  message  key=value …`, times in UTC.
///
/// Control characters are written as escapes, so that text from a server can neither break the line nor command the terminal.
package struct TextLogHandler: LogHandler {
    package var logLevel: Logger.Level
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?
    private let output: LogOutput
    private let usesColor: Bool
    private let now: @Sendable () -> Int64

    /// - Parameters:
    ///   - usesColor: levels above info in colour, fields dimmed (ECMA-48).
    ///   - now: milliseconds since 1970.
    package init(
        output: LogOutput,
        level: Logger.Level = .info,
        usesColor: Bool = false,
        metadataProvider: Logger.MetadataProvider? = nil,
        now: @escaping @Sendable () -> Int64 = UTCTime.nowMilliseconds
    ) {
        self.output = output
        self.logLevel = level
        self.usesColor = usesColor
        self.metadataProvider = metadataProvider
        self.now = now
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        output.write(
            Self.line(
                milliseconds: now(),
                level: event.level,
                message: event.message.description,
                fields: LogMetadata.fields(of: event, logger: metadata, provider: metadataProvider),
                usesColor: usesColor
            )
        )
    }

    static func line(
        milliseconds: Int64,
        level: Logger.Level,
        message: String,
        fields: [(key: String, value: Logger.MetadataValue)],
        usesColor: Bool
    ) -> [UInt8] {
        var line: [UInt8] = []
        UTCTime.appendTime(milliseconds, to: &line)
        line.append(UInt8(ascii: " "))
        let name = level.rawValue + String(repeating: " ", count: 8 - level.rawValue.count)
        line.append(contentsOf: (usesColor ? color(level) + name + reset : name).utf8)
        line.append(UInt8(ascii: " "))
        append(message, to: &line)
        if !fields.isEmpty {
            line.append(contentsOf: (usesColor ? dim : "").utf8)
            for (key, value) in fields {
                line.append(contentsOf: "  \(key)=".utf8)
                let text = value.description
                // Quotes only where the end of the value would be in doubt.
                let isQuoted = text.isEmpty || text.utf8.contains { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "=") }
                if isQuoted { line.append(UInt8(ascii: "\"")) }
                append(text, to: &line)
                if isQuoted { line.append(UInt8(ascii: "\"")) }
            }
            line.append(contentsOf: (usesColor ? reset : "").utf8)
        }
        line.append(UInt8(ascii: "\n"))
        return line
    }

    private static let reset = "\u{1B}[0m"
    private static let dim = "\u{1B}[2m"

    private static func color(_ level: Logger.Level) -> String {
        switch level {
        case .trace, .debug: dim
        case .info: ""
        case .notice: "\u{1B}[36m"
        case .warning: "\u{1B}[33m"
        case .error, .critical: "\u{1B}[31m"
        }
    }

    private static func append(_ text: String, to line: inout [UInt8]) {
        var used = 0
        for scalar in text.unicodeScalars {
            used += UTF8.width(scalar)
            guard used <= LogMetadata.longestText else { return line.append(contentsOf: "…".utf8) }
            switch scalar {
            case "\n": line.append(contentsOf: #"\n"#.utf8)
            case "\t": line.append(contentsOf: #"\t"#.utf8)
            case "\r": line.append(contentsOf: #"\r"#.utf8)
            case "\u{0}"..<" ", "\u{7F}"..<"\u{A0}", "\u{2028}", "\u{2029}":
                line.append(contentsOf: "\\u{\(String(scalar.value, radix: 16))}".utf8)
            default: line.append(contentsOf: String(scalar).utf8)
            }
        }
    }
}
