extension ReadingsWriter {
    /// How a flush goes along with other replicas that store readings of the same tags, before or after it.
    ///
    /// A lost replica's journal may hold readings that the connection's next owner gets again from the server: as first
    /// values, or from history. Whichever of the two is stored later leaves out what is there: such *checked* flushes
    /// exclude each other and the plain ones, by an advisory lock of the tenant's database. A plain flush asks whether its
    /// replica still owns its connections after it has the lock: when it does, no other replica has begun to read them,
    /// and those that will do so later see this flush's rows.
    package enum Sharing: Sendable {
        /// One replica only: no lock.
        case alone
        /// Plain, while the closure says that this replica's leases hold; else the flush throws `fenced`.
        case owner(isOwner: @Sendable () -> Bool)
        /// Rows that are in the table already are left out. Rows are compared whole; no two readings are equal (guarantee 5).
        /// But for the lower half of the status code, which tells of the way a value came (Part 4, 7.39: overflow, limits,
        /// history), and so differs between a notification and the same value from history.
        case checked

        package var isChecked: Bool {
            if case .checked = self { true } else { false }
        }
    }

    /// "scada" and a number of our own.
    private static var lock: String { "x'73636164610001'::bigint" }

    /// Before the rows, within the transaction.
    static func enter(_ sharing: Sharing, _ connection: PGConnection) throws(StoreError) {
        switch sharing {
        case .alone: return
        case .owner(let isOwner):
            try connection.execute("SELECT pg_advisory_xact_lock_shared(\(lock))")
            guard isOwner() else { throw StoreError(.fenced, "this replica's leases have run out") }
        case .checked:
            // A statement of its own: the next one's snapshot has to be taken after the lock was had.
            try connection.execute("SELECT pg_advisory_xact_lock(\(lock))")
        }
    }

    /// The table that checked rows are copied to first. No constraint: what the database cannot hold shows here already.
    static func prepareIncoming(_ connection: PGConnection) throws(StoreError) {
        try connection.execute(
            """
            CREATE TEMP TABLE scada_incoming (well_id uuid NOT NULL, tag_node_id text NOT NULL,
                "timestamp" timestamptz NOT NULL, value double precision, quality text NOT NULL, status_code bigint,
                value_text text) ON COMMIT DROP
            """
        )
    }

    /// Stores the rows that are not there yet.
    /// - Returns: how many those were.
    static func storeIncoming(_ connection: PGConnection) throws(StoreError) -> Int64 {
        try connection.execute("ANALYZE scada_incoming")
        return try connection.execute(
            """
            INSERT INTO scada_readings (well_id, tag_node_id, "timestamp", value, quality, status_code, value_text)
            SELECT DISTINCT well_id, tag_node_id, "timestamp", value, quality, status_code, value_text
            FROM scada_incoming n
            WHERE NOT EXISTS (
                SELECT FROM scada_readings r
                WHERE r.well_id = n.well_id AND r."timestamp" = n."timestamp" AND r.tag_node_id = n.tag_node_id
                  AND r.quality = n.quality AND r.value IS NOT DISTINCT FROM n.value
                  AND coalesce(r.status_code, 0) >> 16 = coalesce(n.status_code, 0) >> 16
                  AND r.value_text IS NOT DISTINCT FROM n.value_text
            )
            ORDER BY "timestamp"
            """
        ).affectedRows
    }
}
