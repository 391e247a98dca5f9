package import Logging
package import NIOCore
import NIOPosix
import OPCUACodec

/// Where servers dial in (reverse connect, Part 6, 7.1.2.6): one listener for all connections whose URL begins with
/// `reverse+`. A server is known by the EndpointUrl of its ReverseHello.
///
/// Runs on its event loop, and so do the sockets it hands out: whoever takes one must run there too.
package actor ReverseListener {
    package nonisolated var unownedExecutor: UnownedSerialExecutor { eventLoop.executor.asUnownedSerialExecutor() }

    package nonisolated let eventLoop: any EventLoop
    private let logger: Logger
    private var book = ReverseConnectBook()
    private var server: (any Channel)?
    private var sockets: [ReverseConnectBook.SocketID: Socket] = [:]
    private var claims: [ReverseConnectBook.ClaimID: EventLoopPromise<any Channel>] = [:]
    private var lastID: UInt64 = 0
    /// Servers that were logged; bounded, as anybody can make names up.
    private var logged: Set<String> = []

    private struct Socket {
        var channel: any Channel
        var timer: Scheduled<Void>
    }

    /// For the ReverseHello to come.
    static let helloPatience = TimeAmount.seconds(10)
    /// For somebody to take the socket; the server then dials again.
    static let waitingPatience = TimeAmount.seconds(60)
    static let maximumLogged = 1000

    package init(eventLoop: any EventLoop, logger: Logger) {
        self.eventLoop = eventLoop
        self.logger = logger
    }

    // MARK: Life

    /// Listens.
    /// - Returns: the port, chosen by the system for 0.
    package func start(host: String, port: Int) async throws(OPCUAClientError) -> Int {
        do {
            let bootstrap = ServerBootstrap(group: eventLoop, childGroup: eventLoop)
                .serverChannelOption(.backlog, value: 128)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .childChannelInitializer { [weak self] channel in
                    channel.eventLoop.makeCompletedFuture {
                        guard let self else { throw ChannelError.ioOnClosedChannel }
                        try SocketOptions.set(channel)
                        let id = self.assumeIsolated { $0.accepted(channel) }
                        guard let id else { return ReverseSocket.refuse(channel, .badTcpServerTooBusy) }
                        try channel.pipeline.syncOperations.addHandler(ReverseSocket(id: id, listener: self))
                    }
                }
            let channel = try await bootstrap.bind(host: host, port: port).get()
            server = channel
            let bound = channel.localAddress?.port ?? port
            logger.info("servers can dial in", metadata: ["host": "\(host)", "port": "\(bound)"])
            return bound
        } catch {
            throw OPCUAClientError(
                .invalidConfiguration,
                "OPC_REVERSE_LISTEN: cannot listen on \(host) port \(port): \(error)",
                advice: "Check that the address is one of this machine's and no other program uses the port"
            )
        }
    }

    /// Closes the listener and every socket that nobody has taken.
    package func stop() async {
        for id in sockets.keys { drop(id, .badServerHalted) }
        for claim in claims.values { claim.fail(OPCUAClientError.stopped) }
        try? await server?.close()
        server = nil
    }

    // MARK: Connections

    /// A connection runs that this server is meant for.
    func expect(_ endpoint: ReverseEndpoint) { book.expect(endpoint) }

    /// It ends.
    func unexpect(_ endpoint: ReverseEndpoint) {
        for id in book.unexpect(endpoint) { drop(id, .badTcpEndpointUrlInvalid) }
    }

    /// Completes the promise with a socket of this server as soon as there is one. Failing the promise gives it up.
    func claim(_ endpoint: ReverseEndpoint, _ promise: EventLoopPromise<any Channel>) {
        lastID += 1
        let id = lastID
        while let socket = book.claim(id, endpoint) {
            guard let channel = take(socket) else { continue }
            return promise.succeed(channel)
        }
        claims[id] = promise
        promise.futureResult.whenComplete { [weak self] _ in
            self?.assumeIsolated {
                $0.claims[id] = nil
                $0.book.ended(claim: id, endpoint)
            }
        }
    }

    /// A socket leaves the listener; nil where it is closed already.
    private func take(_ id: ReverseConnectBook.SocketID) -> (any Channel)? {
        guard let socket = sockets.removeValue(forKey: id) else { return nil }
        socket.timer.cancel()
        guard socket.channel.isActive,
            let handler = try? socket.channel.pipeline.syncOperations.handler(type: ReverseSocket.self)
        else { return nil }
        handler.isTaken = true
        return socket.channel
    }

    // MARK: Sockets

    private func accepted(_ channel: any Channel) -> ReverseConnectBook.SocketID? {
        lastID += 1
        guard book.accepted(lastID) else { return nil }
        sockets[lastID] = Socket(channel: channel, timer: timer(lastID, Self.helloPatience))
        return lastID
    }

    private func timer(_ id: ReverseConnectBook.SocketID, _ time: TimeAmount) -> Scheduled<Void> {
        eventLoop.scheduleTask(in: time) { [weak self] in self?.assumeIsolated { $0.drop(id, .badTimeout) } }
    }

    func received(_ hello: ReverseHello, on id: ReverseConnectBook.SocketID) {
        guard let socket = sockets[id] else { return }
        guard let url = try? EndpointURL(hello.endpointURL), !url.isReverse else {
            return unknown(hello, id, socket.channel)
        }
        let (verdict, displaced) = book.identified(id, as: ReverseEndpoint(url))
        if let displaced { drop(displaced, .badTcpServerTooBusy) }
        switch verdict {
        case .wait:
            socket.timer.cancel()
            sockets[id]?.timer = timer(id, Self.waitingPatience)
        case .hand(let claim):
            if let channel = take(id) { claims[claim]?.succeed(channel) }
        case .refuse: unknown(hello, id, socket.channel)
        }
    }

    private func unknown(_ hello: ReverseHello, _ id: ReverseConnectBook.SocketID, _ channel: any Channel) {
        let peer = channel.remoteAddress?.ipAddress ?? "unknown"
        drop(id, .badTcpEndpointUrlInvalid)
        let remedy =
            "add a connection with endpoint_url reverse+\(hello.endpointURL.prefix(200)), or take this address out of "
            + "the server's reverse connect settings"
        log(
            "a server dialled in that no connection is configured for",
            key: hello.endpointURL,
            [
                "server_uri": "\(hello.serverURI.prefix(200))", "endpoint_url": "\(hello.endpointURL.prefix(200))",
                "peer": "\(peer)",
                "remedy": "\(remedy)",
            ]
        )
    }

    /// What came is no ReverseHello.
    func refused(_ refusal: ReverseRefusal, on id: ReverseConnectBook.SocketID) {
        guard let socket = sockets[id] else { return }
        let peer = socket.channel.remoteAddress?.ipAddress ?? "unknown"
        drop(id, refusal.status)
        log(
            "what dialled in is no OPC UA server: \(refusal.reason)",
            key: "\(peer) \(refusal.reason)",
            ["peer": "\(peer)", "remedy": "only servers with reverse connect may dial OPC_REVERSE_LISTEN"]
        )
    }

    private func log(_ message: String, key: String, _ metadata: Logger.Metadata) {
        guard logged.count < Self.maximumLogged, logged.insert(String(key.prefix(500))).inserted else { return }
        logger.warning("\(message)", metadata: metadata)
    }

    func closed(_ id: ReverseConnectBook.SocketID) {
        sockets.removeValue(forKey: id)?.timer.cancel()
        book.closed(id)
    }

    private func drop(_ id: ReverseConnectBook.SocketID, _ status: StatusCode) {
        book.closed(id)
        guard let socket = sockets.removeValue(forKey: id) else { return }
        socket.timer.cancel()
        ReverseSocket.refuse(socket.channel, status)
    }
}
