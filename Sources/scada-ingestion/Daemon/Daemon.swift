import ArgumentParser
import ControlAPI
import Glibc
import Ingestion
import Journal
import Logging
import Metrics
import NIOCore
import NIOPosix
import OPCUAClient
import OPCUASecurity
import Observability
import ServiceLifecycle
import TimescaleStore
import UnixSignals

/// The daemon put together: what it opens at the start, in which order it runs and ends.
enum Daemon {
    /// Runs until SIGTERM or SIGINT and ends in order: the API takes no more calls, intake stops, what was received is stored
    /// as far as SHUTDOWN_GRACE_MS allows, journals and connections close. A second signal ends the process at once.
    static func run(_ configuration: DaemonConfiguration) async throws {
        Allocator.tune()
        LoggingSetup.bootstrap(
            level: configuration.log.level,
            format: configuration.log.format.map { $0 == .json ? .json : .text } ?? .automatic
        )
        let logger = Logger(label: "scada-ingestion")
        // Before anything else: a signal that comes while the daemon starts waits until there is something to end in order.
        let trapped = await UnixSignalsSequence(trapping: .sigterm, .sigint)
        logger.info(
            "starting",
            metadata: ["version": "\(BuildInformation.version)", "build": "\(BuildInformation.configuration)"]
        )
        for warning in configuration.warnings { logger.warning("\(warning)") }

        let metrics = ScadaMetrics()
        let security = try openSecurity(configuration)
        let listeners = DatabaseCommand.listeners(of: configuration)
        let pool = try DatabaseCommand.makePool(
            configuration,
            reserved: listeners + DatabaseCommand.leaseKeepers(of: configuration)
        )
        let journals = try openJournals(configuration, metrics, logger)
        let gathering = MessageGathering()
        let eventLoops = MultiThreadedEventLoopGroup(numberOfThreads: System.coreCount, metricsDelegate: gathering)
        var options = try ingestionOptions(configuration, journals.configuration, security, listeners, logger)
        options.gathering = gathering
        if configuration.opc.reverseListen != nil {
            options.reverse = ReverseListener(eventLoop: eventLoops.next(), logger: logger)
        }
        let router = TenantRouter(
            options: options,
            journals: journals.directory,
            pool: pool,
            metrics: metrics,
            eventLoops: eventLoops,
            leases: try makeLeases(configuration, pool, eventLoops, logger),
            logger: logger
        )
        let certificates = CertificateWatch(
            identity: security.identity,
            store: security.trustStore,
            tls: configuration.grpc.tls.map { ($0.certificateFile, $0.keyFile) }
        )
        DaemonMetrics(router: router, pool: pool, configuration: configuration, certificates: certificates)
            .register(in: metrics)

        let health = HealthState()
        let api = try makeAPI(
            configuration,
            router,
            pool,
            eventLoops,
            security,
            options.reverse,
            metrics,
            health,
            logger
        )
        var httpOptions = HTTPServerOptions(host: configuration.http.host, port: Int(configuration.http.port))
        httpOptions.showsStatusPage = configuration.http.statusPage
        let http = HTTPServer(
            options: httpOptions,
            registry: metrics.registry,
            source: DaemonStatus(
                router: router,
                metrics: metrics,
                configuration: configuration,
                certificates: certificates,
                startedAt: WallTime.microseconds()
            ),
            logger: logger
        )
        // The ports are taken before anything else starts: a second daemon ends here, having disturbed nothing.
        do {
            try await http.start()
            if let listener = options.reverse, let address = configuration.opc.reverseListen {
                _ = try await listener.start(host: address.host, port: Int(address.port))
            }
            try api.start()
        } catch {
            Console.error("\(error)")
            try? await journals.directory.close()
            throw exitCode(error)
        }
        // Ended in the opposite order: first the API, then intake and writers, last what tells about them.
        var services: [any Service] = [http, router, HealthReporter(router: router, health: health), api]
        if let listener = options.reverse { services.insert(ReverseConnectService(listener: listener), at: 1) }
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: services.map {
                    ServiceGroupConfiguration.ServiceConfiguration(
                        service: $0,
                        successTerminationBehavior: .gracefullyShutdownGroup
                    )
                },
                logger: quiet(logger)
            )
        )
        let signals = Task { await obey(trapped, group, logger) }
        defer { signals.cancel() }
        let trimming = Task {
            try await Task.sleep(for: .seconds(10))
            while true {
                journals.directory.buffers.trim()
                Allocator.trim()
                try await Task.sleep(for: .seconds(60))
            }
        }
        defer { trimming.cancel() }
        do {
            try await group.run()
        } catch {
            logger.critical("ended by a fault", metadata: ["error": "\(error)"])
            throw ExitCode(70)
        }
        await pool.close(grace: .seconds(2))
        try? await eventLoops.shutdownGracefully()
        logger.info("ended")
    }

    /// The first signal ends the daemon in order. A second one ends it at once: what is in the journal stays there, and the
    /// next start goes on with it.
    private static func obey(_ signals: UnixSignalsSequence, _ group: ServiceGroup, _ logger: Logger) async {
        var isEnding = false
        for await signal in signals {
            if isEnding {
                logger.warning("second signal: ending at once", metadata: ["signal": "\(signal)"])
                LoggingSetup.flush()
                _exit(128 + (signal == .sigint ? SIGINT : SIGTERM))
            }
            isEnding = true
            logger.notice("ending", metadata: ["signal": "\(signal)"])
            await group.triggerGracefulShutdown()
        }
    }

    /// The service group's own lines are for its developers.
    private static func quiet(_ logger: Logger) -> Logger {
        var quiet = logger
        quiet.logLevel = max(logger.logLevel, .warning)
        return quiet
    }

    private static func exitCode(_ error: any Error) -> ExitCode {
        guard let error = error as? ControlServerError else { return .unavailable }
        return error.code == .address || error.code == .system ? .unavailable : .configuration
    }

    // MARK: Parts

    /// The own certificate, made at the first start, and the folder that says whom to trust. Blocks on the disk, and for a
    /// second where a key has to be made.
    private static func openSecurity(_ configuration: DaemonConfiguration) throws -> ClientSecurity {
        do throws(SecurityError) {
            let store = try TrustStore(folder: configuration.opc.pkiDirectory)
            let template = ApplicationCertificate.template(now: WallTime.microseconds() / 1_000_000)
            return ClientSecurity(identity: try store.loadOrCreateIdentity(template), trustStore: store)
        } catch {
            Console.error("OPC_PKI_DIR \(configuration.opc.pkiDirectory): \(error.message)")
            throw ExitCode.configuration
        }
    }

    private static func openJournals(
        _ configuration: DaemonConfiguration,
        _ metrics: ScadaMetrics,
        _ logger: Logger
    ) throws -> (directory: JournalDirectory, configuration: JournalConfiguration) {
        var journal = JournalConfiguration(path: configuration.journal.directory)
        journal.syncInterval = configuration.journal.syncInterval
        journal.maximumBytesPerTenant = configuration.journal.maxBytesPerTenant
        journal.maximumBytes = configuration.journal.maxTotalBytes
        journal.fullPolicy = configuration.journal.fullPolicy
        let sync = metrics.journalSync.with()
        let errors = metrics.journalErrors.with()
        journal.observer.onSync = { duration, _, _ in sync.observe(duration.inSeconds) }
        journal.observer.onError = { error in
            errors.add()
            logger.error("journal", metadata: ["error": "\(error)"])
        }
        do throws(JournalError) {
            return (try JournalDirectory(journal), journal)
        } catch {
            Console.error("\(error)")
            // 75 (EX_TEMPFAIL): it works when the other process has ended.
            throw error.code == .alreadyOwned ? ExitCode(75) : ExitCode.configuration
        }
    }

    private static func ingestionOptions(
        _ configuration: DaemonConfiguration,
        _ journal: JournalConfiguration,
        _ security: ClientSecurity,
        _ listeners: Int,
        _ logger: Logger
    ) throws -> IngestionOptions {
        var options = IngestionOptions(master: configuration.databaseURL, journal: journal)
        options.maximumListeners = listeners
        options.aggregationInterval = configuration.aggregation.interval
        options.maximumBufferSize = configuration.aggregation.maxReadings
        options.directCompress = configuration.database.directCompress
        options.copyStreams = configuration.database.copyStreams
        options.storage = configuration.storage
        options.configurationPoll = configuration.configurationPollInterval
        options.shutdownGrace = configuration.shutdownGrace
        let silentTagAfter = configuration.opc.silentTagAfter
        options.silentTagAfter = silentTagAfter > .zero ? silentTagAfter : nil
        options.connections = configuration.opc.connectionDefaults
        options.security = security
        if let uri = security.applicationURI { options.connections.applicationURI = uri }
        let passwords = try PasswordStore(configuration, logger: logger)
        options.openPassword = { try passwords.open($0) }
        return options
    }

    /// nil unless REPLICA_ID is set. A connection pool of its own: no tenant's database keeps a renewal waiting.
    private static func makeLeases(
        _ configuration: DaemonConfiguration,
        _ pool: ConnectionPool,
        _ eventLoops: any EventLoopGroup,
        _ logger: Logger
    ) throws -> ReplicaLeases? {
        guard configuration.replica.isShared else { return nil }
        var limits = ConnectionPool.Limits(maxConnections: 1)
        limits.connectTimeout = configuration.replica.lease / 3
        limits.longestBackOff = min(.seconds(1), configuration.replica.lease / 10)
        limits.firstBackOff = min(.milliseconds(250), limits.longestBackOff)
        // Used all the time: it is not to be opened anew for each renewal of long leases.
        limits.idleTimeout = configuration.replica.lease
        do throws(StoreError) {
            return ReplicaLeases(
                options: ReplicaOptions(
                    id: configuration.replica.identity,
                    lease: configuration.replica.lease,
                    version: BuildInformation.version
                ),
                master: configuration.databaseURL,
                pool: try ConnectionPool(limits: limits, applicationName: "scada-ingestion leases"),
                queryPool: pool,
                eventLoops: eventLoops,
                logger: logger
            )
        } catch {
            Console.error("cannot prepare database connections: \(error)")
            throw ExitCode.unavailable
        }
    }

    private static func makeAPI(
        _ configuration: DaemonConfiguration,
        _ router: TenantRouter,
        _ pool: ConnectionPool,
        _ eventLoops: any EventLoopGroup,
        _ security: ClientSecurity,
        _ reverse: ReverseListener?,
        _ metrics: ScadaMetrics,
        _ health: HealthState,
        _ logger: Logger
    ) throws -> ControlServer {
        var options = ControlServerOptions(address: configuration.grpc.listenAddress, tls: configuration.grpc.tls)
        options.allowInsecure = configuration.grpc.allowInsecure
        let calls = metrics.grpcCalls
        var hooks = ControlServerHooks()
        var defaults = configuration.opc.connectionDefaults
        if let uri = security.applicationURI { defaults.applicationURI = uri }
        hooks.onCall = { calls.with($0.method, $0.code.description).add() }
        let handshakes = metrics.grpcFailedHandshakes.with()
        hooks.onFailedHandshake = { handshakes.add() }
        return ControlServer(
            options: options,
            backend: DaemonBackend(
                router: router,
                pool: pool,
                passwords: try PasswordStore(configuration, logger: logger),
                defaults: defaults,
                security: security,
                trust: CertificateTrust(folder: configuration.opc.pkiDirectory),
                eventLoops: eventLoops,
                reverse: reverse,
                owner: configuration.replica.identity,
                logger: logger
            ),
            health: health,
            authenticator: try makeAuthenticator(configuration, logger),
            hooks: hooks,
            logger: logger
        )
    }

    /// nil without GRPC_TOKENS_FILE: whoever reaches the port may call.
    private static func makeAuthenticator(
        _ configuration: DaemonConfiguration,
        _ logger: Logger
    ) throws -> Authenticator? {
        guard let file = configuration.grpc.tokensFile else { return nil }
        do throws(ControlServerError) {
            return try Authenticator(tokensFile: file, sha256: { HashAlgorithm.sha256.digest($0) }) { line, isError in
                logger.log(level: isError ? .error : .notice, "\(line)")
            }
        } catch {
            Console.error("GRPC_TOKENS_FILE: \(error)")
            throw ExitCode.configuration
        }
    }
}
