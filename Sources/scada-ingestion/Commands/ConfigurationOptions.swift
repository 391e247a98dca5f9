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

    /// The checked configuration.
    func read() throws(ConfigurationProblems) -> DaemonConfiguration {
        try DaemonConfiguration.load(environment: ProcessInfo.processInfo.environment, file: file)
    }

    /// As ``read()``; warnings and problems go to standard error, a line each.
    /// - Throws: `ExitCode.configuration` after everything that is wrong was said.
    func load() throws -> DaemonConfiguration {
        let configuration = try reporting { () throws(ConfigurationProblems) in try read() }
        for warning in configuration.warnings { Console.error("warning: \(warning)") }
        return configuration
    }

    /// Some variables only; the others may be missing or wrong.
    /// - Throws: as ``load()``.
    func load(only names: Set<String>) throws -> Settings {
        try reporting { () throws(ConfigurationProblems) in
            try DaemonConfiguration.loadSettings(
                only: names,
                environment: ProcessInfo.processInfo.environment,
                file: file
            )
        }
    }

    private func reporting<Value>(_ body: () throws(ConfigurationProblems) -> Value) throws -> Value {
        do throws(ConfigurationProblems) {
            return try body()
        } catch {
            for warning in error.warnings { Console.error("warning: \(warning)") }
            for problem in error.problems { Console.error("\(problem)") }
            throw ExitCode.configuration
        }
    }
}
