import ArgumentParser
import FoundationEssentials
import TimescaleStore

/// `scada-ingestion check`: everything the daemon will need.
struct Check: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Look at everything the daemon will need, and say what is wrong and what cures it.",
        discussion: """
            Configuration, master database, the tenants' databases with their rows, journal, certificates, ports. Nothing is
            changed. Run it as the user that the daemon runs as, before the first start and after every change.

            EXAMPLES
              scada-ingestion check --config scada.env
              scada-ingestion check --json | jq '.findings[] | select(.level != "ok")'

            EXIT CODES
              0   nothing fails; there may be warnings
              69  a database cannot be used
              78  something of the configuration or of this machine cannot be used
            """
    )

    @OptionGroup var options: ConfigurationOptions

    @Flag(name: .long, help: "Print one JSON object instead of lines.")
    var json = false

    func run() async throws {
        let report = await findings()
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            Console.output(String(decoding: try encoder.encode(report), as: UTF8.self))
        } else {
            Console.output(report.summary)
        }
        guard report.exitCode == .success else { throw report.exitCode }
    }

    private func findings() async -> CheckReport {
        let isSilent = json
        func tell(_ finding: Finding) { if !isSilent { Console.output(finding.line) } }
        var failed = CheckReport()
        do throws(ConfigurationProblems) {
            let configuration = try options.read()
            do throws(StoreError) {
                let pool = try DatabaseCommand.makePool(sized: configuration)
                var run = CheckRun(configuration, report: tell)
                await run.perform(pool: pool)
                await pool.close()
                return run.result
            } catch {
                failed.findings = [.fail("database connections", "\(error)", .service)]
            }
        } catch {
            failed.findings = error.warnings.map { .warn("configuration", $0) }
            failed.findings += error.problems.map { .fail("configuration", $0.description, .configuration) }
        }
        for finding in failed.findings { tell(finding) }
        return failed
    }
}
