import ArgumentParser
import FoundationEssentials

/// `--config`, for every command that needs the configuration.
struct ConfigurationOptions: ParsableArguments {
    @Option(
        name: .customLong("config"),
        help: ArgumentHelp(
            "A file of NAME=value lines; the environment wins.",
            discussion: "See scada-ingestion environment for the variables.",
            valueName: "file"
        ),
        completion: .file()
    )
    var file: String?

    /// The checked configuration. Warnings and problems go to standard error, a line each.
    /// - Throws: `ExitCode.configuration` after everything that is wrong was said.
    func load() throws -> DaemonConfiguration {
        let configuration = try reporting { (environment) throws(ConfigurationProblems) in
            try DaemonConfiguration.load(environment: environment, file: file)
        }
        for warning in configuration.warnings { Console.error("warning: \(warning)") }
        return configuration
    }

    /// Some variables only; the others may be missing or wrong.
    /// - Throws: as ``load()``.
    func load(only names: Set<String>) throws -> Settings {
        try reporting { (environment) throws(ConfigurationProblems) in
            try DaemonConfiguration.loadSettings(only: names, environment: environment, file: file)
        }
    }

    private func reporting<Value>(
        _ body: (_ environment: [String: String]) throws(ConfigurationProblems) -> Value
    ) throws -> Value {
        do throws(ConfigurationProblems) {
            return try body(ProcessInfo.processInfo.environment)
        } catch {
            for warning in error.warnings { Console.error("warning: \(warning)") }
            for problem in error.problems { Console.error("\(problem)") }
            throw ExitCode.configuration
        }
    }
}
