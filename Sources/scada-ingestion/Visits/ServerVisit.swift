import ArgumentParser
import Glibc
import Logging
import NIOCore
import NIOPosix
import OPCUAClient
import Synchronization
import UnixSignals

/// A visit to a server by a command: its session is closed whatever happens, also at Control-C.
enum ServerVisit {
    /// 128 + SIGINT, as shells have it.
    static let interrupted = ExitCode(130)

    /// Runs `body` with a probe. For a server that dials in it listens meanwhile.
    /// - Throws: ``interrupted`` after a signal; `ExitCode.unavailable`, having said why, where it cannot listen.
    static func run<Result: Sendable>(
        _ target: ServerTarget,
        _ body: @Sendable (OPCUAProbe) async -> Result
    ) async throws -> Result {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        var reverse: ReverseListener?
        if let address = target.listen { reverse = try await listen(address, eventLoop) }
        let probe = OPCUAProbe(
            configuration: target.configuration,
            security: target.pki.security,
            eventLoop: eventLoop,
            reverse: reverse
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
        await reverse?.stop()
        watcher.cancel()
        if interruption.happened.load(ordering: .relaxed) { throw interrupted }
        return result
    }

    private static func listen(
        _ address: Settings.ReverseAddress,
        _ eventLoop: any EventLoop
    ) async throws -> ReverseListener {
        let listener = ReverseListener(
            eventLoop: eventLoop,
            logger: Logger(label: "ServerVisit") { _ in SwiftLogNoOpLogHandler() }
        )
        do throws(OPCUAClientError) {
            _ = try await listener.start(host: address.host, port: Int(address.port))
        } catch {
            Console.error("\(error)")
            Console.error("where the daemon runs it has that port: ask it with the method TestConnection of its API")
            throw ExitCode.unavailable
        }
        Console.error("waiting for the server to dial \(address.host) port \(address.port)")
        return listener
    }

    private final class Interruption: Sendable {
        let happened = Atomic(false)
    }
}
