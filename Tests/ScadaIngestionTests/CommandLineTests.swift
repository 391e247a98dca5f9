import ArgumentParser
import Testing

@testable import scada_ingestion

/// Arguments: what they become, and that every wrong one is exit code 64.
@Suite struct CommandLineTests {
    @Test func serveIsTheDefault() throws {
        let bare = try #require(try ScadaIngestion.parseAsRoot([]) as? Serve)
        #expect(bare.options.file == nil)
        let configured = try #require(try ScadaIngestion.parseAsRoot(["--config", "a.env"]) as? Serve)
        #expect(configured.options.file == "a.env")
        #expect(try ScadaIngestion.parseAsRoot(["serve", "--config=a.env"]) is Serve)
    }

    @Test func migrateTakesTenants() throws {
        let id = "8f14e45f-ceea-467f-a5d1-7b1a3c0a9b10"
        let command = try ScadaIngestion.parseAsRoot([
            "migrate", "--tenant", id, "--tenant", id.uppercased(), "--dry-run",
        ])
        let migrate = try #require(command as? Migrate)
        #expect(migrate.tenants.map(\.lowercase) == [id, id])
        #expect(migrate.dryRun)
    }

    @Test(arguments: [
        ["bogus"], ["--bogus"], ["serve", "x"], ["--config"], ["migrate", "--tenant", "x"], ["migrate", "--tenant"],
        ["migrate", "--master-only", "--all-tenants"], ["migrate", "--master-only", "--reencrypt"], ["version", "x"],
        ["encrypt-secret", "hunter2secret"],
        ["migrate", "--all-tenants", "--tenant", "8f14e45f-ceea-467f-a5d1-7b1a3c0a9b10"],
        ["environment", "--examples"],
        ["tenant", "add"], ["tenant", "add", "--slug", "", "--database-url", "x"], ["tenant", "bogus"],
        ["tenant", "add", "--slug", "a", "--database-url", "x", "--id", "1"],
        ["test-connection"], ["test-connection", "a", "b"], ["test-connection", "a", "--password", "hunter2secret"],
        ["test-connection", "a", "--password-file", "x"], ["test-connection", "a", "--user-certificate", "x"],
        ["test-connection", "a", "--user-key", "x"], ["test-connection", "a", "--timeout", "0"],
        ["test-connection", "a", "--user", "u", "--user-certificate", "x", "--user-key", "y"],
        ["browse"], ["browse", "a", "not a node"], ["browse", "a", "--sql", "--csv"], ["browse", "a", "--depth", "0"],
        ["browse", "a", "--limit", "0"], ["browse", "a", "--sql", "--well", "x"], ["browse", "a", "--sql", "--values"],
        ["browse", "a", "--csv", "--connection", "8f14e45f-ceea-467f-a5d1-7b1a3c0a9b10"],
        ["browse", "a", "--well", "8f14e45f-ceea-467f-a5d1-7b1a3c0a9b10"],
    ])
    func wrongUsage(_ arguments: [String]) {
        do {
            _ = try ScadaIngestion.parseAsRoot(arguments)
            Issue.record("taken: \(arguments)")
        } catch {
            #expect(ScadaIngestion.exitCode(for: error) == .usage)
            #expect(ScadaIngestion.fullMessage(for: error).contains("Usage:"))
        }
    }

    @Test func exitCodesAreTheContract() {
        #expect(ExitCode.usage.rawValue == 64)
        #expect(ExitCode.unavailable.rawValue == 69)
        #expect(ExitCode.configuration.rawValue == 78)
        #expect(ExitCode.validationFailure == .usage)
    }

    @Test(
        arguments: [
            ScadaIngestion.self, Serve.self, Check.self, Migrate.self, Tenant.Add.self, EncryptSecret.self,
            PrintEnvironment.self, TestConnection.self, Browse.self,
        ] as [any ParsableCommand.Type]
    )
    func helpTeachesWithExamples(_ command: any ParsableCommand.Type) {
        let help = ScadaIngestion.helpMessage(for: command)
        #expect(help.contains("EXAMPLES"))
        #expect(help.contains("scada-ingestion"))
    }
}
