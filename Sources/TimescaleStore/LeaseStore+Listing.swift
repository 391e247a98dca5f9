package import FoundationEssentials

extension LeaseStore {
    /// Who holds a connection, and what it last said of it.
    package struct Holding: Sendable, Equatable {
        package var connectionID: UUID
        package var tenantID: UUID
        package var owner: String
        /// The lease has not expired.
        package var isLive: Bool
        package var report: Report
    }

    /// The leases of a tenant, or of all, by connection.
    package func holdings(
        of tenant: UUID? = nil,
        timeout: Duration = .seconds(10)
    ) async throws(StoreError) -> [Holding] {
        try await Self.holdings(of: tenant, in: master, pool, timeout)
    }

    package static func holdings(
        of tenant: UUID?,
        in master: DatabaseURL,
        _ pool: ConnectionPool,
        _ timeout: Duration
    ) async throws(StoreError) -> [Holding] {
        try await pool.withConnection(to: master, for: .query, timeout: timeout) { connection in
            let rows = try connection.query(
                """
                SELECT connection_id::text, tenant_id::text, owner, expires_at > now(), state, \(micros("state_since")),
                    last_error, tags, tags_bad, readings_received, \(micros("last_reading_at")), reconnects,
                    publishing_interval_ms
                FROM connection_leases WHERE $1::uuid IS NULL OR tenant_id = $1 ORDER BY connection_id
                """,
                [tenant.map { .uuid($0) } ?? .null]
            )
            return (0..<rows.rowCount).compactMap { row in
                guard let id = rows.uuid(row, 0), let tenant = rows.uuid(row, 1) else { return nil }
                var report = Report()
                report.state = rows.string(row, 4) ?? ""
                report.stateSinceMicros = rows.int(row, 5)
                report.lastError = rows.string(row, 6) ?? ""
                report.tags = rows.int(row, 7).map { Int($0) } ?? 0
                report.tagsBad = rows.int(row, 8).map { Int($0) } ?? 0
                report.readingsReceived = rows.int(row, 9) ?? 0
                report.lastReadingAtMicros = rows.int(row, 10)
                report.reconnects = rows.int(row, 11) ?? 0
                report.publishingIntervalMillis = rows.double(row, 12) ?? 0
                return Holding(
                    connectionID: id,
                    tenantID: tenant,
                    owner: rows.string(row, 2) ?? "",
                    isLive: rows.bool(row, 3) ?? false,
                    report: report
                )
            }
        }
    }

    /// A replica that said it lives.
    package struct Presence: Sendable, Equatable {
        package var replicaID: String
        package var version: String
        package var isLive: Bool
    }

    /// The replicas that ever shared these connections, by name.
    package static func replicas(
        in master: DatabaseURL,
        _ pool: ConnectionPool,
        timeout: Duration = .seconds(10)
    ) async throws(StoreError) -> [Presence] {
        try await pool.withConnection(to: master, for: .query, timeout: timeout) { connection in
            let rows = try connection.execute(
                "SELECT replica_id, version, expires_at > now() FROM scada_replicas ORDER BY replica_id"
            )
            return (0..<rows.rowCount).map { row in
                Presence(
                    replicaID: rows.string(row, 0) ?? "",
                    version: rows.string(row, 1) ?? "",
                    isLive: rows.bool(row, 2) ?? false
                )
            }
        }
    }
}
