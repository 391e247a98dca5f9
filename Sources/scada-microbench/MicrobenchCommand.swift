import ArgumentParser

/// Runs one step of a reading's way over and over, for scripts/microbench to count the instructions of. Prints how many
/// readings went through; times nothing.
///
/// Not an asynchronous command: those end the main thread, which valgrind does not survive.
@main
struct MicrobenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scada-microbench",
        abstract: "One step of a reading's way, repeated, to be run under a profiler; see scripts/microbench."
    )

    enum Step: String, ExpressibleByArgument, CaseIterable {
        /// A PublishResponse's notification into COPY rows, many values and few.
        case decode
        case decodeSmall = "decode-small"
        /// Records into the journal and onto the disk, of many rows and of few.
        case journal
        case journalSmall = "journal-small"
        /// Records read back for the database, from the segments and from memory.
        case readBack = "read-back"
        case readMemory = "read-memory"
        /// A message signed, encrypted, decrypted and checked (Basic256Sha256).
        case channel
        /// Rows into the order (well, tag, timestamp).
        case sort
    }

    @Argument(help: "\(Step.allCases.map(\.rawValue).joined(separator: ", "))")
    var step: Step
    @Argument(help: "How often.")
    var rounds: Int
    @Option(help: "An empty folder for the journal.")
    var folder = "."
    @Option(help: "Certificates and keys: vectors.json of the tests.")
    var keys = "Tests/Fixtures/OPCUASecurity/vectors.json"

    func run() throws {
        let readings =
            switch step {
            case .decode: try DecodeStep(values: 1_000).run(rounds)
            case .decodeSmall: try DecodeStep(values: 10).run(rounds)
            case .journal: try JournalStep(folder: folder, rows: 1_000).append(rounds)
            case .journalSmall: try JournalStep(folder: folder, rows: 10).append(rounds)
            case .readBack: try JournalStep(folder: folder, rows: 1_000, isInMemory: false).readBack(rounds)
            case .readMemory: try JournalStep(folder: folder, rows: 1_000).readBack(rounds)
            case .channel: try ChannelStep(keys: keys).run(rounds)
            case .sort: try SortStep().run(rounds)
            }
        print(readings)
    }
}
