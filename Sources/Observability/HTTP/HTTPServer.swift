package import Logging
package import Metrics
import NIOCore
import NIOHTTP1
import NIOPosix
import ServiceLifecycle
import Synchronization

/// The HTTP endpoint for Prometheus, probes and people: /metrics, /healthz, /readyz, /status.json and /.
///
/// It has a thread of its own, on which metrics are rendered and samples for the charts are taken too, so that a scrape never holds up an event loop that carries
/// readings. HTTP/1.1 and 1.0, keep-alive, pipelining; no TLS, no authentication: it tells no secret, and belongs on an
/// inner network.
///
/// As a service: `run()` listens (unless `start()` has done so) and serves until graceful shutdown or cancellation. One start
/// per object.
package final class HTTPServer: Service {
    private enum Phase {
        case idle
        case starting
        case running(any Channel, MultiThreadedEventLoopGroup)
        case stopped
    }

    private let options: HTTPServerOptions
    private let routes: HTTPRoutes
    private let logger: Logger
    private let gate = EventLoopGate()
    private let history: SampledHistory
    private let phase = Mutex(Phase.idle)
    private let connections = Mutex<[ObjectIdentifier: any Channel]>([:])

    package init(options: HTTPServerOptions, registry: Registry, source: any StatusSource, logger: Logger) {
        self.options = options
        self.logger = logger
        let history = SampledHistory(source: source)
        self.history = history
        routes = HTTPRoutes(
            registry: registry,
            source: source,
            report: SharedReport(source: source),
            showsStatusPage: options.showsStatusPage,
            history: { history.current }
        )
    }

    /// Connections open now.
    package var connectionCount: Int { connections.withLock { $0.count } }

    // MARK: - Start

    /// Listens. Returns the port, which is the one asked for unless that was 0.
    @discardableResult
    package func start() async throws(HTTPServerError) -> Int {
        let mayStart = phase.withLock { phase in
            guard case .idle = phase else { return false }
            phase = .starting
            return true
        }
        guard mayStart else { throw HTTPServerError(.stopped, "the HTTP server starts once") }
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        do {
            let channel = try await bootstrap(group).bind(host: options.host, port: options.port).get()
            history.start(on: channel.eventLoop)
            phase.withLock { $0 = .running(channel, group) }
            return channel.localAddress?.port ?? options.port
        } catch {
            phase.withLock { $0 = .stopped }
            try? await group.shutdownGracefully()
            throw HTTPServerError(binding: options.host, options.port, error)
        }
    }

    private func bootstrap(_ group: MultiThreadedEventLoopGroup) -> ServerBootstrap {
        ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 256)
            // A restarted daemon must not wait for its old connections to time out.
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { [self] channel in
                channel.eventLoop.makeCompletedFuture { try configure(channel) }
            }
    }

    private func configure(_ channel: any Channel) throws {
        let id = ObjectIdentifier(channel)
        let isAdmitted = connections.withLock { connections in
            guard connections.count < options.maxConnections else { return false }
            connections[id] = channel
            return true
        }
        guard isAdmitted else {
            try channel.pipeline.syncOperations.addHandler(TurnAwayHandler())
            return
        }
        channel.closeFuture.whenComplete { [self] _ in connections.withLock { $0[id] = nil } }
        var limits = NIOHTTPDecoderLimitConfiguration()
        limits.maxHeaderFieldSize = options.maxHeaderBytes
        limits.maxHeaderListSize = options.maxHeaderBytes
        try channel.pipeline.syncOperations.configureHTTPServerPipeline(
            withErrorHandling: false,
            withEncoderConfiguration: HTTPResponseEncoder.Configuration(),
            withDecoderLimitConfiguration: limits
        )
        try channel.pipeline.syncOperations.addHandler(
            HTTPConnectionHandler(routes: routes, options: options, gate: gate)
        )
    }

    // MARK: - Run and stop

    package func run() async throws {
        if case .idle = phase.withLock({ $0 }) { try await start() }
        guard case .running(let channel, _) = phase.withLock({ $0 }) else { return }
        logger.info("HTTP listening", metadata: ["address": "\(options.host):\(channel.localAddress?.port ?? 0)"])
        let isGraceful = (try? await gracefulShutdown()) != nil
        // Not a child of this task, which may be cancelled.
        await Task { await stop(grace: isGraceful ? options.shutdownGrace : .zero) }.value
    }

    /// Closes the port and the idle connections, lets requests in progress be answered within the grace, ends the thread.
    /// Safe to call more than once. For those who use `start()` without `run()`.
    package func stop(grace: Duration = .zero) async {
        let running = phase.withLock { phase -> (any Channel, MultiThreadedEventLoopGroup)? in
            guard case .running(let channel, let group) = phase else {
                if case .idle = phase { phase = .stopped }
                return nil
            }
            phase = .stopped
            return (channel, group)
        }
        guard let (channel, group) = running else { return }
        try? await channel.close()
        let open = connections.withLock { Array($0.values) }
        for connection in open { connection.pipeline.fireUserInboundEventTriggered(HTTPConnectionHandler.Drain()) }
        if grace > .zero {
            let deadline = channel.eventLoop.scheduleTask(in: TimeAmount(grace)) {
                for connection in open { connection.close(promise: nil) }
            }
            for connection in open { try? await connection.closeFuture.get() }
            deadline.cancel()
        }
        gate.close()
        // Closes whatever is left.
        try? await group.shutdownGracefully()
        logger.info("HTTP stopped")
    }
}

/// Answers a connection too many with 503 before it has asked.
private final class TurnAwayHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    func channelActive(context: ChannelHandlerContext) {
        let body = "too many connections\n"
        let response = """
            HTTP/1.1 503 Service Unavailable\r
            Content-Type: text/plain; charset=utf-8\r
            Content-Length: \(body.utf8.count)\r
            Connection: close\r
            \r
            \(body)
            """
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: response))).whenComplete { _ in
            bound.value.close(promise: nil)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {}
}
