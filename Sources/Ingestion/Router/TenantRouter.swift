package import FoundationEssentials
package import Journal
package import Logging
package import Metrics
package import NIOCore
import ServiceLifecycle
import Synchronization
package import TimescaleStore

/// Owns the tenants: starts those the master database names, stops those it does not name any more.
///
/// A service: ``run()`` ends at graceful shutdown, when every tenant's intake has stopped and its journal is closed.
package actor TenantRouter: Service {
    private let environment: TenantEnvironment
    private let registry: TenantRegistry
    private var tenants: [UUID: Running] = [:]
    private let bell: Doorbell
    private let logger: Logger
    private nonisolated let published = Mutex(Published())
    private var reported: Set<RowProblem> = []
    private var failureReportedAt: ContinuousClock.Instant?
    private var isStopping = false

    private struct Running {
        var record: TenantRecord
        var tenant: Tenant
        var task: Task<Void, Never>
    }

    private struct Published {
        var tenants: [UUID: TenantShared] = [:]
        /// The master database was read at least once.
        var hasTenants = false
        var masterError: StoreError?
        var isStopping = false
        /// Ends a reading of the master database that is under way.
        var cancelReading: (@Sendable () -> Void)?
    }

    /// - Parameters:
    ///   - journals: closed by this service at its end.
    ///   - pool: the caller's to close, after this service.
    ///   - leases: where the connections are shared with other replicas; run and ended by this service.
    package init(
        options: IngestionOptions,
        journals: JournalDirectory,
        pool: ConnectionPool,
        metrics: ScadaMetrics,
        eventLoops: any EventLoopGroup,
        leases: ReplicaLeases? = nil,
        logger: Logger
    ) {
        environment = TenantEnvironment(
            options: options,
            journals: journals,
            pool: pool,
            metrics: metrics,
            eventLoops: eventLoops,
            listeners: ListenerPermits(options.maximumListeners),
            leases: leases,
            logger: logger
        )
        registry = TenantRegistry(pool: pool)
        bell = Doorbell(eventLoop: eventLoops.next())
        self.logger = logger
    }

    // MARK: For everybody, any thread

    /// The active tenants.
    package nonisolated var tenantList: [TenantShared] {
        published.withLock { Array($0.tenants.values) }.sorted { $0.id < $1.id }
    }

    package nonisolated func tenant(_ id: UUID) -> TenantShared? { published.withLock { $0.tenants[id] } }

    /// Why nothing can be promised yet; empty when all is well.
    package nonisolated var notReadyReasons: [String] {
        let (hasTenants, error, isStopping) = published.withLock { ($0.hasTenants, $0.masterError, $0.isStopping) }
        if isStopping { return ["shutting down"] }
        if !hasTenants {
            return [
                error.map { "the master database \(environment.options.master): \($0)" }
                    ?? "the master database has not been read yet"
            ]
        }
        // One tenant's trouble must not take the daemon out of service for the others.
        // Asked twice a second: the first that runs is looked at, as a rule, and not a thousand.
        let tenants = published.withLock { Array($0.tenants.values) }
        if tenants.contains(where: { $0.snapshot(withConnections: false).state == .running }) { return [] }
        return tenantList.map { $0.snapshot(withConnections: false) }.map { "tenant \($0.name): \($0.reason)" }
    }

    /// Why the tenants are not known; nil when they are.
    package nonisolated var masterTrouble: String? {
        let (hasTenants, error) = published.withLock { ($0.hasTenants, $0.masterError) }
        if hasTenants { return nil }
        return error.map { "\($0)" } ?? "the master database has not been read yet"
    }

    /// Tenants whose readings cannot be stored, and why.
    package nonisolated var troubles: [String] {
        tenantList.map { $0.snapshot(withConnections: false) }.filter { !$0.reason.isEmpty }.map {
            "tenant \($0.name): \($0.reason)"
        }
    }

    /// Reads the tenants now.
    package nonisolated func tenantsChanged() { bell.ring() }

    /// Reads a tenant's configuration now and returns when it was applied.
    package func reconfigure(_ id: UUID) async { await tenants[id]?.tenant.reconfigure() }

    /// The tenant's configuration changed: read it soon.
    package func configurationChanged(_ id: UUID) { tenants[id]?.tenant.configurationChanged() }

    /// nil: this replica runs every connection.
    package nonisolated var leases: ReplicaLeases? { environment.leases }

    // MARK: Life

    package func run() async throws {
        let leasing = leases.map { leases in Task { await leases.run() } }
        await withGracefulShutdownHandler {
            while !isStopping, !Task.isCancelled {
                let isRead = await reconcile()
                let pause = isRead ? environment.options.configurationPoll : .seconds(1)
                await bell.wait(until: .now() + .nanoseconds(pause.nanosecondsClamped))
                if Task.isShuttingDownGracefully { isStopping = true }
            }
        } onGracefulShutdown: {
            let cancelReading = self.published.withLock { published in
                published.isStopping = true
                return published.cancelReading
            }
            cancelReading?()
            self.bell.ring()
        }
        published.withLock { $0.isStopping = true }
        await leases?.leave()
        await stopAll()
        await leases?.stop()
        await leasing?.value
    }

    private func stopAll() async {
        // A part of the grace is for what comes after: closing journals, pool and servers.
        let end = ContinuousClock.now + environment.options.shutdownGrace * 8 / 10
        logger.info("stopping", metadata: ["tenants": "\(tenants.count)"])
        await withTaskGroup(of: Void.self) { group in
            for running in tenants.values {
                group.addTask {
                    await running.tenant.stop(graceEnd: end, keepsSubscriptions: true)
                    // It may be waiting for an answer that a dead database never gives.
                    running.task.cancel()
                    await running.task.value
                }
            }
        }
        tenants = [:]
        do throws(JournalError) { try await environment.journals.close() } catch {
            logger.error("the journals could not be closed in order", metadata: ["error": "\(error)"])
        }
        logger.info("stopped")
    }

    private func reconcile() async -> Bool {
        do throws(StoreError) {
            let (records, problems) = try await readMaster()
            if let since = failureReportedAt {
                failureReportedAt = nil
                logger.notice(
                    "the master database answers again",
                    metadata: ["duration_ms": "\((ContinuousClock.now - since).milliseconds)"]
                )
            }
            for problem in problems where !reported.contains(problem) {
                logger.error("tenants: \(problem)")
            }
            reported = Set(problems)
            published.withLock {
                $0.hasTenants = true
                $0.masterError = nil
            }
            await apply(records)
            return true
        } catch {
            published.withLock { $0.masterError = error }
            if failureReportedAt == nil, error.code != .cancelled {
                failureReportedAt = .now
                logger.error(
                    "the master database cannot be read; running tenants go on",
                    metadata: ["database": "\(environment.options.master)", "error": "\(error)"]
                )
            }
            return false
        }
    }

    /// The end of the daemon does not wait for a master database that does not answer.
    private func readMaster() async throws(StoreError) -> (tenants: [TenantRecord], problems: [RowProblem]) {
        let registry = registry
        let master = environment.options.master
        let reading = Task { () async -> Result<(tenants: [TenantRecord], problems: [RowProblem]), StoreError> in
            do throws(StoreError) {
                let answer = try await registry.activeTenants(master: master)
                return .success((answer.tenants, answer.problems))
            } catch {
                return .failure(error)
            }
        }
        let isStopping = published.withLock { published in
            published.cancelReading = { reading.cancel() }
            return published.isStopping
        }
        if isStopping { reading.cancel() }
        defer { published.withLock { $0.cancelReading = nil } }
        return try await reading.value.get()
    }

    private func apply(_ records: [TenantRecord]) async {
        let wanted = Dictionary(records.map { ($0.id, $0) }) { first, _ in first }
        for (id, running) in tenants where wanted[id]?.url != running.record.url {
            logger.info("tenant ended", metadata: ["tenant_id": "\(id.uuidString.lowercased())"])
            await running.tenant.stop(graceEnd: .now + .seconds(5), keepsSubscriptions: wanted[id] != nil)
            running.task.cancel()
            await running.task.value
            tenants[id] = nil
        }
        for (id, record) in wanted where tenants[id] == nil {
            if isStopping { break }
            let tenant = Tenant(record, environment: environment)
            tenants[id] = Running(record: record, tenant: tenant, task: Task { await tenant.run() })
            logger.info(
                "tenant started",
                metadata: ["tenant_id": "\(id.uuidString.lowercased())", "database": "\(record.url)"]
            )
        }
        let shared = tenants.mapValues { $0.tenant.shared }
        published.withLock { $0.tenants = shared }
    }
}
