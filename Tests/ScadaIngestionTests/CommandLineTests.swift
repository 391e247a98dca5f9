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
            PrintEnvironment.self,
        ] as [any ParsableCommand.Type]
    )
    func helpTeachesWithExamples(_ command: any ParsableCommand.Type) {
        let help = ScadaIngestion.helpMessage(for: command)
        #expect(help.contains("EXAMPLES"))
        #expect(help.contains("scada-ingestion"))
    }
}
