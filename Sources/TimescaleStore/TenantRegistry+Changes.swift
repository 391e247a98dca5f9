package import FoundationEssentials

extension TenantRegistry {
    /// What an upsert changed.
    package struct UpsertOutcome: Sendable, Equatable {
        package var tagsStored: Int64
        /// Tags of this connection that were not in the list and are now marked deleted.
        package var tagsRemoved: Int64
    }

    /// Stores a connection and its tags, in one transaction; storing the same again changes nothing but `updated_at`.
    ///
    /// A list of tags is the complete list: tags of this connection that are not in it are marked deleted. An empty list
    /// leaves the tags alone, because a platform that fills `tag_mappings` itself sends none. A connection or tag that was
    /// marked deleted or disabled comes back. Names that are nil keep what the row has, else become the endpoint or the
    /// node id, because the platform's tables may demand one.
    package func upsert(
        _ record: ConnectionRecord,
        in tenant: DatabaseURL,
        timeout: Duration = .seconds(60)
    ) async throws(StoreError) -> UpsertOutcome {
        try await perform(tenant, timeout) { (connection) throws(StoreError) in
            try Self.upsertConnection(record, connection)
            guard !record.tags.isEmpty else { return UpsertOutcome(tagsStored: 0, tagsRemoved: 0) }
            let stored = try Self.upsertTags(record, connection)
            let removed = try connection.query(
                """
                UPDATE tag_mappings SET deleted_at = now(), updated_at = now()
                WHERE connection_id = $1 AND deleted_at IS NULL AND id <> ALL ($2::text[]::uuid[])
                """,
                [.uuid(record.id), .textArray(record.tags.map { $0.id.uuidString })]
            )
            return UpsertOutcome(tagsStored: stored, tagsRemoved: removed.affectedRows)
        }
    }

    /// Marks a connection and its tags deleted. Readings stay.
    /// - Returns: false when there is no such connection, or it was deleted already.
    package func remove(
        connection id: UUID,
        from tenant: DatabaseURL,
        timeout: Duration = .seconds(60)
    ) async throws(StoreError) -> Bool {
        try await perform(tenant, timeout) { (connection) throws(StoreError) in
            try connection.query(
                "UPDATE tag_mappings SET deleted_at = now(), updated_at = now() WHERE connection_id = $1 AND deleted_at IS NULL",
                [.uuid(id)]
            )
            return try connection.query(
                "UPDATE scada_connections SET deleted_at = now(), updated_at = now() WHERE id = $1 AND deleted_at IS NULL",
                [.uuid(id)]
            ).affectedRows > 0
        }
    }

    /// Replaces a stored password, only when it still is `old`: for key rotation beside a running platform.
    /// - Returns: whether it was replaced.
    package func replacePassword(
        of id: UUID,
        old: String,
        new: String,
        in tenant: DatabaseURL,
        timeout: Duration = .seconds(30)
    ) async throws(StoreError) -> Bool {
        try await perform(tenant, timeout) { (connection) throws(StoreError) in
            try connection.query(
                "UPDATE scada_connections SET password = $3, updated_at = now() WHERE id = $1 AND password = $2",
                [.uuid(id), .text(old), .text(new)]
            ).affectedRows > 0
        }
    }

    private static func upsertConnection(
        _ record: ConnectionRecord,
        _ connection: PGConnection
    ) throws(StoreError) {
        try connection.query(
            """
            INSERT INTO scada_connections AS c (id, name, endpoint_url, security_mode, security_policy, username, password,
                publishing_interval_ms, is_enabled, created_at, updated_at, deleted_at)
            VALUES ($1, coalesce($2::text, $3::text), $3, $4, $5, $6, $7, $8, true, now(), now(), NULL)
            ON CONFLICT (id) DO UPDATE SET
                name = coalesce($2::text, c.name, EXCLUDED.name), endpoint_url = EXCLUDED.endpoint_url,
                security_mode = EXCLUDED.security_mode, security_policy = EXCLUDED.security_policy,
                username = EXCLUDED.username, password = EXCLUDED.password,
                publishing_interval_ms = EXCLUDED.publishing_interval_ms,
                is_enabled = true, updated_at = now(), deleted_at = NULL
            """,
            [
                .uuid(record.id), record.name.map { .text($0) } ?? .null, .text(record.endpointURL),
                .text(record.securityMode), .text(record.securityPolicy),
                record.username.map { .text($0) } ?? .null, record.password.map { .text($0) } ?? .null,
                record.publishingIntervalMilliseconds.map { .int(Int64($0)) } ?? .null,
            ]
        )
    }

    /// All tags in one statement: arrays instead of ten thousand round trips.
    private static func upsertTags(_ record: ConnectionRecord, _ connection: PGConnection) throws(StoreError) -> Int64 {
        // The last of several entries with one id wins, as it would with one statement each.
        var places: [UUID: Int] = [:]
        var tags: [TagRecord] = []
        for tag in record.tags {
            if let place = places[tag.id] {
                tags[place] = tag
            } else {
                places[tag.id] = tags.count
                tags.append(tag)
            }
        }
        return try connection.query(
            """
            INSERT INTO tag_mappings AS t (id, connection_id, well_id, opc_node_id, data_type, name, unit,
                sampling_interval_ms, queue_size, deadband_absolute, deadband_percent, is_enabled, created_at, updated_at,
                deleted_at)
            SELECT n.id::uuid, $1::uuid, n.well_id::uuid, n.node, n.data_type, coalesce(n.name, n.node), n.unit,
                n.sampling, n.queue, n.absolute, n.percent, true, now(), now(), NULL
            FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::float8[], $9::int8[],
                $10::float8[], $11::float8[])
                AS n (id, well_id, node, data_type, name, unit, sampling, queue, absolute, percent)
            ON CONFLICT (id) DO UPDATE SET
                connection_id = EXCLUDED.connection_id, well_id = EXCLUDED.well_id, opc_node_id = EXCLUDED.opc_node_id,
                data_type = EXCLUDED.data_type, name = EXCLUDED.name, unit = EXCLUDED.unit,
                sampling_interval_ms = EXCLUDED.sampling_interval_ms, queue_size = EXCLUDED.queue_size,
                deadband_absolute = EXCLUDED.deadband_absolute, deadband_percent = EXCLUDED.deadband_percent,
                is_enabled = true, updated_at = now(), deleted_at = NULL
            """,
            [
                .uuid(record.id),
                .textArray(tags.map { $0.id.uuidString }), .textArray(tags.map { $0.wellID.uuidString }),
                .textArray(tags.map(\.nodeID)), .textArray(tags.map(\.dataType)), .textArray(tags.map(\.name)),
                .textArray(tags.map(\.unit)), .doubleArray(tags.map(\.samplingIntervalMilliseconds)),
                .intArray(tags.map { $0.queueSize.map { Int64(min($0, UInt32(Int32.max))) } }),
                .doubleArray(tags.map(\.deadbandAbsolute)), .doubleArray(tags.map(\.deadbandPercent)),
            ]
        ).affectedRows
    }
}
