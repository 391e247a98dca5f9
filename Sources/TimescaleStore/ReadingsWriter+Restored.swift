package import FoundationEssentials

extension ReadingsWriter {
    /// How much older than the newest reading of a connection the newest one of a tag may be and still count as just stored:
    /// a tag that changes once an hour says nothing about when a database stopped growing.
    private static var recent: Int64 { 60_000_000 }

    /// For each connection, where a database that was restored from a backup stops: microseconds since 1970 from which on
    /// readings may be missing, the smallest of the newest timestamps of the tags that were written lately.
    ///
    /// - Parameter journalID: readings stamped after this journal's checkpoint was last moved (a clock that runs ahead) say
    ///   nothing and are left out. Where a connection has no others, that moment counts, less a minute.
    /// - Returns: nothing when the database has no checkpoint of this journal: nobody knows how far it once was.
    package func storedUntil(
        in url: DatabaseURL,
        journalID: UUID,
        timeout: Duration = .seconds(60)
    ) async throws(StoreError) -> [UUID: Int64] {
        try await pool.withConnection(to: url, for: .writer, timeout: timeout) { connection in
            let rows = try connection.transaction(readOnly: true, statementTimeout: timeout) {
                (connection) throws(StoreError) in
                try connection.query(
                    """
                    WITH stopped AS (
                        SELECT updated_at + interval '5 seconds' AS at FROM ingest_checkpoints WHERE journal_id = $1
                    ), wells AS (
                        SELECT DISTINCT connection_id, well_id FROM tag_mappings WHERE deleted_at IS NULL
                    ), newest AS (
                        SELECT w.connection_id, max(r.timestamp) AS at
                        FROM wells w CROSS JOIN stopped s
                        LEFT JOIN LATERAL (
                            SELECT r.timestamp FROM scada_readings r WHERE r.well_id = w.well_id AND r.timestamp <= s.at
                            ORDER BY r.timestamp DESC LIMIT 1
                        ) r ON true
                        GROUP BY w.connection_id
                    ), tags AS (
                        SELECT w.connection_id, max(r.timestamp) AS at
                        FROM newest n CROSS JOIN stopped s JOIN wells w ON w.connection_id = n.connection_id
                        JOIN scada_readings r ON r.well_id = w.well_id
                            AND r.timestamp BETWEEN n.at - interval '1 microsecond' * \(Self.recent) AND s.at
                        GROUP BY w.connection_id, r.well_id, r.tag_node_id
                    )
                    SELECT n.connection_id::text,
                        (extract(epoch FROM coalesce(min(t.at), s.at - interval '65 seconds')) * 1000000)::bigint
                    FROM newest n CROSS JOIN stopped s LEFT JOIN tags t ON t.connection_id = n.connection_id
                    GROUP BY n.connection_id, s.at
                    """,
                    [.uuid(journalID)]
                )
            }
            var result: [UUID: Int64] = [:]
            for row in 0..<rows.rowCount {
                if let id = rows.string(row, 0).flatMap({ UUID(uuidString: $0) }), let micros = rows.int(row, 1) {
                    result[id] = micros
                }
            }
            return result
        }
    }
}
