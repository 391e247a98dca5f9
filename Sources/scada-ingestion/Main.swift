import ArgumentParser

/// The program: picks a command. `serve` is what runs without one.
@main
struct ScadaIngestion: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scada-ingestion",
        abstract:
            "Keeps OPC UA connections and writes every value change into TimescaleDB or PostgreSQL, exactly once.",
        discussion: """
            EXAMPLES
              scada-ingestion environment --example > scada.env
                  a configuration file to start from
              scada-ingestion migrate --config scada.env
                  create or complete the databases
              scada-ingestion check --config scada.env
                  see whether everything is there
              scada-ingestion test-connection opc.tcp://10.0.7.2:4840
                  what a server offers, and whether a session works
              scada-ingestion browse opc.tcp://10.0.7.2:4840 --sql > tags.sql
                  its tags as rows for tag_mappings
              scada-ingestion --config scada.env
                  run the daemon

            COMPLETION
              scada-ingestion --generate-completion-script bash > /etc/bash_completion.d/scada-ingestion
                  also zsh and fish

            EXIT CODES
              0   done
              64  wrong usage
              69  a database or another service is unavailable, or refuses
              78  wrong configuration
            """,
        version: BuildInformation.line,
        subcommands: [
            Serve.self, Check.self, Migrate.self, Tenant.self, TestConnection.self, Browse.self, Trust.self,
            CertificateCommand.self, EncryptSecret.self, PrintEnvironment.self, PrintVersion.self,
        ],
        defaultSubcommand: Serve.self
    )
}
