package import FoundationEssentials

extension LeaseStore {
    /// A connection this replica wants to run.
    package struct Wish: Sendable, Equatable {
        package var connectionID: UUID
        package var tenantID: UUID
        /// This replica's journal of the tenant.
        package var journalID: UUID
        package var tags: Int

        package init(connectionID: UUID, tenantID: UUID, journalID: UUID, tags: Int) {
            self.connectionID = connectionID
            self.tenantID = tenantID
            self.journalID = journalID
            self.tags = tags
        }
    }

    /// Where a claimed connection comes from.
    package enum Origin: Sendable, Equatable {
        /// Nobody had it.
        case new
        /// This replica with this journal was the last owner.
        case continued
        /// Its last owner, perhaps this replica itself, gave it up in order and left this.
        /// - isResumed: this replica ended before it said that it had taken that over; its journal may be further.
        case handedOver(memory: [UInt8], isResumed: Bool = false)
        /// Its last owner was lost; it was last heard of then (microseconds since 1970 by the database's clock).
        case lost(lastRenewalMicros: Int64)
    }

    package struct Claim: Sendable, Equatable {
        package var connectionID: UUID
        package var epoch: Int64
        package var origin: Origin

        package init(connectionID: UUID, epoch: Int64, origin: Origin) {
            self.connectionID = connectionID
            self.epoch = epoch
            self.origin = origin
        }
    }

    /// Claims those of the connections that are free: never leased, expired, released, or this replica's own from before a
    /// restart. A journal has one process at a time, so an owner of the same name and journal is this one.
    package func claim(
        _ wishes: [Wish],
        for replica: Replica,
        lease: Duration,
        timeout: Duration
    ) async throws(StoreError) -> [Claim] {
        guard !wishes.isEmpty else { return [] }
        let master = master
        return try await pool.withConnection(to: master, for: .admin, timeout: timeout) { connection in
            let rows = try connection.query(
                """
                WITH wanted AS (
                    SELECT id::uuid, tenant::uuid, journal::uuid, tags
                    FROM unnest($3::text[], $4::text[], $5::text[], $6::int8[]) AS n (id, tenant, journal, tags)
                ), free AS (
                    SELECT l.connection_id, own.is_own, own.is_own AND l.inherits IS NOT NULL AS is_resumed,
                        CASE WHEN own.is_own AND l.inherits IS NOT NULL THEN l.inherits ELSE l.epoch END AS former,
                        CASE WHEN own.is_own THEN l.former_renewed_at ELSE l.renewed_at END AS heard
                    FROM connection_leases l JOIN wanted w ON w.id = l.connection_id,
                        LATERAL (SELECT coalesce(l.owner = $1 AND l.journal_id = w.journal, false)) AS own (is_own)
                    WHERE l.expires_at <= now() OR own.is_own
                    FOR UPDATE OF l SKIP LOCKED
                ), taken AS (
                    UPDATE connection_leases l
                    SET owner = $1, epoch = l.epoch + 1, expires_at = now() + $2::int8 * interval '1 millisecond',
                        renewed_at = now(), tenant_id = w.tenant, journal_id = w.journal, tags = w.tags, state = '',
                        state_since = NULL, last_error = '', tags_bad = 0, readings_received = 0,
                        last_reading_at = NULL, reconnects = 0, publishing_interval_ms = 0, former_renewed_at = f.heard,
                        inherits = CASE
                            WHEN f.is_own AND NOT f.is_resumed AND NOT EXISTS (
                                SELECT FROM connection_handovers h
                                WHERE h.connection_id = f.connection_id AND h.epoch = f.former
                            ) THEN NULL ELSE f.former END
                    FROM free f JOIN wanted w ON w.id = f.connection_id
                    WHERE l.connection_id = f.connection_id
                    RETURNING l.connection_id, l.epoch, f.is_own, f.is_resumed, f.former, f.heard
                ), made AS (
                    INSERT INTO connection_leases (connection_id, tenant_id, owner, epoch, expires_at, journal_id, tags)
                    SELECT w.id, w.tenant, $1, 1, now() + $2::int8 * interval '1 millisecond', w.journal, w.tags
                    FROM wanted w
                    WHERE NOT EXISTS (SELECT FROM connection_leases l WHERE l.connection_id = w.id)
                    ON CONFLICT DO NOTHING
                    RETURNING connection_id, epoch
                )
                SELECT t.connection_id::text, t.epoch, t.is_own AND NOT t.is_resumed, \(Self.micros("t.heard")), h.memory,
                    t.is_resumed
                FROM taken t
                LEFT JOIN connection_handovers h ON h.connection_id = t.connection_id AND h.epoch = t.former
                UNION ALL
                SELECT connection_id::text, epoch, NULL, NULL, NULL, NULL FROM made
                """,
                [
                    .text(replica.id), .int(lease.wholeMilliseconds),
                    .textArray(wishes.map { $0.connectionID.uuidString }),
                    .textArray(wishes.map { $0.tenantID.uuidString }),
                    .textArray(wishes.map { $0.journalID.uuidString }), .intArray(wishes.map { Int64($0.tags) }),
                ]
            )
            return (0..<rows.rowCount).compactMap { row in
                guard let id = rows.uuid(row, 0), let epoch = rows.int(row, 1) else { return nil }
                let origin: Origin
                if let memory = rows.bytea(row, 4) {
                    origin = .handedOver(memory: memory, isResumed: rows.bool(row, 5) ?? false)
                } else {
                    switch rows.bool(row, 2) {
                    case nil: origin = .new
                    case true?: origin = .continued
                    case false?: origin = .lost(lastRenewalMicros: rows.int(row, 3) ?? 0)
                    }
                }
                return Claim(connectionID: id, epoch: epoch, origin: origin)
            }
        }
    }
}
