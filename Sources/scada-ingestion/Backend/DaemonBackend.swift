import ControlAPI
import FoundationEssentials
import Ingestion
import Logging
import NIOCore
import OPCUAClient
import TimescaleStore

/// The daemon behind the control API.
struct DaemonBackend: ControlBackend {
    let router: TenantRouter
    let passwords: PasswordStore
    let logger: Logger
    let registry: TenantRegistry
    let gaps: GapLedger
    /// What applies to every OPC UA connection, a probe's too.
    let defaults: ConnectionDefaults
    /// Own certificate and trust store.
    let security: ClientSecurity?
    let trust: CertificateTrust
    let eventLoops: any EventLoopGroup
    /// Where servers dial in.
    let reverse: ReverseListener?
    /// Name of this replica: who runs the connections that run here.
    let owner: String
    private let reader: ReadingsReader

    init(
        router: TenantRouter,
        pool: ConnectionPool,
        passwords: PasswordStore,
        defaults: ConnectionDefaults,
        security: ClientSecurity? = nil,
        trust: CertificateTrust,
        eventLoops: any EventLoopGroup,
        reverse: ReverseListener? = nil,
        owner: String = "",
        logger: Logger
    ) {
        self.router = router
        self.passwords = passwords
        self.defaults = defaults
        self.security = security
        self.trust = trust
        self.eventLoops = eventLoops
        self.reverse = reverse
        self.owner = owner
        self.logger = logger
        registry = TenantRegistry(pool: pool)
        gaps = GapLedger(pool: pool)
        reader = ReadingsReader(pool: pool)
    }

    /// The tenant of a request.
    func tenant(_ id: UUID) throws(ControlError) -> TenantShared {
        if let tenant = router.tenant(id) { return tenant }
        if let reason = router.masterTrouble {
            throw .unavailable("the tenants are not known yet: \(reason)")
        }
        throw .notFound("there is no active tenant \(id.uuidString.lowercased())")
    }

    /// Time left for the work behind a call.
    static func timeout(_ context: CallContext, atMost limit: Duration = .seconds(30)) -> Duration {
        guard let deadline = context.deadline else { return limit }
        return max(.milliseconds(1), min(limit, deadline - .now))
    }

    // MARK: Readings

    func queryReadings(
        _ query: ControlAPI.ReadingsQuery,
        context: CallContext
    ) async throws -> ControlAPI.ReadingsPage {
        let tenant = try tenant(query.tenantID)
        return try await page(query, of: tenant, context)
    }

    func streamReadings(
        _ query: ControlAPI.ReadingsQuery,
        to writer: ControlAPI.ReadingsWriter,
        context: CallContext
    ) async throws {
        let tenant = try tenant(query.tenantID)
        var query = query
        while true {
            let page = try await page(query, of: tenant, context)
            try await writer.write(page)
            guard let next = page.nextPageToken else { return }
            query.pageToken = next
        }
    }

    private func page(
        _ query: ControlAPI.ReadingsQuery,
        of tenant: TenantShared,
        _ context: CallContext
    ) async throws -> ControlAPI.ReadingsPage {
        let stored = TimescaleStore.ReadingsQuery(
            wellID: query.wellID,
            startMicros: query.range.startMicros ?? .min,
            endMicros: query.range.endMicros ?? .max,
            tagNodeIDs: query.tagNodeIDs,
            resolution: Self.resolution(query.resolution),
            ascending: query.ascending
        )
        do throws(StoreError) {
            let page = try await reader.page(
                stored,
                in: tenant.url,
                limit: query.limit,
                maxBytes: query.maxPageBytes,
                bytesPerRow: Reading.fixedSize,
                pageToken: query.pageToken,
                timeout: Self.timeout(context)
            )
            return ControlAPI.ReadingsPage(
                readings: page.readings.map(Self.reading),
                nextPageToken: page.nextPageToken
            )
        } catch {
            throw Self.answer(error, tenant, context)
        }
    }

    private static func resolution(_ resolution: Resolution) -> TimescaleStore.ReadingsQuery.Resolution {
        switch resolution {
        case .raw: .raw
        case .hourly: .hourly
        case .daily: .daily
        case .monthly: .monthly
        }
    }

