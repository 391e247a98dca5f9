import ArgumentParser

/// The command line. What it says goes to ``SimulatorRun`` or ``SeedSQL``.
@main
struct SimulatorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scada-simulator",
        abstract: "A simulated Permian Basin oil field behind OPC UA servers (opc.tcp, binary).",
        discussion: """
            Wells lie under Objects/Wells, ten tags each: ns=2;s=Well-00001.CasingPressure and so on. Clients come \
            anonymously, with a user name or with a certificate, over the security policies that --security names.

            Once a second a line on standard output says what was published; at the end (--duration, SIGINT, SIGTERM) \
            one line of JSON has the exact figures: published, acknowledged, dropped, sessions, subscriptions, \
            monitored_items, wells, tags, seed, and the same for each server.

            With --counters the values of every tag are 1, 2, 3 and so on: a number missing between two that a client \
            received was lost.

            \(ControlCommand.help)

            Exit codes: 0 done, 64 wrong usage, 69 a port cannot be listened on or the summary not be written.
            """
    )

    enum Profile: String, ExpressibleByArgument, CaseIterable {
        case normal, peak, stress

        var wells: Int {
            switch self {
            case .normal: 50
            case .peak: 200
            case .stress: 1_000
            }
        }

        var rate: Double { Double(wells) * 10 }
    }

    @Option(help: "normal: 50 wells, 500 readings/s; peak: 200 and 2,000; stress: 1,000 and 10,000.")
    var profile: Profile?
    @Option(help: "Wells over all servers; ten tags each. (default: the profile's, 50)")
    var wells: Int?
    @Option(help: "Readings a second over all wells. (default: the profile's, ten a well)")
    var rate: Double?
    @Option(help: "Seconds to run. (default: until a signal)")
    var duration: Double?
    @Option(help: "TCP port; further servers listen on the ports after it.")
    var port = 4840
    @Option(help: "Address to listen on.")
    var host = "127.0.0.1"
    @Option(help: "Number all values follow from. (default: a random one, printed)")
    var seed: UInt64?
    @Option(help: "Servers on consecutive ports; the wells are split over them.")
    var servers = 1
    @Option(help: "Threads the servers are spread over.")
    var threads = 1
    @Option(
        help: ArgumentHelp(
            "How often tags measure and subscriptions are looked at, and the shortest publishing interval.",
            valueName: "milliseconds"
        )
    )
    var tick = 50
    @Flag(
        help: """
            The servers take turns in publishing, evenly over the interval, as those would that know nothing of each other; \
            not when their subscriptions were made, which is nearly at once.
            """
    )
    var turns = false
    @Flag(help: "Every tag counts 1, 2, 3 instead of measuring.")
    var counters = false
    @OptionGroup(title: "Security") var security: SecurityOptions
    @Option(
        help: ArgumentHelp(
            "Write the final figures to this file too; with --counters, each tag's last counts as well.",
            valueName: "file"
        )
    )
    var summary: String?
    @Option(help: "Port on loopback for control commands; see above.")
    var controlPort: Int?
    @Option(help: ArgumentHelp("Keep this much history for HistoryRead; 0 keeps none.", valueName: "minutes"))
    var history = 0.0
    @Option(
        help: ArgumentHelp(
            "Dial this client, which then needs not dial the servers (reverse connect). May be repeated.",
            valueName: "host:port"
        )
    )
    var reverseConnect: [String] = []
    @Flag(help: "No line every second.")
    var quiet = false
    @Flag(help: "Print SQL that registers the wells in a tenant's database, and exit.")
    var seedSQL = false
    @Option(help: "Host of the endpoints in that SQL. (default: --host)")
    var endpointHost: String?
    @Option(help: "Publishing interval in that SQL, in milliseconds.")
    var publishingInterval = 500

    /// With the defaults that depend on each other filled in.
    struct Resolved {
        var wells: Int
        var rate: Double
        var seed: UInt64
    }

    func validate() throws {
        guard (1...100_000).contains(resolved.wells) else { throw ValidationError("--wells has to be 1 to 100000") }
        guard resolved.rate >= 0, resolved.rate <= 1e8 else { throw ValidationError("--rate has to be 0 to 100000000") }
        guard servers >= 1, servers <= resolved.wells else {
            throw ValidationError("--servers has to be at least 1 and at most the number of wells")
        }
        guard (1...65_535).contains(port), port + servers - 1 <= 65_535 else {
            throw ValidationError("--port and the ports of further servers have to be 1 to 65535")
        }
        guard (1...64).contains(threads) else { throw ValidationError("--threads has to be 1 to 64") }
        if let duration, !(duration > 0 && duration < 1e9) {
            throw ValidationError("--duration has to be a positive number of seconds")
        }
        if let controlPort, !(1...65_535).contains(controlPort) {
            throw ValidationError("--control-port has to be 1 to 65535")
        }
        guard history >= 0, history * 60 * resolved.rate <= Double(History.maximumSamples) else {
            throw ValidationError(
                "--history times --rate comes to more than the \(History.maximumSamples) values that are kept"
            )
        }
        guard reverseConnect.allSatisfy({ Self.target($0) != nil }) else {
            throw ValidationError("--reverse-connect has to be host:port")
        }
        guard (5...1_000).contains(tick) else { throw ValidationError("--tick has to be 5 to 1000") }
        guard (tick...3_600_000).contains(publishingInterval) else {
            throw ValidationError("--publishing-interval has to be \(tick) (--tick) to 3600000")
        }
    }

    /// `host:port`, the host perhaps an IPv6 address in brackets.
    static func target(_ text: String) -> (host: String, port: Int)? {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0 else {
            return nil
        }
        var host = text[..<colon]
        if host.first == "[", host.last == "]" { host = host.dropFirst().dropLast() }
        return host.isEmpty ? nil : (String(host), Int(port))
    }

    private var resolved: (wells: Int, rate: Double) {
        let wells = wells ?? profile?.wells ?? 50
        return (wells, rate ?? profile?.rate ?? Double(wells) * 10)
    }

    func run() async throws {
        let seed = seed ?? UInt64.random(in: 0...UInt64(UInt32.max))
        let layouts = FieldLayout.split(wells: resolved.wells, servers: servers, seed: seed, counters: counters)
        if seedSQL {
            let sql = SeedSQL(
                layouts: layouts,
                rate: resolved.rate,
                host: endpointHost ?? host,
                port: port,
                publishingInterval: publishingInterval
            )
            return sql.write { print($0, terminator: "") }
        }
        let identities: [(uri: String, security: ServerSecurity)]
        do {
            identities = try security.make(host: host, ports: port..<port + servers)
        } catch let error as UnavailableError {
            StandardError.line("scada-simulator: \(error.description)")
            throw ExitCode(69)
        }
        let run = SimulatorRun(
            layouts: layouts,
            rate: resolved.rate,
            seed: seed,
            host: host,
            port: port,
            threads: threads,
            tick: tick,
            takesTurns: turns,
            duration: duration,
            identities: identities,
            reverseTargets: reverseConnect.compactMap(Self.target),
            history: history,
            controlPort: controlPort,
            summaryPath: summary,
            quiet: quiet
        )
        do {
            try await run.run()
        } catch let error as UnavailableError {
            StandardError.line("scada-simulator: \(error.description)")
            throw ExitCode(69)
        }
    }
}

/// Something outside that the simulator needs is not to be had.
struct UnavailableError: Error, CustomStringConvertible {
    var description: String
}
