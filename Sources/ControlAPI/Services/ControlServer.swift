package import Logging
import ServiceLifecycle
import Synchronization

/// The gRPC server of the control API.
///
/// As a service: `run()` listens (unless `start()` has done so), serves until graceful shutdown, then admits no more
/// calls, lets those in progress end within `shutdownGrace`, cancels the rest and frees everything. Cancelling the task
/// of `run()` does the same without the grace. One start per object.
package final class ControlServer: Service {
    /// The C side while it runs. Members are freed in the order: server, credentials, queues.
    private struct Running {
        var server: GRPCServer
        var credentials: ServerCredentials
        var queues: [CompletionQueue]
        var port: Int
    }

    private enum Phase {
        case idle
        case running(Running)
        case stopped
    }

    private let options: ControlServerOptions
    private let health: HealthState
    private let active: ActiveCalls
    private let dispatcher: CallDispatcher
    private let hooks: ControlServerHooks
    private let audit: AuditLog
    private let logger: Logger
    private let phase = Mutex(Phase.idle)

    /// - Parameters:
    ///   - health: what grpc.health.v1 answers; the daemon sets it.
    ///   - authenticator: nil = no tokens: every caller may access every tenant.
    ///   - logger: audit lines, failures of calls and what the gRPC core says.
    package init(
        options: ControlServerOptions,
        backend: any ControlBackend,
        health: HealthState,
        authenticator: Authenticator? = nil,
        hooks: ControlServerHooks = ControlServerHooks(),
        logger: Logger
    ) {
        self.options = options
        self.health = health
        self.hooks = hooks
        self.logger = logger
        audit = AuditLog(logger: logger, onAudit: hooks.onAudit)
        active = ActiveCalls(maxCalls: options.maxConcurrentCalls, maxProbes: options.maxConcurrentProbes)
        dispatcher = CallDispatcher(
            backend: backend,
            health: health,
            active: active,
            authenticator: authenticator,
            hooks: hooks,
            audit: audit,
            logger: logger
        )
    }

    /// The port it listens on; nil = it does not.
    package var port: Int? {
        phase.withLock { if case .running(let running) = $0 { running.port } else { nil } }
    }

    /// Calls in progress now.
    package var activeCalls: Int { active.count }

    // MARK: - Start

    /// Listens. Returns the port, which is the one asked for unless that was 0. Blocks for reading certificates.
    /// Throws an error that names the address or file and the cure.
    @discardableResult
    package func start() throws(ControlServerError) -> Int {
        guard options.tls != nil || options.allowInsecure || options.address.isLoopback else {
            throw ControlServerError(
                .insecure,
                "refusing to listen on \(options.address) without TLS: set GRPC_TLS_CERT and GRPC_TLS_KEY, "
                    + "listen on a loopback address, or set GRPC_ALLOW_INSECURE=true if the network is trusted"
            )
        }
        return try phase.withLock { phase throws(ControlServerError) in
            switch phase {
            case .running(let running):
                return running.port
            case .stopped:
                throw ControlServerError(.address, "the server has been stopped")
            case .idle:
                let running = try listen()
                phase = .running(running)
                return running.port
            }
        }
    }

    private func listen() throws(ControlServerError) -> Running {
        let library = GRPCLibrary()
        installLogSink()
        let credentials = try makeCredentials()
        // Threads first: once an address is bound, the core aborts the process when its server is given up.
        var queues: [CompletionQueue] = []
        var isListening = false
        defer { if !isListening { for queue in queues { queue.beginShutdown() } } }
        for index in 0..<max(1, options.threads) {
            let queue = CompletionQueue(library: library, name: "grpc-\(index)")
            try queue.start()
            queues.append(queue)
        }
        let dispatcher = dispatcher
        let server = GRPCServer(library: library, queues: queues, arguments: arguments) { dispatcher.accept($0) }
        guard let port = server.bind(options.address.description, credentials) else {
            if let problem = options.address.bindProblem() {
                throw ControlServerError(.address, "cannot listen on \(options.address): \(problem)")
            }
            throw options.tls.map {
                .credentials(
                    "\($0.certificateFile) and \($0.keyFile) are not a certificate and its private key"
                        + ($0.clientCAFile.map { ", or \($0) holds no usable authority" } ?? "")
                )
            } ?? ControlServerError(.address, "cannot listen on \(options.address)")
        }
        server.start()
        isListening = true
        return Running(server: server, credentials: credentials, queues: queues, port: port)
    }

    private func makeCredentials() throws(ControlServerError) -> ServerCredentials {
        guard let tls = options.tls else { return try .insecure() }
        let logger = logger
        let files = CertificateFiles(options: tls) { line, isError in
            logger.log(level: isError ? .error : .notice, "\(line)")
        }
        _ = try files.read()
        return try .tls(files)
    }

    private var arguments: ChannelArguments {
        var arguments = ChannelArguments()
        arguments.set("grpc.max_receive_message_length", options.maxRequestBytes)
        arguments.set("grpc.max_send_message_length", -1)
        // The bound on a message holds before it is decompressed: 4 MiB could become 4 GiB. Bit 0 is "identity": a client
        // that compresses its requests is told UNIMPLEMENTED and what the server takes, as gRPC has it.
        arguments.set("grpc.compression_enabled_algorithms_bitset", 1)
        arguments.set("grpc.max_concurrent_streams", options.maxStreamsPerConnection)
        // Two daemons on one port would share its calls by chance.
        arguments.set("grpc.so_reuseport", 0)
        arguments.set("grpc.keepalive_time_ms", options.keepAliveInterval.wholeMilliseconds)
        arguments.set("grpc.keepalive_timeout_ms", options.keepAliveTimeout.wholeMilliseconds)
        arguments.set("grpc.keepalive_permit_without_calls", 1)
        arguments.set("grpc.http2.max_pings_without_data", 0)
        arguments.set(
            "grpc.http2.min_ping_interval_without_data_ms",
            options.minimumClientPingInterval.wholeMilliseconds
        )
        // A connection that does not finish TLS must not hold a descriptor for the default two minutes.
        arguments.set("grpc.server_handshake_timeout_ms", 10_000)
        return arguments
    }

    /// Lines of the core go into our log. Failed handshakes are the only trace of clients that TLS turned away.
    private func installLogSink() {
        let logger = logger
        let hooks = hooks
        let audit = audit
        GRPCLibrary.setLogSink { line in
            if line.isFailedHandshake {
                hooks.onFailedHandshake()
                audit.failedHandshake(line.message)
            } else {
                logger.log(level: line.isError ? .warning : .debug, "gRPC core: \(line.message)")
            }
        }
    }

    // MARK: - Run and stop

    package func run() async throws {
        let port = try start()
        logger.info(
            "gRPC listening",
            metadata: [
                "address": "\(ListenAddress(host: options.address.host, port: UInt16(clamping: port)))",
                "tls": "\(options.tls != nil)",
                "client_certificates": "\(options.tls?.clientCAFile != nil)",
            ]
        )
        let grace = await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.breakOffStalledCalls() }
            let isGraceful = (try? await gracefulShutdown()) != nil
            group.cancelAll()
            return isGraceful ? options.shutdownGrace : .zero
        }
        // Not a child of this task, which may be cancelled: the core has to be taken down in order all the same.
        await Task { await stop(grace: grace) }.value
    }

    private func breakOffStalledCalls() async {
        while (try? await Task.sleep(for: .seconds(1))) != nil {
            breakOffCalls(stalledFor: options.stallTimeout)
        }
    }

    /// Ends calls that have waited for their client longer than `limit`.
    func breakOffCalls(stalledFor limit: Duration) {
        active.cancelStalled(limit)
    }

    /// Takes the server down; safe to call more than once. For those who use `start()` without `run()`.
    package func stop(grace: Duration) async {
        let running = phase.withLock { phase -> Running? in
            defer { phase = .stopped }
            if case .running(let running) = phase { return running }
            return nil
        }
        guard let running else { return }
        health.shutDown()
        active.beginShutdown()
        running.server.beginShutdown()
        if await !active.waitUntilIdle(atMost: grace) {
            active.cancelAll(ControlError(.unavailable, "the server is shutting down"))
            if await !active.waitUntilIdle(atMost: .seconds(2)) {
                let methods = active.abandonAll()
                logger.warning("gRPC calls did not end when cancelled", metadata: ["methods": "\(methods)"])
            }
        }
        running.server.cancelAllCalls()
        guard await running.server.waitForShutdown(atMost: .seconds(5)) else {
            // Destroying it now would abort the process.
            logger.error("the gRPC server did not shut down in time and is left as it is")
            _ = Unmanaged.passRetained(running.server)
            return
        }
        for queue in running.queues { await queue.shutdown() }
        logger.info("gRPC stopped")
    }
}

extension Duration {
    fileprivate var wholeMilliseconds: Int {
        Int(clamping: components.seconds.multipliedReportingOverflow(by: 1_000).partialValue)
            + Int(components.attoseconds / 1_000_000_000_000_000)
    }
}
