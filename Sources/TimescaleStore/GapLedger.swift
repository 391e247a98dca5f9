package import FoundationEssentials

/// A row of `scada_gaps`: readings that could not be had. Times are microseconds since 1970.
package struct GapRecord: Sendable, Equatable {
    /// Made by the caller, so that storing the same gap twice is one row.
    package var id: UUID
    package var connectionID: UUID
    /// nil: every tag of the connection.
    package var tagNodeID: String?
    package var startedAtMicros: Int64
    /// nil: still open.
    package var endedAtMicros: Int64?
    package var cause: String
    /// nil: unknown.
    package var readingsLost: Int64?
    package var healedAtMicros: Int64?
    package var readingsRecovered: Int64?

    package init(
        id: UUID = UUID(),
        connectionID: UUID,
        tagNodeID: String? = nil,
        startedAtMicros: Int64,
        endedAtMicros: Int64? = nil,
        cause: String,
        readingsLost: Int64? = nil,
        healedAtMicros: Int64? = nil,
        readingsRecovered: Int64? = nil
    ) {
        self.id = id
        self.connectionID = connectionID
        self.tagNodeID = tagNodeID
        self.startedAtMicros = startedAtMicros
        self.endedAtMicros = endedAtMicros
        self.cause = cause
        self.readingsLost = readingsLost
        self.healedAtMicros = healedAtMicros
        self.readingsRecovered = readingsRecovered
    }
}

