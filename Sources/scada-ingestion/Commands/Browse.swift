import ArgumentParser
import FoundationEssentials
import Glibc
import OPCUAClient
import OPCUACodec
import Synchronization

/// `scada-ingestion browse`: a server's nodes, as they are or as tag mappings.
struct Browse: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List the nodes of an OPC UA server, ready to paste as tag mappings.",
        discussion: """
            Below the Objects folder, or NODE. Lines come as nodes are found, for servers of any size; progress goes to
            standard error. Node ids begin with nsu= and the namespace's URI, which hold when a server numbers its
            namespaces anew; --namespace-index prints ns= instead. Needs no database.

            EXAMPLES
              scada-ingestion browse opc.tcp://10.0.7.2:4840 --depth 2
              scada-ingestion browse opc.tcp://10.0.7.2:4840 'ns=2;s=Battery7' --values
              scada-ingestion browse opc.tcp://10.0.7.2:4840 --match pressure --csv > tags.csv
              scada-ingestion browse opc.tcp://10.0.7.2:4840 'ns=2;s=Battery7' --sql \\
                  --connection 6f2c9c1e-3b0e-4a53-9a0f-0b8f9f3f0001 --well 0b0f6a52-9d3e-4a7c-8a5e-0d6f1c2b0001 | psql …
                  rows for tag_mappings; without the two options psql asks its variables connection_id and well_id
              scada-ingestion browse opc.tcp://10.0.7.2:4840 --json --well 0b0f6a52-9d3e-4a7c-8a5e-0d6f1c2b0001
                  the field tags of AddConnection

            EXIT CODES
              0   done, even when nothing matches
              64  wrong usage
              69  the server does not answer, or refuses
              78  something has to be changed here; scada-ingestion test-connection says what
            """
    )

    enum Format: String, EnumerableFlag {
        case sql, csv, json

        static func help(for value: Format) -> ArgumentHelp? {
            switch value {
            case .sql: "Print INSERT statements for tag_mappings; variables only."
            case .csv: "Print comma-separated values with a heading; variables only."
            case .json: "Print an array of AddConnection's TagMapping; variables only."
            }
        }
    }

    @OptionGroup var options: ServerOptions

    @Flag(exclusivity: .exclusive) var format: Format?

    @Option(name: .long, help: "Levels below the start. (default: 100)")
    var depth = 100

    @Option(name: .long, help: "Only nodes whose name or id has this in it, in any case.")
    var match = ""

    @Flag(name: .long, help: "Leave out objects.")
    var variablesOnly = false

    @Flag(name: .long, help: "Read the present values too, for the table and --csv.")
    var values = false

    @Flag(name: .long, help: "Print ns=2;… instead of nsu=URI;….")
    var namespaceIndex = false

    @Option(name: .long, help: "End after so many nodes.")
    var limit: Int?

    @Option(name: .long, help: ArgumentHelp("Id of the connection, for --sql.", valueName: "uuid"))
    var connection: String?

    @Option(name: .long, help: ArgumentHelp("Id of the well, for --sql, --csv and --json.", valueName: "uuid"))
    var well: String?

    @ArgumentParser.Argument(help: ArgumentHelp("For example opc.tcp://host:4840/path.", valueName: "url"))
    var url: String

    @ArgumentParser.Argument(
        help: ArgumentHelp("Where to begin. (default: i=85, the Objects folder)", valueName: "node")
    )
    var node: String?

    func validate() throws {
        guard (1...1_000).contains(depth) else { throw ValidationError("--depth is a number from 1 to 1000.") }
        if let limit, limit < 1 { throw ValidationError("--limit is a number from 1 on.") }
        for (name, value) in [("--connection", connection), ("--well", well)] {
            if let value, UUID(uuidString: value) == nil {
                throw ValidationError("\(name) is a UUID, not \"\(value)\".")
            }
        }
        if connection != nil, format != .sql { throw ValidationError("--connection goes with --sql.") }
        if well != nil, format == nil { throw ValidationError("--well goes with --sql, --csv or --json.") }
        if values, format == .sql || format == .json {
            throw ValidationError("--values goes with the table and --csv: mappings have no values.")
        }
        _ = try start()
    }

    func run() async throws {
        let target = try options.target(url)
        let browse = try browseOptions()
        let printer = Mutex(printer(target))
        let progress = Mutex(BrowseProgress(isTerminal: isatty(STDERR_FILENO) == 1))
        let outcome: Result<WalkSummary, ProbeError> = try await ServerVisit.run(target) { probe in
            do throws(ProbeError) {
                _ = try await probe.connect()
                let summary = try await probe.walk(browse) { nodes, summary in
                    let goesOn = printer.withLock { $0.lines(nodes) }.allSatisfy {
                        Console.write($0, to: STDOUT_FILENO)
                    }
                    progress.withLock { $0.tell(summary) }
                    return goesOn
                }
                return .success(summary)
            } catch {
                return .failure(error)
            }
        }
        progress.withLock { $0.clear() }
        Console.write(printer.withLock { $0.end }, to: STDOUT_FILENO)
        switch outcome {
        case .success(let summary): Console.error(Self.words(summary, limit: browse.limit))
        case .failure(let error):
            let failure = ConnectionFindings(target, error, steps: []).failure
            Console.error("\(url): \(error)")
            if error.step == .browse, error.error.status != nil {
                Console.error("nodes that exist: scada-ingestion browse \(url) --depth 1")
            }
            throw ExitCode(failure?.exitCode ?? ExitCode.unavailable.rawValue)
        }
    }

    private func start() throws -> NodeIdText {
        guard let node else { return .objects }
        do throws(NodeIdTextError) { return try NodeIdText(parsing: node) } catch {
            throw ValidationError("\"\(node)\" is not a node id such as i=85 or ns=2;s=Name: \(error)")
        }
    }

    private func browseOptions() throws -> BrowseOptions {
        var browse = BrowseOptions()
        browse.start = try start()
        browse.maximumDepth = depth
        browse.limit = limit ?? .max
        browse.variablesOnly = variablesOnly || format != nil
        browse.filter = match
        browse.readsValues = values
        return browse
    }

    private func printer(_ target: ServerTarget) -> MappingPrinter {
        let style: MappingPrinter.Style =
            switch format {
            case nil: .table
            case .sql?: .sql(connection: connection?.lowercased())
            case .csv?: .csv
            case .json?: .json
            }
        var printer = MappingPrinter(style)
        printer.url = target.url
        printer.well = well?.lowercased()
        printer.usesNamespaceIndex = namespaceIndex
        printer.showsValues = values
        return printer
    }

    static func words(_ summary: WalkSummary, limit: Int) -> String {
        let counts = "\(summary.matched.counted("node")) of \(summary.seen) looked at"
        return switch summary.end {
        case .complete: counts
        case .limit: "\(counts); there are more: --limit \(limit) ended it"
        case .tooMany: "\(counts); there are more: begin further down to see them"
        case .stopped: "\(counts); nobody reads on"
        }
    }
}

/// How far a long walk is, on standard error.
struct BrowseProgress {
    /// Rewritten in place each second on a terminal, else a line each ten seconds.
    let isTerminal: Bool
    private var last = ContinuousClock.now
    private var isShown = false

    init(isTerminal: Bool) {
        self.isTerminal = isTerminal
    }

    mutating func tell(_ summary: WalkSummary) {
        let now = ContinuousClock.now
        guard now - last >= .seconds(isTerminal ? 1 : 10) else { return }
        last = now
        let text = "\(summary.seen) nodes looked at, \(summary.matched) printed"
        if isTerminal {
            Console.write("\r\(text)\u{1B}[K", to: STDERR_FILENO)
            isShown = true
        } else {
            Console.error(text)
        }
    }

    func clear() { if isShown { Console.write("\r\u{1B}[K", to: STDERR_FILENO) } }
}
