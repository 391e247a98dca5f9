package import Logging

/// One JSON object a line: `timestamp`, `level`, `message`, `source` (the module), then the metadata as fields, by name.
///
/// Metadata given as a number or Bool (`.stringConvertible(count)`) is written as one; everything else is a string, an
/// array or an object. A field called like one of the first four gets an underscore in front.
package struct JSONLogHandler: LogHandler {
    package var logLevel: Logger.Level
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?
    private let output: LogOutput
    private let now: @Sendable () -> Int64

    /// - Parameter now: milliseconds since 1970.
    package init(
        output: LogOutput,
        level: Logger.Level = .info,
        metadataProvider: Logger.MetadataProvider? = nil,
        now: @escaping @Sendable () -> Int64 = UTCTime.nowMilliseconds
    ) {
        self.output = output
        self.logLevel = level
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
                source: event.source,
                fields: LogMetadata.fields(of: event, logger: metadata, provider: metadataProvider)
            )
        )
    }

    static func line(
        milliseconds: Int64,
        level: Logger.Level,
        message: String,
        source: String,
        fields: [(key: String, value: Logger.MetadataValue)]
    ) -> [UInt8] {
        var json = JSONWriter()
        json.object { json in
            json.key("timestamp")
            json.string(UTCTime.rfc3339(milliseconds: milliseconds))
            json.key("level")
            json.string(level.rawValue)
            json.key("message")
            json.string(message, limit: LogMetadata.longestText)
            json.key("source")
            json.string(source)
            for (key, value) in fields {
                json.key(reserved.contains(key) ? "_" + key : key)
                write(value, to: &json)
            }
        }
        return json.bytes + [UInt8(ascii: "\n")]
    }

    private static let reserved: Set<String> = ["timestamp", "level", "message", "source"]

    private static func write(_ value: Logger.MetadataValue, to json: inout JSONWriter) {
        switch value {
        case .string(let text):
            json.string(text, limit: LogMetadata.longestText)
        case .stringConvertible(let value):
            switch value {
            case let number as any BinaryInteger: json.number(number)
            case let number as Double: json.number(number)
            case let flag as Bool: json.bool(flag)
            default: json.string(value.description, limit: LogMetadata.longestText)
            }
        case .array(let values):
            json.array { json in
                for value in values { write(value, to: &json) }
            }
        case .dictionary(let values):
            json.object { json in
                for (key, value) in values.sorted(by: { $0.key < $1.key }) {
                    json.key(key)
                    write(value, to: &json)
                }
            }
        }
    }
}