/// Writes and lists the gaps of a tenant. Every change can be repeated without harm.
package struct GapLedger: Sendable {
    private let pool: ConnectionPool

    package init(pool: ConnectionPool) { self.pool = pool }

    /// Stores gaps as they are given, whatever is known of them; a gap with a known id is brought up to date.
    package func record(
        _ gaps: [GapRecord],
        in url: DatabaseURL,
        timeout: Duration = .seconds(30)
    ) async throws(StoreError) {
        if gaps.isEmpty { return }
        // The last of several entries with one id wins; ON CONFLICT takes each row once.
        var latest: [UUID: GapRecord] = [:]
        for gap in gaps { latest[gap.id] = gap }
        let rows = Array(latest.values)
        try await pool.withConnection(to: url, for: .writer, timeout: timeout) { connection in
            try connection.query(
                """
                INSERT INTO scada_gaps AS g (id, connection_id, tag_node_id, started_at, ended_at, cause, readings_lost,
                    healed_at, readings_recovered)
                SELECT id::uuid, connection::uuid, tag, \(Self.instant("started")), \(Self.instant("ended")), cause, lost,
                    \(Self.instant("healed")), recovered
                FROM unnest($1::text[], $2::text[], $3::text[], $4::int8[], $5::int8[], $6::text[], $7::int8[], $8::int8[],
                    $9::int8[]) AS n (id, connection, tag, started, ended, cause, lost, healed, recovered)
                ON CONFLICT (id) DO UPDATE SET
                    started_at = least(EXCLUDED.started_at, g.started_at),
                    ended_at = greatest(EXCLUDED.ended_at, g.ended_at),
                    readings_lost = coalesce(EXCLUDED.readings_lost, g.readings_lost),
                    healed_at = coalesce(EXCLUDED.healed_at, g.healed_at),
                    readings_recovered = coalesce(EXCLUDED.readings_recovered, g.readings_recovered)
                """,
                [
                    .textArray(rows.map { $0.id.uuidString }), .textArray(rows.map { $0.connectionID.uuidString }),
                    .textArray(rows.map(\.tagNodeID)), .intArray(rows.map(\.startedAtMicros)),
                    .intArray(rows.map(\.endedAtMicros)), .textArray(rows.map(\.cause)),
                    .intArray(rows.map(\.readingsLost)), .intArray(rows.map(\.healedAtMicros)),
                    .intArray(rows.map(\.readingsRecovered)),
                ]
            )
            return
        }
    }

    /// Ends an open gap.
    /// - Returns: false when there is no such open gap.
    @discardableResult
    package func close(
        _ id: UUID,
        endedAtMicros: Int64,
        readingsLost: Int64? = nil,
        in url: DatabaseURL,
        timeout: Duration = .seconds(30)
    ) async throws(StoreError) -> Bool {
        try await change(
            """
            UPDATE scada_gaps SET ended_at = \(Self.instant("$2")), readings_lost = coalesce($3::int8, readings_lost)
            WHERE id = $1 AND ended_at IS NULL
            """,
            [.uuid(id), .int(endedAtMicros), readingsLost.map { .int($0) } ?? .null],
            url,
            timeout
        )
    }

    /// Marks a gap filled from the server's history, now.
    /// - Returns: false when there is no such gap, or it is marked already.
    @discardableResult
    package func heal(
        _ id: UUID,
        readingsRecovered: Int64,
        in url: DatabaseURL,
        timeout: Duration = .seconds(30)
    ) async throws(StoreError) -> Bool {
        try await change(
            "UPDATE scada_gaps SET healed_at = now(), readings_recovered = $2 WHERE id = $1 AND healed_at IS NULL",
            [.uuid(id), .int(readingsRecovered)],
            url,
            timeout
        )
    }

    private func change(
        _ sql: String,
        _ parameters: [PGParameter],
        _ url: DatabaseURL,
        _ timeout: Duration
    ) async throws(StoreError) -> Bool {
        try await pool.withConnection(to: url, for: .writer, timeout: timeout) { connection in
            try connection.query(sql, parameters).affectedRows > 0
        }
    }

    /// SQL for microseconds since 1970 as `timestamptz`, exact: `to_timestamp` would go through floating point.
    private static func instant(_ expression: String) -> String {
        "(timestamptz '1970-01-01 00:00:00+00' + \(expression)::int8 * interval '1 microsecond')"
    }

    // MARK: Listing

    /// A page of gaps, and the token for the next page.
    package struct Page: Sendable {
        package var gaps: [GapRecord]
        package var nextPageToken: String?
    }

    /// Gaps that overlap a time range, by start and id, the newest first.
    ///
    /// - Parameters:
    ///   - connectionID: only this connection's; nil for all.
    ///   - unhealedOnly: without those that history has filled.
    ///   - limit: 1 to 10,000.
    /// - Throws: `invalidPageToken` for a token that another question gave out.
    package func list(
        in url: DatabaseURL,
        connectionID: UUID? = nil,
        fromMicros: Int64 = .min,
        toMicros: Int64 = .max,
        unhealedOnly: Bool = false,
        limit: Int = 1000,
        pageToken: String? = nil,
        timeout: Duration = .seconds(30)
    ) async throws(StoreError) -> Page {
        guard (1...ReadingsQuery.largestPage).contains(limit) else {
            throw StoreError(.invalidArgument, "limit must be 1 to \(ReadingsQuery.largestPage), it is \(limit)")
        }
        let scope = PageToken.scope(
            of: ["gaps", connectionID?.uuidString ?? "", "\(fromMicros)", "\(toMicros)", "\(unhealedOnly)"]
        )
        let start = try pageToken.map { (text) throws(StoreError) in try PageToken(text, scope: scope) }
        let after = start.flatMap { UUID(uuidString: $0.key) }
        if start != nil, after == nil { throw StoreError(.invalidPageToken, "not a token of this list") }
        return try await pool.withConnection(to: url, for: .query, timeout: timeout) { connection in
            let rows = try connection.transaction(readOnly: true, statementTimeout: timeout) {
                (connection) throws(StoreError) in
                try connection.query(
                    """
                    SELECT id, connection_id, tag_node_id, started_at, ended_at, cause, readings_lost, healed_at,
                           readings_recovered
                    FROM scada_gaps
                    WHERE ($1::uuid IS NULL OR connection_id = $1)
                      AND started_at <= $2 AND (ended_at IS NULL OR ended_at >= $3)
                      AND ($4::timestamptz IS NULL OR (started_at, id) < ($4, $5::uuid))
                      AND NOT ($6 AND healed_at IS NOT NULL)
                    ORDER BY started_at DESC, id DESC LIMIT \(limit + 1)
                    """,
                    [
                        connectionID.map { .uuid($0) } ?? .null,
                        .timestamp(microsecondsSince2000: toMicros.microsecondsSince2000),
                        .timestamp(microsecondsSince2000: fromMicros.microsecondsSince2000),
                        start.map { .timestamp(microsecondsSince2000: $0.timestamp) } ?? .null,
                        after.map { .uuid($0) } ?? .null,
                        .bool(unhealedOnly),
                    ],
                    binary: true
                )
            }
            var page = Page(gaps: (0..<min(rows.rowCount, limit)).compactMap { Self.decode(rows, $0) })
            if rows.rowCount > limit, let last = rows.bigEndian(limit - 1, 3, as: Int64.self), let gap = page.gaps.last
            {
                page.nextPageToken = PageToken(scope: scope, timestamp: last, key: gap.id.uuidString, skip: 0).text
            }
            return page
        }
    }

    private static func decode(_ rows: PGResult, _ row: Int) -> GapRecord? {
        guard let id = rows.bytes(row, 0).flatMap({ UUID(bytes: $0) }),
            let connection = rows.bytes(row, 1).flatMap({ UUID(bytes: $0) }),
            let start = rows.bigEndian(row, 3, as: Int64.self)
        else { return nil }
        return GapRecord(
            id: id,
            connectionID: connection,
            tagNodeID: rows.string(row, 2),
            startedAtMicros: start.microsecondsSince1970,
            endedAtMicros: rows.bigEndian(row, 4, as: Int64.self)?.microsecondsSince1970,
            cause: rows.string(row, 5) ?? "",
            readingsLost: rows.bigEndian(row, 6),
            healedAtMicros: rows.bigEndian(row, 7, as: Int64.self)?.microsecondsSince1970,
            readingsRecovered: rows.bigEndian(row, 8)
        )
    }
}
