import Configuration
import TimescaleStore

/// The daemon's whole configuration, checked. Nothing of it changes while the process runs.
///
/// Settings are reached directly: `configuration.opc.connectionTimeout`.
@dynamicMemberLookup
struct DaemonConfiguration: Sendable, Equatable {
    /// DATABASE_URL.
    var databaseURL: DatabaseURL
    var settings: Settings
    /// What a person should know though nothing is wrong, a line each.
    var warnings: [String] = []

    subscript<Value>(dynamicMember member: KeyPath<Settings, Value>) -> Value { settings[keyPath: member] }

    /// Reads the environment and, for what is not there, the file.
    ///
    /// An empty value counts as not set, in both. Blocks for reading the files.
    /// - Parameter file: of `--config`, nil for none.
    /// - Throws: everything that is wrong, not just the first.
    static func load(
        environment: [String: String],
        file: String? = nil
    ) throws(ConfigurationProblems) -> DaemonConfiguration {
        var (draft, problems, warnings) = read(Variable.all, environment, file)
        // Contradictions between values that could not be read would be noise.
        if problems.isEmpty { problems = draft.settings.contradictions() }
        guard problems.isEmpty, let url = draft.databaseURL else {
            throw ConfigurationProblems(problems: problems, warnings: warnings)
        }
        return DaemonConfiguration(databaseURL: url, settings: draft.settings, warnings: warnings)
    }

    /// As ``load(environment:file:)``, for commands that need a few variables only: the others keep their defaults and may
    /// be missing or wrong.
    static func loadSettings(
        only names: Set<String>,
        environment: [String: String],
        file: String? = nil
    ) throws(ConfigurationProblems) -> Settings {
        let (draft, problems, _) = read(Variable.all.filter { names.contains($0.name) }, environment, file)
        guard problems.isEmpty else { throw ConfigurationProblems(problems: problems) }
        return draft.settings
    }

    private static func read(
        _ variables: [Variable],
        _ environment: [String: String],
        _ file: String?
    ) -> (draft: Variable.Draft, problems: [ConfigurationProblem], warnings: [String]) {
        let sources = ConfigurationSources(variables: variables, environment: environment, file: file)
        let reader = ConfigReader(providers: sources.providers)
        var draft = Variable.Draft()
        var problems = sources.problems
        for variable in variables {
            guard let text = reader.string(forKey: ConfigKey([variable.name.lowercased()]), isSecret: variable.isSecret)
            else {
                // What stands in a file that cannot be read is not missing.
                let isExplained = sources.fileIsUnreadable || problems.contains { $0.variable == variable.name }
                if variable.fallback == .required, !isExplained { problems.append(missing(variable)) }
                continue
            }
            do throws(Unacceptable) {
                try variable.apply(text, &draft)
            } catch {
                problems.append(
                    ConfigurationProblem(
                        variable.name,
                        value: variable.isSecret ? nil : text,
                        origin: sources.origins[variable.name] ?? .environment,
                        reason: error.reason,
                        expected: variable.expected
                    )
                )
            }
        }
        return (draft, problems, sources.warnings)
    }

    private static func missing(_ variable: Variable) -> ConfigurationProblem {
        ConfigurationProblem(
            variable: variable.name,
            "\(variable.name) is not set: expected \(variable.expected); set it in the environment, in the file given with "
                + "--config, or name a file that holds it in \(variable.name)_FILE"
        )
    }
}
