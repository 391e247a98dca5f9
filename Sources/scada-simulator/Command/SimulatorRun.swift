#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif
import NIOCore
import NIOPosix
import UnixSignals

/// One run of the simulator from the first bind to the last line.
struct SimulatorRun: Sendable {
    var layouts: [FieldLayout]
    /// Readings a second over all servers.
    var rate: Double
    var seed: UInt64
    var host: String
    var port: Int
    var threads: Int
    /// Milliseconds.
    var tick = 50
    /// Whether the servers take turns in publishing.
    var takesTurns = false
    /// Seconds; nil runs until a signal.
    var duration: Double?
    /// ApplicationUri and security of each server.
    var identities: [(uri: String, security: ServerSecurity)]
    var reverseTargets: [(host: String, port: Int)] = []
    /// Minutes; 0 keeps none.
    var history: Double
    var controlPort: Int?
    var summaryPath: String?
    var quiet: Bool

    struct Running: Sendable {
        var driver: NIOLoopBound<ServerDriver>
        var loop: any EventLoop
        var endpoint: String
    }

    /// - Throws: `UnavailableError`.
    func run() async throws {
        let clock = RunClock()
        // Before anything that takes time: a signal that comes early ends the run in order too.
        let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint)
        Self.allowManyFiles()
        let group = MultiThreadedEventLoopGroup(numberOfThreads: threads)
        let wells = layouts.reduce(0) { $0 + $1.wellCount }
        var running: [Running] = []
        do {
            for (index, layout) in layouts.enumerated() {
                running.append(
                    try await start(layout, wells: wells, index: index, loop: group.next(), clock: clock)
                )
            }
        } catch {
            try? await group.shutdownGracefully()
            throw error
        }
        let (quit, quitter) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        if let controlPort {
            do {
                let servers = running
                _ = try await ControlPort.start(port: controlPort, group: group) { line in
                    await answer(line, servers, clock, quitter)
                }
            } catch {
                try? await group.shutdownGracefully()
                throw unavailable("127.0.0.1", controlPort, error)
            }
        }
        if !quiet {
            let places = "\(running[0].endpoint)" + (running.count > 1 ? " and \(running.count - 1) more" : "")
            StandardOutput.line(
                "\(wells) wells, \(wells * FieldLayout.tagsPerWell) tags, \(rate) readings/s, seed \(seed), at \(places)"
            )
        }
        let summary = try await watch(running, clock, signals, quit)
        let text = try summary.json()
        StandardOutput.line(text)
        if let summaryPath {
            // Where numbers are looked for, the file says how far each tag came.
            let counters = layouts.contains(where: \.counters)
            try Summary.write(counters ? try await withTags(summary, running) : text, to: summaryPath)
        }
        for each in running { try await each.loop.submit { each.driver.value.stop() }.get() }
        try await group.shutdownGracefully()
    }

    /// A thousand servers with a client each have more sockets than many systems allow a process at first.
    private static func allowManyFiles() {
        let files = __rlimit_resource_t(7)
        var limit = rlimit()
        guard getrlimit(files, &limit) == 0, limit.rlim_cur < limit.rlim_max else { return }
        limit.rlim_cur = limit.rlim_max
        // Where it is refused, a socket that cannot be had says so.
        _ = setrlimit(files, &limit)
    }

    private func start(
        _ layout: FieldLayout,
        wells: Int,
        index: Int,
        loop: any EventLoop,
        clock: RunClock
    ) async throws -> Running {
        let port = port + index
        let endpoint = "opc.tcp://\(host):\(port)"
        let configuration = FieldServer.Configuration(
            layout: layout,
            rate: rate * Double(layout.wellCount) / Double(wells),
            endpointURL: endpoint,
            applicationURI: identities[index].uri,
            epoch: clock.epoch,
            historyMinutes: history,
            tick: tick,
            publishingPhase: takesTurns ? Double(index) / Double(layouts.count) : nil,
            security: identities[index].security,
            reverseTargets: reverseTargets
        )
        do {
            let driver = try await ServerDriver.start(configuration, host: host, port: port, loop: loop, clock: clock)
            return Running(driver: driver, loop: loop, endpoint: endpoint)
        } catch {
            throw unavailable(host, port, error)
        }
    }

    private func unavailable(_ host: String, _ port: Int, _ error: any Error) -> UnavailableError {
        let reason = (error as? IOError).map { String(cString: strerror($0.errnoCode)) } ?? "\(error)"
        return UnavailableError(description: "cannot listen on \(host):\(port): \(reason)")
    }

    /// Runs until the duration is over or a signal comes; returns the final figures.
    private func watch(
        _ running: [Running],
        _ clock: RunClock,
        _ signals: UnixSignalsSequence,
        _ quit: AsyncStream<Void>
    ) async throws -> Summary {
        let started = clock.nanoseconds
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { for await _ in signals { return } }
            group.addTask { for await _ in quit { return } }
            group.addTask {
                // Cancelled at the end: the sleep throws.
                do { try await report(running, clock, since: started) } catch is CancellationError {}
            }
            if let duration {
                group.addTask {
                    do { try await Task.sleep(for: .seconds(duration)) } catch is CancellationError {}
                }
            }
            try await group.next()
            group.cancelAll()
        }
        return try await collect(running, clock, since: started)
    }

    /// Prints what was published, once a second.
    private func report(_ running: [Running], _ clock: RunClock, since started: Int64) async throws {
        var next = started
        var before: UInt64 = 0
        while true {
            next += 1_000_000_000
            try await Task.sleep(for: .nanoseconds(next - clock.nanoseconds))
            if quiet { continue }
            let total = try await collect(running, clock, since: started).total
            StandardOutput.line(
                "published/s \(total.published - before) total \(total.published) acknowledged \(total.acknowledged)"
                    + " dropped \(total.dropped) sessions \(total.sessions) subscriptions \(total.subscriptions)"
                    + " items \(total.monitoredItems)"
            )
            before = total.published
        }
    }

    func collect(_ running: [Running], _ clock: RunClock, since started: Int64) async throws -> Summary {
        var total = Accounting()
        var servers: [Summary.Server] = []
        for each in running {
            let figures = try await ServerDriver.summary(each.driver, each.loop)
            total += figures
            servers.append(Summary.Server(endpoint: each.endpoint, figures: figures))
        }
        let elapsed = Double(clock.nanoseconds - started) / 1e9
        return Summary(total: total, seed: seed, elapsedSeconds: elapsed, servers: servers)
    }
}
