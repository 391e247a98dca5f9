package import FoundationEssentials

extension TenantRegistry {
    /// A connection that is not deleted, whether it can be run or not.
    package struct StoredConnection: Sendable, Equatable {
        /// Without its tags.
        package var record: ConnectionRecord
        package var isEnabled: Bool
        /// Tags that are neither disabled nor deleted.
        package var tags: Int
    }

    /// Connections by id, disabled ones too.
    ///
    /// - Parameters:
    ///   - connectionID: only this one; nil for all.
    ///   - after: only those with a larger id.
    ///   - limit: at most so many.
    package func storedConnections(
        of tenant: DatabaseURL,
        connectionID: UUID? = nil,
        after: UUID? = nil,
        limit: Int,
        timeout: Duration = .seconds(30)
    ) async throws(StoreError) -> [StoredConnection] {
        try await pool.withConnection(to: tenant, for: .query, timeout: timeout) { connection in
            let rows = try connection.query(
                """
                SELECT c.id::text, c.name, c.endpoint_url, c.security_mode::text, c.security_policy::text, c.username,
                       c.password, c.publishing_interval_ms, coalesce(c.is_enabled, true)::int,
                       (SELECT count(*) FROM tag_mappings t
                        WHERE t.connection_id = c.id AND coalesce(t.is_enabled, true) AND t.deleted_at IS NULL)
                FROM scada_connections c
                WHERE c.deleted_at IS NULL AND ($1::uuid IS NULL OR c.id = $1) AND ($2::uuid IS NULL OR c.id > $2)
                ORDER BY c.id LIMIT \(limit)
                """,
                [connectionID.map { .uuid($0) } ?? .null, after.map { .uuid($0) } ?? .null]
            )
            return (0..<rows.rowCount).compactMap { row in
                guard let id = rows.string(row, 0).flatMap({ UUID(uuidString: $0) }) else { return nil }
                let record = ConnectionRecord(
                    id: id,
                    name: rows.string(row, 1),
                    endpointURL: rows.string(row, 2) ?? "",
                    securityMode: rows.string(row, 3) ?? "None",
                    securityPolicy: rows.string(row, 4) ?? "None",
                    username: rows.string(row, 5),
                    password: rows.string(row, 6),
                    publishingIntervalMilliseconds: rows.int(row, 7).flatMap { Int32(exactly: $0) }
                )
                return StoredConnection(
                    record: record,
                    isEnabled: rows.int(row, 8) != 0,
                    tags: rows.int(row, 9).map { Int($0) } ?? 0
                )
            }
        }
    }
}
