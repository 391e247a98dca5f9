import Glibc

@testable import scada_ingestion

/// The built program, run as people run it.
enum Program {
    struct Failure: Error {}

    struct Outcome {
        var exitCode: Int32
        var output: String
        var error: String
        /// Lines of standard error.
        var complaints: [String] { error.split(separator: "\n").map(String.init) }
    }

    /// Runs it to its end with this environment and nothing else of this process's.
    static func run(
        _ arguments: [String],
        environment: [String: String] = [:],
        input: String = ""
    ) throws -> Outcome {
        // Beside the test bundle that is running.
        let path = CommandLine.arguments[0].split(separator: "/").dropLast().joined(separator: "/")
        return try launch("/\(path)/scada-ingestion", arguments, environment: environment, input: input)
    }

    /// Runs any program to its end.
    static func launch(
        _ program: String,
        _ arguments: [String],
        environment: [String: String] = [:],
        input: String = ""
    ) throws -> Outcome {
        let folder = try TemporaryFolder()
        let inputPath = try folder.write("in", input)
        let (outputPath, errorPath) = ("\(folder.path)/out", "\(folder.path)/err")
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, inputPath, O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, outputPath, O_WRONLY | O_CREAT, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, errorPath, O_WRONLY | O_CREAT, 0o600)
        let argumentList = ([program] + arguments).map { strdup($0) }
        let environmentList = environment.map { strdup("\($0.key)=\($0.value)") }
        defer { for text in argumentList + environmentList { free(text) } }
        var pid: pid_t = 0
        guard posix_spawn(&pid, program, &actions, nil, argumentList + [nil], environmentList + [nil]) == 0 else {
            throw Failure()
        }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        guard status & 0x7F == 0 else { throw Failure() }
        return Outcome(
            exitCode: status >> 8 & 0xFF,
            output: try SmallTextFile.read(outputPath),
            error: try SmallTextFile.read(errorPath)
        )
    }
}
