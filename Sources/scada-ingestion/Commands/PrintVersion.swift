import ArgumentParser

/// `scada-ingestion version`.
struct PrintVersion: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Print the version.")

    func run() { Console.output(BuildInformation.line) }
}
