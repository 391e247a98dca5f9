import TimescaleStore

/// One variable of the configuration: its name, what it takes and means, and how its text becomes a setting.
///
/// ``all`` is the one table: loading, `scada-ingestion environment`, and Config/scada-ingestion.env.example follow it.
struct Variable: Sendable {
    /// What is being filled in.
    struct Draft: Sendable {
        var databaseURL: DatabaseURL?
        var settings = Settings()
    }

    enum Section: String, Sendable, CaseIterable {
        case databases = "Databases"
        case opc = "OPC UA servers"
        case batches = "Batches"
        case journal = "Journal"
        case grpc = "gRPC API"
        case http = "Metrics and status"
        case secrets = "Stored passwords"
        case running = "Running"
    }

    /// What applies when the variable is not set.
    enum Fallback: Sendable, Equatable {
        /// Nothing: it has to be set.
        case required
        /// As if it had been set to this.
        case value(String)
        /// No value, which means this.
        case unset(String)
    }

    var name: String
    var section: Section
    var fallback: Fallback
    /// "expected …" in an error.
    var expected: String
    /// One or two sentences for people.
    var summary: String
    /// Never shown, and may come from the file that NAME_FILE names.
    var isSecret = false
    /// How it may look, for the example file, where the default says too little.
    var example: String?
    /// Takes the text, which is not empty.
    var apply: @Sendable (String, inout Draft) throws(Unacceptable) -> Void

    /// The variable that names a file holding the value; secrets only.
    var fileName: String? { isSecret ? "\(name)_FILE" : nil }

    static func named(_ name: String) -> Variable? { all.first { $0.name == name } }

    /// Every name that may stand in a configuration file.
    static var knownNames: [String] { all.flatMap { [$0.name, $0.fileName].compactMap(\.self) } }
}
