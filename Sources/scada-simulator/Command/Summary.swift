import FoundationEssentials

/// The final figures as they are printed and written.
struct Summary: Encodable {
    struct Server: Encodable {
        var endpoint: String
        var figures: Accounting

        func encode(to encoder: any Encoder) throws {
            try figures.encode(to: encoder)
            var container = encoder.container(keyedBy: Key.self)
            try container.encode(endpoint, forKey: Key("endpoint"))
        }
    }

    var total: Accounting
    var seed: UInt64
    var elapsedSeconds: Double
    var servers: [Server]

    func encode(to encoder: any Encoder) throws {
        try total.encode(to: encoder)
        var container = encoder.container(keyedBy: Key.self)
        try container.encode(seed, forKey: Key("seed"))
        try container.encode(elapsedSeconds, forKey: Key("elapsed_seconds"))
        try container.encode(servers, forKey: Key("servers"))
    }

    /// One line of JSON with sorted keys.
    func json() throws -> String { try Self.json(self) }

    static func json(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }

    /// Replaces the file as a whole: a reader never sees half of it.
    static func write(_ text: String, to path: String) throws {
        do {
            try Data((text + "\n").utf8).write(to: URL(filePath: path), options: .atomic)
        } catch {
            throw UnavailableError(description: "the summary cannot be written to \(path)")
        }
    }

    private struct Key: CodingKey {
        var stringValue: String
        var intValue: Int? { nil }
        init(_ string: String) { stringValue = string }
        init?(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }
}
