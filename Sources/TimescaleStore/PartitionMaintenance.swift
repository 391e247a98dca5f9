/// Makes daily partitions ahead and drops them behind, for databases in the plain layout.
///
/// Run it at the start and then every hour or so per tenant; with several replicas one does it and the others find nothing
/// to do. Every partition is a short transaction of its own with a lock timeout, so that a long query delays maintenance
/// and never the writers; what could not be done is in the report and is done next time.
package struct PartitionMaintenance: Sendable {
    package struct Report: Sendable {
        /// False for the TimescaleDB layout and tables that are not partitioned: there was nothing to maintain.
        package var isNeeded = true
        package var created: [String] = []
        package var dropped: [String] = []
        /// Rows that were in the default partition and now are in one of their own.
        package var moved: Int64 = 0
        /// Rows of the default partition that were older than the retention.
        package var expired: Int64 = 0
        package var problems: [StoreError] = []
    }

    /// Days taken out of the default partition in one run.
    private static let movedDaysBound = 31

    package var settings: StorageSettings

    package init(settings: StorageSettings = StorageSettings()) { self.settings = settings }

    package func run(
        _ url: DatabaseURL,
        pool: ConnectionPool,
        timeout: Duration = .seconds(300)
    ) async throws(StoreError) -> Report {
        try await pool.withConnection(to: url, for: .admin, timeout: timeout) { connection in try run(connection) }
    }

    private struct Day {
        var table: String
        var from: String
        var to: String
    }

    func run(_ connection: PGConnection) throws(StoreError) -> Report {
        var report = Report()
        let kind = try connection.execute(
            """
            SELECT (SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass('scada_readings')),
                   to_regclass('scada_readings_default') IS NOT NULL
            """
        )
        guard kind.bool(0, 0) == true else {
            report.isNeeded = false
            return report
        }
        let hasDefault = kind.bool(0, 1) == true
        for day in try missingDays(connection, hasDefault: hasDefault) {
            do throws(StoreError) {
                let moved = try connection.transaction { (connection) throws(StoreError) -> Int64? in
                    try prepare(connection) ? try create(day, connection, hasDefault: hasDefault) : nil
                }
                if let moved {
                    report.created.append(day.table)
                    report.moved += moved
                }
            } catch {
                guard connection.isUsable else { throw error }
                report.problems.append(error)
            }
        }
        try drop(connection, &report)
        if hasDefault { try expire(connection, &report) }
        return report
    }

    /// Within an open transaction: the partitions from yesterday to `partitionDaysAhead`, as far as they are missing.
    func createAhead(_ connection: PGConnection) throws(StoreError) {
        let kind = try connection.execute(
            """
            SELECT (SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass('scada_readings')),
                   to_regclass('scada_readings_default') IS NOT NULL
            """
        )
        guard kind.bool(0, 0) == true else { return }
        for day in try missingDays(connection, hasDefault: false) {
            _ = try create(day, connection, hasDefault: kind.bool(0, 1) == true)
        }
    }

    private func missingDays(_ connection: PGConnection, hasDefault: Bool) throws(StoreError) -> [Day] {
        let ahead = max(1, min(settings.partitionDaysAhead, 366))
        let today = "date_trunc('day', now(), 'UTC')"
        var days = """
            SELECT day FROM generate_series(\(today) - interval '1 day', \(today) + interval '\(ahead) days', \
            interval '1 day') AS day
            """
        if hasDefault {
            days += """
                 UNION (SELECT DISTINCT date_trunc('day', "timestamp", 'UTC') FROM scada_readings_default \
                WHERE "timestamp" >= \(today) - interval '\(retentionDays) days' \
                AND "timestamp" < \(today) + interval '\(ahead + 1) days' LIMIT \(Self.movedDaysBound))
                """
        }
        // Days are 24 hours of UTC; text in and out keeps the session's time zone out of it.
        let rows = try connection.execute(
            """
            SELECT 'scada_readings_p' || to_char(day AT TIME ZONE 'UTC', 'YYYYMMDD'),
                   to_char(day AT TIME ZONE 'UTC', 'YYYY-MM-DD') || ' 00:00:00+00',
                   to_char(day AT TIME ZONE 'UTC' + interval '1 day', 'YYYY-MM-DD') || ' 00:00:00+00'
            FROM (\(days)) AS wanted
            WHERE to_regclass('scada_readings_p' || to_char(day AT TIME ZONE 'UTC', 'YYYYMMDD')) IS NULL
            ORDER BY day
            """
        )
        return (0..<rows.rowCount).map {
            Day(table: rows.string($0, 0) ?? "", from: rows.string($0, 1) ?? "", to: rows.string($0, 2) ?? "")
        }
    }

    private var retentionDays: Int { max(1, min(settings.retentionDays, 36_500)) }

    /// Lock timeout and the lock that keeps two replicas from the same work. False when another one has it.
    private func prepare(_ connection: PGConnection) throws(StoreError) -> Bool {
        try connection.execute("SET LOCAL lock_timeout = '3s'; SELECT pg_try_advisory_xact_lock(\(Migrator.lockKey))")
            .bool(0, 0) == true
    }

    /// ATTACH instead of PARTITION OF: it does not lock out the parent's readers and writers.
    ///
    /// Where rows have to be moved they are locked out, for as long as that takes: a query that has looked up the partitions, and
    /// waits for the default one to plan on, would find the rows gone there and not know of the partition they went to.
    /// - Returns: the rows moved, or nil when somebody else made the partition meanwhile.
    private func create(_ day: Day, _ connection: PGConnection, hasDefault: Bool) throws(StoreError) -> Int64? {
        let exists = try connection.query("SELECT to_regclass($1::text) IS NOT NULL", [.text(day.table)])
        if exists.bool(0, 0) == true { return nil }
        let table = PGConnection.quoteIdentifier(day.table)
        let isOfDay = #""timestamp" >= '\#(day.from)' AND "timestamp" < '\#(day.to)'"#
        var moves = false
        if hasDefault {
            let found = try connection.execute("SELECT EXISTS (SELECT FROM scada_readings_default WHERE \(isOfDay))")
            moves = found.bool(0, 0) == true
            if moves { try connection.execute("LOCK TABLE ONLY scada_readings IN ACCESS EXCLUSIVE MODE") }
        }
        try connection.execute(
            "CREATE TABLE \(table) (LIKE scada_readings INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)"
        )
        var moved: Int64 = 0
        if hasDefault {
            // Rows that arrive in the default partition between the move and ATTACH would make ATTACH fail.
            try connection.execute("LOCK TABLE scada_readings_default IN ACCESS EXCLUSIVE MODE")
            moved = try connection.execute(
                """
                WITH moved AS (DELETE FROM scada_readings_default WHERE \(isOfDay) RETURNING *)
                INSERT INTO \(table) SELECT * FROM moved
                """
            ).affectedRows
            guard moves || moved == 0 else {
                throw StoreError(.contention, "rows came for \(day.table) as it was made; the next upkeep makes it")
            }
        }
        try connection.execute(
            "ALTER TABLE scada_readings ATTACH PARTITION \(table) FOR VALUES FROM ('\(day.from)') TO ('\(day.to)')"
        )
        return moved
    }

    private func drop(_ connection: PGConnection, _ report: inout Report) throws(StoreError) {
        let old = try connection.execute(
            """
            SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = to_regclass('scada_readings') AND c.relname ~ '^scada_readings_p[0-9]{8}$'
              AND substr(c.relname, 17) < to_char(
                  (now() - interval '\(retentionDays) days') AT TIME ZONE 'UTC', 'YYYYMMDD')
            ORDER BY c.relname
            """
        )
        for row in 0..<old.rowCount {
            guard let table = old.string(row, 0) else { continue }
            do throws(StoreError) {
                let dropped = try connection.transaction { (connection) throws(StoreError) -> Bool in
                    guard try prepare(connection) else { return false }
                    try connection.execute("DROP TABLE IF EXISTS \(PGConnection.quoteIdentifier(table))")
                    return true
                }
                if dropped { report.dropped.append(table) }
            } catch {
                guard connection.isUsable else { throw error }
                report.problems.append(error)
            }
        }
    }

    private func expire(_ connection: PGConnection, _ report: inout Report) throws(StoreError) {
        do throws(StoreError) {
            report.expired = try connection.transaction { (connection) throws(StoreError) -> Int64 in
                guard try prepare(connection) else { return 0 }
                return try connection.execute(
                    """
                    DELETE FROM scada_readings_default WHERE "timestamp" < date_trunc('day', now(), 'UTC') \
                    - interval '\(retentionDays) days'
                    """
                ).affectedRows
            }
        } catch {
            guard connection.isUsable else { throw error }
            report.problems.append(error)
        }
    }
}
