import ArgumentParser

/// `scada-ingestion environment`: every variable of the configuration.
struct PrintEnvironment: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "environment",
        abstract: "Print every variable of the configuration: what it takes, its default, what it means.",
        discussion: """
            EXAMPLES
              scada-ingestion environment | less
              scada-ingestion environment --example > scada.env

            VARIABLES
            \(Variable.helpText)
            """
    )

    @Flag(name: .long, help: "As a configuration file to start from.")
    var example = false

    func run() {
        if example {
            Console.write(Variable.exampleFile, to: 1)
        } else {
            Console.output(Variable.helpText)
        }
    }
}
