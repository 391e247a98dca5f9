package import FoundationEssentials

extension TenantRegistry {
    /// The newest timestamp stored for any of the wells, microseconds since 1970; nil when nothing is. One look at the index
    /// for each well.
    package func newestReading(
        ofWells wells: [UUID],
        in tenant: DatabaseURL,
        timeout: Duration
    ) async throws(StoreError) -> Int64? {
        try await pool.withConnection(to: tenant, for: .query, timeout: timeout) { connection in
            let rows = try connection.query(
                """
                SELECT \(LeaseStore.micros("max(newest.at)")) FROM unnest($1::text[]) AS w (id), LATERAL (
                    SELECT r."timestamp" AS at FROM scada_readings r
                    WHERE r.well_id = w.id::uuid AND r."timestamp" <= now() ORDER BY r."timestamp" DESC LIMIT 1
                ) AS newest
                """,
                [.textArray(wells.map { $0.uuidString })]
            )
            return rows.rowCount == 1 ? rows.int(0, 0) : nil
        }
    }
}
