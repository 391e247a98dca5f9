import FoundationEssentials
import OPCUASecurity
import TimescaleStore

/// One run of `migrate`: which databases, in which order, and a line for each as it ends.
///
/// In a dry run standard output is SQL: everything else on it is a comment.
struct MigrationRun {
    enum Scope {
        case everything, masterOnly, allTenants
        case tenants([UUID])
    }

    let pool: ConnectionPool
    let master: DatabaseURL
    let dryRun: Bool
    private let migrator: Migrator
    /// Databases that are as they should be, and others.
    var done = 0
    private var failed = 0
    /// Passwords that no key opens.
    var unreadable = 0

    init(pool: ConnectionPool, master: DatabaseURL, storage: StorageSettings, dryRun: Bool) {
        migrator = Migrator(settings: storage)
        self.pool = pool
        self.master = master
        self.dryRun = dryRun
    }

    /// Instead of migrating: the tenants' passwords.
    /// - Returns: whether all of them could be looked at. Those that no key opens are counted in ``unreadable``.
    mutating func performReencryption(_ scope: Scope, cipher: SecretCipher) async -> Bool {
        guard let chosen = await tenants(scope, false) else { return false }
        await reencrypt(chosen, cipher: cipher)
        return failed == 0
    }

    /// - Returns: whether every database is as it should be now.
    mutating func perform(_ scope: Scope) async -> Bool {
        let start = ContinuousClock.now
        var masterIsIncomplete = false
        switch scope {
        case .everything, .masterOnly:
            // Without the master database nobody knows the tenants.
            guard let report = await migrateMaster() else { return false }
            masterIsIncomplete = dryRun && !report.applied.isEmpty
        case .allTenants, .tenants: break
        }
        if case .masterOnly = scope { return failed == 0 }
        guard let chosen = await tenants(scope, masterIsIncomplete) else { return failed == 0 }
        await migrate(chosen)
        let verb = dryRun ? "looked at" : "migrated"
        say("\(done) \(done == 1 ? "database" : "databases") \(verb), \(failed) failed, \(elapsed(since: start))")
        return failed == 0
    }

    private mutating func migrateMaster() async -> MigrationReport? {
        let start = ContinuousClock.now
        do throws(StoreError) {
            let report = try await migrator.migrateMaster(master, pool: pool, dryRun: dryRun)
            succeeded("master database \(master)", report, elapsed(since: start))
            return report
        } catch {
            failed("master database \(master)", error, "DATABASE_URL")
            return nil
        }
    }

    /// The tenants to migrate; nil after saying why there are none.
    private mutating func tenants(_ scope: Scope, _ masterIsIncomplete: Bool) async -> [TenantRecord]? {
        let active: [TenantRecord]
        do throws(StoreError) {
            let (tenants, problems) = try await TenantRegistry(pool: pool).activeTenants(master: master)
            active = tenants
            for problem in problems where Self.wants(problem, scope) {
                failed += 1
                Console.error("\(problem); correct the row in the master database \(master)")
            }
            guard case .tenants(let ids) = scope else { return active }
            for id in ids where !tenants.contains(where: { $0.id == id }) && !problems.contains(where: { $0.is(id) }) {
                failed += 1
                Console.error(
                    "tenant \(id.lowercase) is not an active tenant of \(master): it is missing, suspended or deleted"
                )
            }
            return active.filter { ids.contains($0.id) }
        } catch {
            if masterIsIncomplete, error.code == .schema {
                say("the tenants cannot be read before the master database is migrated: theirs are not shown")
                return nil
            }
            let isIncomplete = ["42P01", "42703"].contains(error.sqlState)
            let cure = isIncomplete ? "run scada-ingestion migrate --master-only first" : nil
            failed("reading the tenants from \(master)", error, "DATABASE_URL", cure: cure)
            return nil
        }
    }

    private static func wants(_ problem: RowProblem, _ scope: Scope) -> Bool {
        guard case .tenants(let ids) = scope else { return true }
        return ids.contains { problem.is($0) }
    }

    private mutating func migrate(_ tenants: [TenantRecord]) async {
        await migrator.migrateAll(tenants, pool: pool, dryRun: dryRun) { tenant, result, duration in
            switch result {
            case .success(let report): self.succeeded(tenant.label, report, Self.format(duration))
            case .failure(let error): failed(tenant.label, error, "the tenant's database_url")
            }
        }
    }

    // MARK: Lines

    private mutating func succeeded(_ what: String, _ report: MigrationReport, _ duration: String) {
        done += 1
        let changes: String
        switch (report.applied.isEmpty, dryRun) {
        case (true, _): changes = "up to date"
        case (false, true): changes = "would apply \(report.applied.joined(separator: ", "))"
        case (false, false): changes = "applied \(report.applied.joined(separator: ", "))"
        }
        let edition = report.layout == nil ? "" : ", \(report.edition)"
        say("\(what): \(changes)\(edition) (\(duration))")
        for notice in report.notices { say("  note: \(notice)") }
        if dryRun, !report.sql.isEmpty { Console.output(report.sql) }
    }

    mutating func failed(_ what: String, _ error: StoreError, _ variable: String, cure: String? = nil) {
        failed += 1
        let cure = (cure ?? DatabaseCommand.cure(error, variable: variable)).map { "; \($0)" } ?? ""
        Console.error("\(what): \(error)\(cure)")
    }

    func say(_ line: String) { Console.output(dryRun ? "-- \(line)" : line) }

    private func elapsed(since start: ContinuousClock.Instant) -> String { Self.format(.now - start) }

    private static func format(_ duration: Duration) -> String { "\(duration.wholeMilliseconds) ms" }
}

extension TenantRecord {
    /// Id, slug and database, without user and password.
    var label: String { "tenant \(id.lowercase)\(slug.map { " (\($0))" } ?? "") \(url)" }
}

extension RowProblem {
    fileprivate func `is`(_ id: UUID) -> Bool { row.lowercased() == id.lowercase }
}

extension UUID {
    /// As PostgreSQL writes it.
    var lowercase: String { uuidString.lowercased() }
}
