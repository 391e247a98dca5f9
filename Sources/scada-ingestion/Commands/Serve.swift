import ArgumentParser

/// `scada-ingestion [serve]`: the daemon.
struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run the daemon (the default).",
        discussion: """
            Reads the tenants from the master database, connects to their OPC UA servers, and runs until SIGTERM or SIGINT.
            A master database that is away is waited for. A second signal ends it at once; nothing durable is lost by that.

            EXAMPLES
              DATABASE_URL=postgresql://scada@db/scada scada-ingestion
              scada-ingestion serve --config /etc/scada-ingestion/scada.env
            """
    )

    @OptionGroup var options: ConfigurationOptions

    func run() async throws {
        try await Daemon.run(try options.load())
    }
}
