import ArgumentParser
import FoundationEssentials
import OPCUAClient

/// `scada-ingestion test-connection`: what a server offers, and whether a session with it works.
struct TestConnection: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "test-connection",
        abstract: "Connect to an OPC UA server once; say what it offers, whether it works, and what cures it if not.",
        discussion: """
            Endpoints with their security and users, certificates with thumbprints and whether they are trusted, limits,
            namespaces, clock, and the time each step took. Needs no database. The certificate of a server that is not
            trusted is kept in OPC_PKI_DIR, so that scada-ingestion trust accepts it.

            EXAMPLES
              scada-ingestion test-connection opc.tcp://10.0.7.2:4840
                  without security, anonymous
              scada-ingestion test-connection opc.tcp://plc7:4840 --security-policy Basic256Sha256
              scada-ingestion test-connection opc.tcp://plc7:4840 --security-policy Basic256Sha256 \\
                  --user scada --password-file /run/secrets/plc7
              SCADA_PASSWORD="$(pass show plc7)" scada-ingestion test-connection opc.tcp://plc7:4840 --user scada
              scada-ingestion test-connection opc.tcp://plc7:4840 --json | jq .failure
              OPC_REVERSE_LISTEN=0.0.0.0:4844 scada-ingestion test-connection reverse+opc.tcp://plc7:4840
                  waits for the server to dial in; the daemon must not have that port

            EXIT CODES
              0   a session works
              64  wrong usage
              69  the server does not answer, or refuses
              78  something has to be changed here: certificate not trusted, wrong user, policy not offered, a file
            """
    )

    @OptionGroup var options: ServerOptions

    @Flag(name: .long, help: "Print one JSON object instead of text.")
    var json = false

    @Argument(help: ArgumentHelp("For example opc.tcp://host:4840/path.", valueName: "url"))
    var url: String

    func run() async throws {
        let target = try options.target(url)
        let findings = try await Self.findings(target)
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            encoder.keyEncodingStrategy = .convertToSnakeCase
            Console.output(String(decoding: try encoder.encode(findings), as: UTF8.self))
        } else {
            Console.output(findings.text)
        }
        guard let failure = findings.failure else { return }
        throw ExitCode(failure.exitCode)
    }

    static func findings(_ target: ServerTarget) async throws -> ConnectionFindings {
        var findings = try await ServerVisit.run(target) { probe in
            do throws(ProbeError) {
                let report = try await probe.connect()
                return ConnectionFindings(target, report, steps: await probe.steps)
            } catch {
                return ConnectionFindings(target, error, steps: await probe.steps)
            }
        }
        if findings.failure != nil, findings.steps.count > 1 {
            // What the server offers is half of the cure. It tells that to clients it would not let in.
            let endpoints = try await ServerVisit.run(target) { probe in
                do throws(ProbeError) { return try await probe.endpoints() } catch { return [] }
            }
            findings.add(endpoints, target)
        }
        return findings
    }
}
