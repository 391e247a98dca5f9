import ArgumentParser
import Glibc
import NIOPosix
import OPCUAClient
import Synchronization
import UnixSignals

/// A visit to a server by a command: its session is closed whatever happens, also at Control-C.
enum ServerVisit {
    /// 128 + SIGINT, as shells have it.
    static let interrupted = ExitCode(130)

    /// Runs `body` with a probe.
    /// - Throws: ``interrupted`` after a signal.
    static func run<Result: Sendable>(
        _ target: ServerTarget,
        _ body: @Sendable (OPCUAProbe) async -> Result
    ) async throws -> Result {
        let probe = OPCUAProbe(
            configuration: target.configuration,
            security: target.pki.security,
            eventLoop: MultiThreadedEventLoopGroup.singleton.next()
        )
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
        let interruption = Interruption()
        let watcher = Task {
            for await _ in signals {
                interruption.happened.store(true, ordering: .relaxed)
                await probe.close()
                // A server that has not answered by now is not waited for.
                guard (try? await Task.sleep(for: .seconds(1))) != nil else { return }
                exit(interrupted.rawValue)
            }
        }
        let result = await body(probe)
        await probe.close()
        watcher.cancel()
        if interruption.happened.load(ordering: .relaxed) { throw interrupted }
        return result
    }

    private final class Interruption: Sendable {
        let happened = Atomic(false)
    }
}
