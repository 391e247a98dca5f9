import NIOCore
import NIOPosix

/// Gives a ``FieldServer`` its socket, its clock and its rhythm, all on one event loop.
///
/// Confined to that loop but for ``start(_:host:port:loop:clock:)`` and what hops onto it.
final class ServerDriver {
    let server: FieldServer
    let loop: any EventLoop
    private let clock: RunClock
    private let host: String
    /// What was asked for; 0 means any, and is then replaced by what was given.
    private(set) var port: Int
    private var listener: (any Channel)?
    private var connections: [ObjectIdentifier: ServerConnection] = [:]
    private var waiting: [ServerConnection] = []
    private var ticking: RepeatedTask?
    private(set) var isStopped = false

    /// Reads, computes and answers nothing.
    private(set) var isFrozen = false
    /// Messages yet to be damaged.
    var messagesToCorrupt = 0
    /// One message of so many is damaged besides; 0 for none.
    var corruptOneIn = 0
    private var damage: SeededGenerator

    private init(server: FieldServer, host: String, port: Int, loop: any EventLoop, clock: RunClock) {
        self.server = server
        self.host = host
        self.port = port
        damage = SeededGenerator(seed: server.configuration.layout.seed)
        self.loop = loop
        self.clock = clock
    }

    /// Makes the server on `loop` and listens.
    /// - Throws: the error of bind, for example that the port is in use.
    static func start(
        _ configuration: FieldServer.Configuration,
        host: String,
        port: Int,
        loop: any EventLoop,
        clock: RunClock
    ) async throws -> NIOLoopBound<ServerDriver> {
        let bound = try await loop.submit {
            let driver = ServerDriver(
                server: FieldServer(configuration),
                host: host,
                port: port,
                loop: loop,
                clock: clock
            )
            return NIOLoopBound(driver, eventLoop: loop)
        }.get()
        try await loop.flatSubmit { bound.value.listen() }.get()
        try await loop.submit {
            bound.value.run()
            for (host, port) in configuration.reverseTargets {
                bound.value.dial(ReverseTarget(host: host, port: port))
            }
        }.get()
        return bound
    }

    private func listen() -> EventLoopFuture<Void> {
        let bound = NIOLoopBound(self, eventLoop: loop)
        return ServerBootstrap(group: loop)
            .serverChannelOption(.backlog, value: 256)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            // A large read takes in a client's burst of requests at once.
            .childChannelOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(minimum: 4_096, initial: 16_384, maximum: 262_144)
            )
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let driver = bound.value
                    // A client that does not take its answers is not listened to any further.
                    try channel.pipeline.syncOperations.addHandler(BackPressureHandler())
                    try channel.pipeline.syncOperations.addHandler(
                        ServerConnection(server: driver.server, driver: driver)
                    )
                }
            }
            .bind(host: host, port: port)
            .map { channel in
                bound.value.listener = channel
                bound.value.port = channel.localAddress?.port ?? bound.value.port
            }
    }

    private func run() {
        let bound = NIOLoopBound(self, eventLoop: loop)
        let tick = TimeAmount.milliseconds(Int64(server.configuration.tick))
        ticking = loop.scheduleRepeatedTask(initialDelay: tick, delay: tick) { _ in
            let driver = bound.value
            if driver.isFrozen { return }
            driver.setTime()
            driver.server.tick()
            driver.flush()
        }
    }

    /// Brings the server's time up to date, before every call into it.
    func setTime() { server.now = clock.nanoseconds }

    func opened(_ connection: ServerConnection) { connections[ObjectIdentifier(connection)] = connection }
    func closed(_ connection: ServerConnection) { connections[ObjectIdentifier(connection)] = nil }

    /// Collects the connections with something to send until the work of this turn is done.
    func flushLater(_ connection: ServerConnection) {
        waiting.append(connection)
        guard waiting.count == 1 else { return }
        let bound = NIOLoopBound(self, eventLoop: loop)
        loop.execute { bound.value.flush() }
    }

    private func flush() {
        let all = waiting
        waiting.removeAll(keepingCapacity: true)
        for connection in all { connection.flush() }
    }

    /// The figures at this moment; hops onto the loop.
    static func summary(_ driver: NIOLoopBound<ServerDriver>, _ loop: any EventLoop) async throws -> Accounting {
        try await loop.submit { driver.value.summary }.get()
    }

    private var summary: Accounting {
        var summary = server.summary
        summary.connections = connections.count
        return summary
    }

    // MARK: Faults

    func dropConnections() {
        for connection in connections.values { connection.abort() }
    }

    func freeze(_ isFrozen: Bool) {
        guard self.isFrozen != isFrozen else { return }
        self.isFrozen = isFrozen
        for connection in connections.values { connection.setFrozen(isFrozen) }
    }

    /// Closes everything and forgets everything; listens again after a while.
    func restart(downFor time: TimeAmount) {
        listener?.close(promise: nil)
        listener = nil
        dropConnections()
        server.forgetEverything()
        listen(after: time)
    }

    private func listen(after time: TimeAmount) {
        let bound = NIOLoopBound(self, eventLoop: loop)
        loop.scheduleTask(in: time) {
            // Somebody may have taken the port in the meantime: it is tried until it is free again.
            bound.value.listen().whenFailure { _ in bound.value.listen(after: .milliseconds(100)) }
        }
    }

    /// Flips one to four bytes of a message that is about to leave, if that was asked for or chance has it.
    func corrupt(_ output: inout [UInt8], from start: Int) {
        guard start < output.count else { return }
        if messagesToCorrupt > 0 {
            messagesToCorrupt -= 1
        } else {
            guard corruptOneIn > 0, Int.random(in: 1...corruptOneIn, using: &damage) == 1 else { return }
        }
        for _ in 0..<Int.random(in: 1...4, using: &damage) {
            let position = Int.random(in: start..<output.count, using: &damage)
            output[position] ^= UInt8.random(in: 1...255, using: &damage)
        }
    }

    /// Closes the listener and every connection.
    func stop() {
        isStopped = true
        ticking?.cancel()
        listener?.close(promise: nil)
        for connection in connections.values { connection.close() }
    }
}
