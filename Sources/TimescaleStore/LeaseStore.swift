package import FoundationEssentials

/// Leases of connections in the master database, for replicas that share them.
///
/// Every time is the database's: it computes and compares the expiry, so the replicas' wall clocks do not matter. Each
/// function is one statement and may be repeated without harm.
package struct LeaseStore: Sendable {
    let pool: ConnectionPool
    let master: DatabaseURL

    package init(pool: ConnectionPool, master: DatabaseURL) {
        self.pool = pool
        self.master = master
    }

    /// A replica as it shows itself to the others.
    package struct Replica: Sendable, Equatable {
        /// REPLICA_ID.
        package var id: String
        package var version: String

        package init(id: String, version: String = "") {
            self.id = id
            self.version = version
        }
    }

    /// What an owner says of its connection. Times are microseconds since 1970.
    package struct Report: Sendable, Equatable {
        package var state = ""
        package var stateSinceMicros: Int64?
        package var lastError = ""
        package var tags = 0
        package var tagsBad = 0
        package var readingsReceived: Int64 = 0
        package var lastReadingAtMicros: Int64?
        package var reconnects: Int64 = 0
        package var publishingIntervalMillis: Double = 0

        package init() {}
    }

    /// A lease to be renewed: it is while nobody else took it, even after it expired, but not after it was given up.
    package struct Renewal: Sendable, Equatable {
        package var connectionID: UUID
        package var epoch: Int64
        package var report: Report
        /// What its former owner left is in the own journal now: it may go.
        package var isAdopted: Bool

        package init(connectionID: UUID, epoch: Int64, report: Report = Report(), isAdopted: Bool = false) {
            self.connectionID = connectionID
            self.epoch = epoch
            self.report = report
            self.isAdopted = isAdopted
        }
    }

    /// A lease as it stands.
    package struct Lease: Sendable, Equatable {
        package var connectionID: UUID
        package var owner: String
        package var epoch: Int64
        /// The owner's journal of the tenant.
        package var journalID: UUID?
        package var tags: Int
        /// It has not expired.
        package var isLive: Bool

        package init(
            connectionID: UUID,
            owner: String,
            epoch: Int64 = 1,
            journalID: UUID? = nil,
            tags: Int = 0,
            isLive: Bool = true
        ) {
            self.connectionID = connectionID
            self.owner = owner
            self.epoch = epoch
            self.journalID = journalID
            self.tags = tags
            self.isLive = isLive
        }
    }

    /// What one renewal found.
    package struct Round: Sendable, Equatable {
        /// Own leases that are renewed; what was asked for and is not here has gone to another replica.
        package var renewed: Set<UUID>
        /// Replicas whose own lease has not expired, this one among them.
        package var live: [String]
        /// All leases as they were before this renewal.
        package var leases: [Lease]

        package init(renewed: Set<UUID> = [], live: [String] = [], leases: [Lease] = []) {
            self.renewed = renewed
            self.live = live
            self.leases = leases
        }
    }

    /// Says that this replica lives and renews all its leases.
    ///
    /// - Parameters:
    ///   - lease: counted from when the database begins the statement, which is later than the call.
    ///   - isLeaving: the others shall not count on this replica any more.
    package func renew(
        _ replica: Replica,
        _ renewals: [Renewal],
        lease: Duration,
        isLeaving: Bool = false,
        timeout: Duration
    ) async throws(StoreError) -> Round {
        let parameters = Self.parameters(replica, renewals, lease, isLeaving)
        return try await pool.withConnection(to: master, for: .admin, timeout: timeout) { connection in
            let rows = try connection.query(Self.renewal, parameters)
            var round = Round(live: [replica.id])
            for row in 0..<rows.rowCount {
                switch rows.string(row, 0) {
                case "renewed": if let id = rows.uuid(row, 1) { round.renewed.insert(id) }
                case "replica":
                    if let id = rows.string(row, 2), id != replica.id { round.live.append(id) }
                default:
                    guard let id = rows.uuid(row, 1) else { continue }
                    round.leases.append(
                        Lease(
                            connectionID: id,
                            owner: rows.string(row, 2) ?? "",
                            epoch: rows.int(row, 3) ?? 0,
                            journalID: rows.uuid(row, 4),
                            tags: rows.int(row, 5).map { Int($0) } ?? 0,
                            isLive: rows.bool(row, 6) ?? false
                        )
                    )
                }
            }
            round.live.sort()
            return round
        }
    }

    private static let renewal = """
        WITH beat AS (
            INSERT INTO scada_replicas AS r (replica_id, version, expires_at)
            VALUES ($1, $2, now() + $16::int8 * interval '1 millisecond')
            ON CONFLICT (replica_id) DO UPDATE
            SET version = EXCLUDED.version, renewed_at = now(), expires_at = EXCLUDED.expires_at
        ), mine AS (
            SELECT * FROM unnest($4::text[], $5::int8[], $6::text[], $7::int8[], $8::text[], $9::int8[], $10::int8[],
                $11::int8[], $12::int8[], $13::int8[], $14::float8[], $15::int8[])
                AS n (id, epoch, state, since, error, tags, bad, readings, last, reconnects, publishing, adopted)
        ), renewed AS (
            UPDATE connection_leases l
            SET expires_at = now() + $3::int8 * interval '1 millisecond', renewed_at = now(), state = n.state,
                state_since = \(instant("n.since")), last_error = n.error, tags = n.tags, tags_bad = n.bad,
                readings_received = n.readings, last_reading_at = \(instant("n.last")), reconnects = n.reconnects,
                publishing_interval_ms = n.publishing, inherits = CASE WHEN n.adopted = 0 THEN l.inherits END
            FROM mine n
            WHERE l.connection_id = n.id::uuid AND l.owner = $1 AND l.epoch = n.epoch AND l.expires_at <> '-infinity'
            RETURNING l.connection_id
        ), adopted AS (
            DELETE FROM connection_handovers h USING mine n
            WHERE h.connection_id = n.id::uuid AND h.epoch < n.epoch AND n.adopted <> 0
        )
        SELECT 'renewed', connection_id::text, NULL, NULL::int8, NULL, NULL::int, NULL::boolean FROM renewed
        UNION ALL
        SELECT 'replica', NULL, replica_id, NULL, NULL, NULL, NULL FROM scada_replicas WHERE expires_at > now()
        UNION ALL
        SELECT 'lease', connection_id::text, owner, epoch, journal_id::text, tags, expires_at > now()
        FROM connection_leases
        """

    private static func parameters(_ replica: Replica, _ renewals: [Renewal], _ lease: Duration, _ isLeaving: Bool)
        -> [PGParameter]
    {
        [
            .text(replica.id), .text(replica.version), .int(lease.wholeMilliseconds),
            .textArray(renewals.map { $0.connectionID.uuidString }), .intArray(renewals.map(\.epoch)),
            .textArray(renewals.map(\.report.state)), .intArray(renewals.map(\.report.stateSinceMicros)),
            .textArray(renewals.map(\.report.lastError)), .intArray(renewals.map { Int64($0.report.tags) }),
            .intArray(renewals.map { Int64($0.report.tagsBad) }), .intArray(renewals.map(\.report.readingsReceived)),
            .intArray(renewals.map(\.report.lastReadingAtMicros)), .intArray(renewals.map(\.report.reconnects)),
            .doubleArray(renewals.map(\.report.publishingIntervalMillis)),
            .intArray(renewals.map { $0.isAdopted ? 1 : 0 }), .int(isLeaving ? 0 : lease.wholeMilliseconds),
        ]
    }

    /// SQL for microseconds since 1970 as `timestamptz`, exact.
    static func instant(_ expression: String) -> String {
        "(timestamptz '1970-01-01 00:00:00+00' + \(expression)::int8 * interval '1 microsecond')"
    }

    /// SQL for a `timestamptz` as microseconds since 1970.
    static func micros(_ expression: String) -> String {
        "(extract(epoch FROM \(expression)) * 1000000)::int8"
    }

    // MARK: Giving up

    /// A connection given up, with what its next owner must know.
    package struct Release: Sendable, Equatable {
        package var connectionID: UUID
        package var epoch: Int64
        package var memory: [UInt8]

        package init(connectionID: UUID, epoch: Int64, memory: [UInt8]) {
            self.connectionID = connectionID
            self.epoch = epoch
            self.memory = memory
        }
    }

    /// Gives a connection free for the next owner, together with its memory: both or neither.
    /// - Returns: false when it was another replica's already.
    @discardableResult
    package func release(
        _ release: Release,
        by replica: Replica,
        timeout: Duration
    ) async throws(StoreError) -> Bool {
        try await pool.withConnection(to: master, for: .admin, timeout: timeout) { connection in
            try connection.query(
                """
                WITH given AS (
                    UPDATE connection_leases SET expires_at = '-infinity', renewed_at = now(), state = '', inherits = NULL
                    WHERE connection_id = $2 AND owner = $1 AND epoch = $3 RETURNING connection_id, epoch
                )
                INSERT INTO connection_handovers AS h (connection_id, epoch, memory)
                SELECT connection_id, epoch, $4::bytea FROM given
                ON CONFLICT (connection_id) DO UPDATE
                SET epoch = EXCLUDED.epoch, memory = EXCLUDED.memory, written_at = now()
                """,
                [.text(replica.id), .uuid(release.connectionID), .int(release.epoch), .bytes(release.memory)]
            ).affectedRows > 0
        }
    }

    /// Forgets connections that are not configured any more.
    package func drop(
        _ leases: [(connectionID: UUID, epoch: Int64)],
        by replica: Replica,
        timeout: Duration
    ) async throws(StoreError) {
        guard !leases.isEmpty else { return }
        let parameters: [PGParameter] = [
            .text(replica.id), .textArray(leases.map { $0.connectionID.uuidString }),
            .intArray(leases.map(\.epoch)),
        ]
        try await pool.withConnection(to: master, for: .admin, timeout: timeout) { connection in
            try connection.query(
                """
                WITH gone AS (
                    DELETE FROM connection_leases l USING unnest($2::text[], $3::int8[]) AS n (id, epoch)
                    WHERE l.connection_id = n.id::uuid AND l.epoch = n.epoch AND l.owner = $1
                    RETURNING l.connection_id
                )
                DELETE FROM connection_handovers h USING gone WHERE h.connection_id = gone.connection_id
                """,
                parameters
            )
            return
        }
    }

    /// This replica ends: the others need not count on it.
    package func leave(_ replica: Replica, timeout: Duration) async throws(StoreError) {
        try await pool.withConnection(to: master, for: .admin, timeout: timeout) { connection in
            try connection.query("DELETE FROM scada_replicas WHERE replica_id = $1", [.text(replica.id)])
            return
        }
    }
}

extension PGResult {
    func uuid(_ row: Int, _ column: Int) -> UUID? { string(row, column).flatMap { UUID(uuidString: $0) } }
}