    private static func reading(_ row: ReadingRow) -> Reading {
        Reading(
            wellID: row.wellID,
            tagNodeID: row.tagNodeID,
            timestampMicros: row.timestampMicros,
            value: row.value,
            quality: ReadingQuality(rawValue: row.quality) ?? .bad,
            statusCode: row.statusCode.map { UInt32(truncatingIfNeeded: $0) } ?? 0,
            valueText: row.valueText ?? "",
            min: row.min ?? 0,
            max: row.max ?? 0,
            count: row.count ?? 0
        )
    }

    /// A database's failure in the API's words.
    static func answer(_ error: StoreError, _ tenant: TenantShared, _ context: CallContext) -> ControlError {
        answer(error, tenant: tenant.name, isLate: context.deadline.map { $0 <= .now } ?? false)
    }

    /// - Parameter isLate: the caller's deadline has passed.
    static func answer(_ error: StoreError, tenant: String, isLate: Bool) -> ControlError {
        switch error.code {
        case .invalidPageToken:
            .invalid(
                "page_token",
                "is not a token of this question: repeat the question unchanged, or begin without one"
            )
        case .invalidArgument: ControlError(.invalidArgument, error.message)
        case .timeout where isLate: ControlError(.deadlineExceeded, "the deadline has passed", cause: error)
        case .timeout: .unavailable("the database of tenant \(tenant) did not answer in time", cause: error)
        case .cancelled: ControlError(.cancelled, "cancelled", cause: error)
        case .resources where error.sqlState == nil:
            ControlError(.resourceExhausted, "too many queries wait for the database of tenant \(tenant)", cause: error)
        case .schema where error.sqlState == "3D000":
            .unavailable("the database of tenant \(tenant) does not exist", cause: error)
        case .schema:
            ControlError(
                .failedPrecondition,
                "the database of tenant \(tenant) lacks tables or privileges: run scada-ingestion migrate",
                cause: error
            )
        case .connection, .authentication, .resources, .contention, .readOnly, .outcomeUnknown, .closed:
            .unavailable("the database of tenant \(tenant) cannot be reached or refuses", cause: error)
        default: ControlError(.internalError, "the database refused; the server's log has the details", cause: error)
        }
    }

    // MARK: State

    func aggregatorStats(tenantID: UUID, context: CallContext) async throws -> AggregatorStats {
        let snapshot = try tenant(tenantID).snapshot()
        return AggregatorStats(
            bufferSize: snapshot.backlog,
            timeSinceLastFlush: snapshot.timeSinceLastFlush,
            journalBytes: Int64(snapshot.journalBytes),
            backlogReadings: Int64(snapshot.backlog),
            oldestUnstoredAge: snapshot.oldestUnstoredAge
        )
    }

    func healthCheck(context: CallContext) async throws -> DaemonHealth {
        let snapshots = router.tenantList.filter { context.caller.mayAccess($0.id) }.map { $0.snapshot() }
        let tenants = snapshots.map(Self.health)
        let isReady = router.notReadyReasons.isEmpty
        let status: HealthWord =
            isReady ? (tenants.allSatisfy { $0.status == .healthy } ? .healthy : .degraded) : .unhealthy
        return DaemonHealth(
            status: status,
            activeConnections: snapshots.reduce(0) { $0 + $1.activeConnections },
            activeTenants: snapshots.count,
            version: BuildInformation.version,
            tenants: tenants
        )
    }

    private static func health(_ snapshot: TenantSnapshot) -> TenantHealth {
        var health = TenantHealth(tenantID: snapshot.id, name: snapshot.name, status: .healthy)
        health.connectionsTotal = snapshot.connections.count
        health.connectionsActive = snapshot.activeConnections
        health.isDatabaseReachable = snapshot.isDatabaseReachable
        health.backlogReadings = Int64(snapshot.backlog)
        health.oldestUnstoredAge = snapshot.oldestUnstoredAge
        health.reason = snapshot.reason
        switch snapshot.state {
        case .running:
            let missing = health.connectionsTotal - health.connectionsActive
            if missing > 0 {
                health.status = .degraded
                health.reason = "\(missing) of \(health.connectionsTotal) connections are not connected"
            }
        case .starting: health.status = .degraded
        case .databaseAway, .journalFull: health.status = .unhealthy
        }
        return health
    }
}
