import FoundationEssentials
import Ingestion
import OPCUASecurity
import TimescaleStore

extension CheckRun {
    private static let patience: Duration = .seconds(20)

    mutating func checkDatabases(_ pool: ConnectionPool) async {
        let master = configuration.databaseURL
        let subject = "master database \(master)"
        let pending: [String]
        do throws(StoreError) {
            try await lookAtServer(pool, master, subject)
            let report = try await Migrator().migrateMaster(master, pool: pool, dryRun: true, timeout: Self.patience)
            pending = report.applied
            for notice in report.notices { add(.warn(subject, notice)) }
            let (active, problems) = try await TenantRegistry(pool: pool).activeTenants(
                master: master,
                timeout: Self.patience
            )
            tenants = active
            for problem in problems {
                add(.fail(subject, "\(problem)", cure: "correct the row", .service))
            }
        } catch {
            let isIncomplete = ["42P01", "42703"].contains(error.sqlState)
            let cure =
                isIncomplete ? "run scada-ingestion migrate" : DatabaseCommand.cure(error, variable: "DATABASE_URL")
            return add(.fail(subject, "\(error)", cure: cure, .service))
        }
        if !pending.isEmpty {
            add(
                .warn(
                    subject,
                    "its schema lacks \(pending.joined(separator: ", "))",
                    cure: "run scada-ingestion migrate --master-only"
                )
            )
        }
        let tenants = tenants ?? []
        if tenants.isEmpty {
            add(
                .warn(
                    subject,
                    "there is no active tenant: the daemon would wait for one",
                    cure: "add one with scada-ingestion tenant add, or in the platform"
                )
            )
        }
        for finding in Self.sharedDatabases(tenants) { add(finding) }
        await checkReplicas(pool, patience: Self.patience)
        await checkTenants(tenants, pool)
    }

    private mutating func lookAtServer(
        _ pool: ConnectionPool,
        _ url: DatabaseURL,
        _ subject: String
    ) async throws(StoreError) {
        let facts = try await pool.withConnection(to: url, for: .admin, timeout: Self.patience) { connection in
            try DatabaseFacts(connection)
        }
        for finding in facts.findings(subject, wanted: configuration.database.maxConnections) { add(finding) }
    }

    /// Tenants whose URLs lead to one database: host, port and name are compared.
    static func sharedDatabases(_ tenants: [TenantRecord]) -> [Finding] {
        let groups = Dictionary(grouping: tenants) { $0.url.displayName }.filter { $0.value.count > 1 }
        return groups.sorted { $0.key < $1.key }.map { name, tenants in
            let owners = tenants.map { $0.slug ?? $0.id.lowercase }.sorted()
            return .fail(
                "database \(name)",
                "it belongs to \(owners.joined(separator: " and ")), so its readings would be stored "
                    + "once for each of them",
                cure: "give each tenant a database of its own",
                .service
            )
        }
    }

    /// A few at a time; findings in the tenants' order.
    private mutating func checkTenants(_ tenants: [TenantRecord], _ pool: ConnectionPool) async {
        let cipher: SecretCipher?
        do throws(SecretCipherError) {
            cipher = try configuration.encryption.makeCipher()
        } catch {
            return add(.fail("ENCRYPTION_KEY", "\(error)", .configuration))
        }
        let defaults = configuration.opc.connectionDefaults
        let storage = configuration.storage
        var outcomes: [Int: TenantCheck] = [:]
        var told = 0
        await withTaskGroup(of: (Int, TenantCheck).self) { group in
            var next = 0
            func start() {
                guard next < tenants.count else { return }
                let index = next
                next += 1
                group.addTask {
                    (index, await TenantCheck.perform(tenants[index], pool, cipher, defaults, storage, Self.patience))
                }
            }
            for _ in 0..<4 { start() }
            for await (index, outcome) in group {
                outcomes[index] = outcome
                start()
                while let outcome = outcomes.removeValue(forKey: told) {
                    told += 1
                    for finding in outcome.findings { add(finding) }
                    connectionCount += outcome.connections
                    tagCount += outcome.tags
                }
            }
        }
    }
}

/// What a server says about itself.
struct DatabaseFacts: Sendable, Equatable {
    var version: Int
    var isStandby: Bool
    /// Connections that are left for users that are not superusers.
    var freeConnections: Int
    /// Not encrypted, and the server is another machine.
    var isExposed: Bool

    init(version: Int, isStandby: Bool, freeConnections: Int, isExposed: Bool) {
        self.version = version
        self.isStandby = isStandby
        self.freeConnections = freeConnections
        self.isExposed = isExposed
    }

    /// Asks. Blocks.
    init(_ connection: PGConnection) throws(StoreError) {
        let facts = try connection.execute(
            """
            SELECT pg_is_in_recovery(),
                   current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
                       - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
                   NOT coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)
                       AND inet_server_addr() IS NOT NULL AND NOT inet_server_addr() <<= inet '127.0.0.0/8'
                       AND inet_server_addr() <> inet '::1' AND inet_server_addr() IS DISTINCT FROM inet_client_addr()
            """
        )
        version = connection.serverVersion
        isStandby = facts.bool(0, 0) ?? false
        freeConnections = Int(facts.int(0, 1) ?? 0)
        isExposed = facts.bool(0, 2) ?? false
    }

    /// - Parameter wanted: DB_MAX_CONNECTIONS.
    func findings(_ subject: String, wanted: Int) -> [Finding] {
        var findings: [Finding] = []
        if isStandby {
            findings.append(
                .fail(subject, "it is a standby and takes no writes", cure: "name the primary in the URL", .service)
            )
        } else {
            findings.append(.ok(subject, "PostgreSQL \(version / 10_000).\(version % 10_000) answers"))
        }
        if freeConnections + 1 < wanted {
            findings.append(
                .warn(
                    subject,
                    "the server has \(freeConnections) free connections, DB_MAX_CONNECTIONS is \(wanted)",
                    cure: "lower DB_MAX_CONNECTIONS, or raise max_connections of the server"
                )
            )
        }
        if isExposed {
            findings.append(
                .warn(
                    subject,
                    "the connection is not encrypted, readings and passwords travel in the clear",
                    cure: "add sslmode=verify-full to the URL"
                )
            )
        }
        return findings
    }
}
