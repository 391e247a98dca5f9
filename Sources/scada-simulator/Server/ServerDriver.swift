import NIOCore
import NIOPosix

/// Gives a ``FieldServer`` its socket, its clock and its rhythm, all on one event loop.
///
/// Confined to that loop but for ``start(_:host:port:loop:clock:)`` and what hops onto it.
final class ServerDriver {
    let server: FieldServer
    private let loop: any EventLoop
    private let clock: RunClock
    private var listener: (any Channel)?
    private var connections: [ObjectIdentifier: ServerConnection] = [:]
    private var waiting: [ServerConnection] = []
    private var ticking: RepeatedTask?

    /// How often the field moves on and subscriptions are looked at.
    static let tick = TimeAmount.milliseconds(50)

    private init(server: FieldServer, loop: any EventLoop, clock: RunClock) {
        self.server = server
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
            let driver = ServerDriver(server: FieldServer(configuration), loop: loop, clock: clock)
            return NIOLoopBound(driver, eventLoop: loop)
        }.get()
        let listener = try await ServerBootstrap(group: loop)
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
                    try channel.pipeline.syncOperations.addHandler(
                        ServerConnection(server: driver.server, driver: driver)
                    )
                }
            }
            .bind(host: host, port: port)
            .get()
        try await loop.submit { bound.value.run(listener) }.get()
        return bound
    }

    private func run(_ listener: any Channel) {
        self.listener = listener
        let bound = NIOLoopBound(self, eventLoop: loop)
        ticking = loop.scheduleRepeatedTask(initialDelay: Self.tick, delay: Self.tick) { _ in
            let driver = bound.value
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

    /// Closes the listener and every connection.
    func stop() {
        ticking?.cancel()
        listener?.close(promise: nil)
        for connection in connections.values { connection.close() }
    }
}
