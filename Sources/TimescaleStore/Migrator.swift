/// Brings a database to the schema of this program: versioned, checksummed, one transaction, one at a time per database.
///
/// A database the platform already populated is completed, never altered destructively. Two migrators at once are fine: the
/// advisory lock belongs to the transaction, so it holds through PgBouncer in transaction mode as well.
package struct Migrator: Sendable {
    /// "scada" in ASCII: the advisory lock of migrations and partition maintenance.
    static let lockKey: Int64 = 0x7363_6164_61

    package var settings: StorageSettings

    package init(settings: StorageSettings = StorageSettings()) { self.settings = settings }

    /// Creates or completes the master schema.
    package func migrateMaster(
        _ url: DatabaseURL,
        pool: ConnectionPool,
        dryRun: Bool = false,
        timeout: Duration = .seconds(300)
    ) async throws(StoreError) -> MigrationReport {
        try await run(.master, url, pool, dryRun, timeout)
    }

    /// Creates or completes a tenant's schema.
    package func migrateTenant(
        _ url: DatabaseURL,
        pool: ConnectionPool,
        dryRun: Bool = false,
        timeout: Duration = .seconds(300)
    ) async throws(StoreError) -> MigrationReport {
        try await run(.tenant, url, pool, dryRun, timeout)
    }

    /// Migrates every given tenant, a few at a time; one that fails does not stop the others.
    ///
    /// - Parameter progress: called as each tenant ends, from the calling task, with how long it took.
    @discardableResult
    package func migrateAll(
        _ tenants: [TenantRecord],
        pool: ConnectionPool,
        dryRun: Bool = false,
        timeout: Duration = .seconds(300),
        progress: (TenantRecord, Result<MigrationReport, StoreError>, Duration) -> Void = { _, _, _ in }
    ) async -> [(tenant: TenantRecord, result: Result<MigrationReport, StoreError>)] {
        var results: [(Int, Result<MigrationReport, StoreError>)] = []
        await withTaskGroup(of: (Int, Result<MigrationReport, StoreError>, Duration).self) { group in
            var next = 0
            func add() {
                guard next < tenants.count else { return }
                let index = next
                next += 1
                group.addTask {
                    let start = ContinuousClock.now
                    do throws(StoreError) {
                        let report = try await run(.tenant, tenants[index].url, pool, dryRun, timeout)
                        return (index, .success(report), .now - start)
                    } catch {
                        return (index, .failure(error), .now - start)
                    }
                }
            }
            for _ in 0..<4 { add() }
            for await (index, result, duration) in group {
                results.append((index, result))
                progress(tenants[index], result, duration)
                add()
            }
        }
        return results.sorted { $0.0 < $1.0 }.map { (tenants[$0.0], $0.1) }
    }

    private func run(
        _ scope: Migration.Scope,
        _ url: DatabaseURL,
        _ pool: ConnectionPool,
        _ dryRun: Bool,
        _ timeout: Duration
    ) async throws(StoreError) -> MigrationReport {
        try await pool.withConnection(to: url, for: .admin, timeout: timeout) { connection in
            try migrate(scope, connection, dryRun: dryRun)
        }
    }

    func migrate(
        _ scope: Migration.Scope,
        _ connection: PGConnection,
        dryRun: Bool
    ) throws(StoreError) -> MigrationReport {
        guard connection.serverVersion >= 140_000 else {
            throw StoreError(
                .schema,
                "PostgreSQL 14 or later is needed, the server is \(connection.serverVersion / 10000)"
            )
        }
        _ = connection.takeNotices()
        return try connection.transaction(readOnly: dryRun) { (connection) throws(StoreError) in
            if !dryRun {
                try connection.execute(
                    """
                    SET LOCAL client_min_messages = warning; SELECT pg_advisory_xact_lock(\(Self.lockKey)); \
                    SET LOCAL lock_timeout = '30s'
                    """
                )
            }
            return try migrateLocked(scope, connection, dryRun)
        }
    }

    private func migrateLocked(
        _ scope: Migration.Scope,
        _ connection: PGConnection,
        _ dryRun: Bool
    ) throws(StoreError) -> MigrationReport {
        var notices: [String] = []
        let edition: ServerEdition
        if scope == .tenant {
            edition = try Self.detectEdition(connection, createExtension: !dryRun, &notices)
        } else {
            edition = .plain
        }
        if !dryRun { try connection.execute(Self.ledger) }
        let recorded = try recordedMigrations(scope, connection)
        let layout = recorded["002_readings"]?.layout.flatMap(StorageLayout.init(rawValue:)) ?? edition.layout
        if scope == .tenant, layout != edition.layout {
            notices.append(
                "the server is now \(edition), this database keeps the \(layout.rawValue) layout it began with"
            )
        }
        var report = MigrationReport(edition: edition, layout: scope == .tenant ? layout : nil, notices: notices)
        let known = Migration.all.filter { $0.scope == scope }
        for name in recorded.keys.sorted() where !known.contains(where: { $0.name == name }) {
            report.notices.append("migration \(name) comes from a newer version of this program")
        }
        for migration in known where migration.layout == nil || migration.layout == layout {
            let sql = settings.render(migration.sql)
            let checksum = migration.isRepeated ? try Self.checksum(of: sql, connection) : migration.checksum
            if let done = recorded[migration.name] {
                if done.checksum == checksum { continue }
                guard migration.isRepeated else {
                    throw StoreError(
                        .schema,
                        """
                        migration \(migration.name) was applied with checksum \(done.checksum.prefix(12)), this program \
                        has \(checksum.prefix(12)): the file was changed after its release
                        """
                    )
                }
            }
            report.applied.append(migration.name)
            if dryRun {
                report.sql += "-- \(scope.rawValue)/\(migration.name)\n\(sql)\n"
                continue
            }
            try apply(migration, sql, checksum, connection)
        }
        if !dryRun, layout == .plain, scope == .tenant {
            try PartitionMaintenance(settings: settings).createAhead(connection)
        }
        report.notices += connection.takeNotices()
        return report
    }

    private func apply(
        _ migration: Migration,
        _ sql: String,
        _ checksum: String,
        _ connection: PGConnection
    ) throws(StoreError) {
        do throws(StoreError) {
            try connection.execute(sql)
        } catch {
            var named = error
            named.message = "migration \(migration.name): \(error.message)"
            throw named
        }
        try connection.query(
            """
            INSERT INTO scada_schema_migrations (scope, name, layout, checksum) VALUES ($1, $2, $3, $4)
            ON CONFLICT (scope, name) DO UPDATE SET checksum = EXCLUDED.checksum, applied_at = now()
            """,
            [
                .text(migration.scope.rawValue), .text(migration.name),
                migration.layout.map { .text($0.rawValue) } ?? .null, .text(checksum),
            ]
        )
    }

    private static var ledger: String {
        """
        CREATE TABLE IF NOT EXISTS scada_schema_migrations (
            scope text NOT NULL,
            name text NOT NULL,
            layout text,
            checksum text NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (scope, name)
        )
        """
    }

    private func recordedMigrations(
        _ scope: Migration.Scope,
        _ connection: PGConnection
    ) throws(StoreError) -> [String: (layout: String?, checksum: String)] {
        let exists = try connection.execute("SELECT to_regclass('scada_schema_migrations') IS NOT NULL")
        guard exists.bool(0, 0) == true else { return [:] }
        let rows = try connection.query(
            "SELECT name, layout, checksum FROM scada_schema_migrations WHERE scope = $1",
            [.text(scope.rawValue)]
        )
        var recorded: [String: (layout: String?, checksum: String)] = [:]
        for row in 0..<rows.rowCount {
            recorded[rows.string(row, 0) ?? ""] = (rows.string(row, 1), rows.string(row, 2) ?? "")
        }
        return recorded
    }

    /// The server hashes: this module has no cryptography of its own.
    private static func checksum(of text: String, _ connection: PGConnection) throws(StoreError) -> String {
        let result = try connection.query("SELECT encode(sha256(convert_to($1::text, 'UTF8')), 'hex')", [.text(text)])
        return result.string(0, 0) ?? ""
    }
}
