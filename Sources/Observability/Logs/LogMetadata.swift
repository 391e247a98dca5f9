import Logging

/// What both handlers do with metadata.
enum LogMetadata {
    /// Longest value or message in a line, bytes: text from a server must not make a line of megabytes.
    static let longestText = 8 * 1024

    /// The fields of an event by name. The statement's own win over the provider's, those over the logger's. An error
    /// attached to the event becomes `error` (its description) and `error_type` (its Swift type).
    static func fields(
        of event: LogEvent,
        logger: Logger.Metadata,
        provider: Logger.MetadataProvider?
    ) -> [(key: String, value: Logger.MetadataValue)] {
        var all = logger
        if let provided = provider?.get(), !provided.isEmpty { all.merge(provided) { $1 } }
        if let own = event.metadata, !own.isEmpty { all.merge(own) { $1 } }
        if let error = event.error {
            all["error"] = .string("\(error)")
            all["error_type"] = .string("\(type(of: error))")
        }
        return all.sorted { $0.key < $1.key }
    }
}
