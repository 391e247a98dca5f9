package import FoundationEssentials

/// A tenant as the master database has it.
package struct TenantRecord: Sendable, Hashable {
    package var id: UUID
    package var slug: String?
    package var name: String?
    package var url: DatabaseURL

    package init(id: UUID, slug: String? = nil, name: String? = nil, url: DatabaseURL) {
        self.id = id
        self.slug = slug
        self.name = name
        self.url = url
    }
}

/// A row that cannot be used, and why; the others are unaffected.
package struct RowProblem: Sendable, Hashable, CustomStringConvertible {
    package var table: String
    /// The row's id as text, for a person to find it.
    package var row: String
    package var problem: String

    package init(table: String, row: String, problem: String) {
        self.table = table
        self.row = row
        self.problem = problem
    }

    package var description: String { "\(table) row \(row): \(problem)" }
}

/// A tenant's connections with their tags, and the rows that could not be read.
package struct TenantConfiguration: Sendable {
    package var connections: [ConnectionRecord]
    package var problems: [RowProblem]
    /// Another one whenever a row is another; nil: not known.
    package internal(set) var fingerprint: String?

    package init(connections: [ConnectionRecord] = [], problems: [RowProblem] = []) {
        self.connections = connections
        self.problems = problems
    }
}

/// Reads who the tenants are and what they want read. Rows are taken as leniently as their types allow: a malformed one is
/// a ``RowProblem``, never a failure of all.
package struct TenantRegistry: Sendable {
    let pool: ConnectionPool

    package init(pool: ConnectionPool) { self.pool = pool }

    /// The active tenants (status <> 'SUSPENDED' and not deleted), by id.
    package func activeTenants(
        master: DatabaseURL,
        timeout: Duration = .seconds(30)
    ) async throws(StoreError) -> (tenants: [TenantRecord], problems: [RowProblem]) {
        try await pool.withConnection(to: master, for: .admin, timeout: timeout) { connection in
            let rows = try connection.execute(
                """
                SELECT id::text, slug, name, database_url FROM tenants
                WHERE status::text <> 'SUSPENDED' AND deleted_at IS NULL ORDER BY id
                """
            )
            var tenants: [TenantRecord] = []
            var problems: [RowProblem] = []
            for row in 0..<rows.rowCount {
                let id = rows.string(row, 0) ?? "NULL"
                do throws(StoreError) {
                    guard let uuid = UUID(uuidString: id) else { throw StoreError(.data, "id is not a UUID") }
                    guard let text = rows.string(row, 3), !text.isEmpty else {
                        throw StoreError(.data, "database_url is empty")
                    }
                    let url = try DatabaseURL(text)
                    tenants.append(
                        TenantRecord(id: uuid, slug: rows.string(row, 1), name: rows.string(row, 2), url: url)
                    )
                } catch {
                    problems.append(RowProblem(table: "tenants", row: id, problem: error.message))
                }
            }
            return (tenants, problems)
        }
    }

    /// The enabled, undeleted connections by id, with their enabled, undeleted tags by well and node: in this order a server is
    /// asked for them and usually reports them, so that rows come in the order of the table's index.
    package func configuration(
        of tenant: DatabaseURL,
        timeout: Duration = .seconds(60)
    ) async throws(StoreError) -> TenantConfiguration {
        try await configuration(of: tenant, unless: nil, timeout: timeout) ?? TenantConfiguration()
    }

    /// The same, or nil when it is what it was: then a row and a few milliseconds instead of all of them, which every replica
    /// reads again and again.
    /// - Parameter fingerprint: of the configuration that is known.
    package func configuration(
        of tenant: DatabaseURL,
        unless fingerprint: String?,
        timeout: Duration = .seconds(60)
    ) async throws(StoreError) -> TenantConfiguration? {
        try await pool.withConnection(to: tenant, for: .admin, timeout: timeout) { connection in
            // One snapshot, so that a connection and its tags belong together, and the fingerprint to them.
            try connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            let found = try connection.execute(Self.fingerprint).string(0, 0)
            if let fingerprint, fingerprint == found {
                try connection.commit()
                return nil
            }
            let connections = try connection.execute(
                """
                SELECT id::text, name, endpoint_url, security_mode::text, security_policy::text, username, password,
                       publishing_interval_ms
                FROM scada_connections WHERE coalesce(is_enabled, true) AND deleted_at IS NULL ORDER BY id
                """
            )
            let tags = try connection.execute(
                """
                SELECT t.id::text, t.connection_id::text, t.well_id::text, t.opc_node_id, t.data_type, t.name, t.unit,
                       t.sampling_interval_ms, t.queue_size, t.deadband_absolute, t.deadband_percent
                FROM tag_mappings t JOIN scada_connections c ON c.id = t.connection_id
                WHERE coalesce(c.is_enabled, true) AND c.deleted_at IS NULL
                  AND coalesce(t.is_enabled, true) AND t.deleted_at IS NULL
                ORDER BY t.connection_id, t.well_id, t.opc_node_id, t.id
                """
            )
            try connection.commit()
            var configuration = Self.assemble(connections, tags)
            configuration.fingerprint = found
            return configuration
        }
    }

    /// Whole rows, so that it holds for whatever is read of them, also where a platform has views in the tables' place. A sum
    /// does not depend on the order.
    private static let fingerprint = """
        SELECT concat_ws(' ',
            (SELECT count(*) FROM scada_connections c WHERE coalesce(is_enabled, true) AND deleted_at IS NULL),
            (SELECT sum(hashtextextended(c::text, 0)) FROM scada_connections c
             WHERE coalesce(is_enabled, true) AND deleted_at IS NULL),
            (SELECT count(*) FROM tag_mappings t WHERE coalesce(is_enabled, true) AND deleted_at IS NULL),
            (SELECT sum(hashtextextended(t::text, 0)) FROM tag_mappings t
             WHERE coalesce(is_enabled, true) AND deleted_at IS NULL))
        """

    /// One read-write transaction in a tenant's database.
    func perform<R: Sendable>(
        _ url: DatabaseURL,
        _ timeout: Duration,
        _ body: @escaping @Sendable (PGConnection) throws(StoreError) -> R
    ) async throws(StoreError) -> R {
        try await pool.withConnection(to: url, for: .admin, timeout: timeout) { connection in
            try connection.transaction { (connection) throws(StoreError) in try body(connection) }
        }
    }

    private static func assemble(_ connections: PGResult, _ tags: PGResult) -> TenantConfiguration {
        var configuration = TenantConfiguration()
        var places: [UUID: Int] = [:]
        for row in 0..<connections.rowCount {
            let id = connections.string(row, 0) ?? "NULL"
            guard let uuid = UUID(uuidString: id) else {
                configuration.problems.append(
                    RowProblem(table: "scada_connections", row: id, problem: "id is not a UUID")
                )
                continue
            }
            guard let endpoint = connections.string(row, 2), !endpoint.isEmpty else {
                configuration.problems.append(
                    RowProblem(table: "scada_connections", row: id, problem: "endpoint_url is empty")
                )
                continue
            }
            places[uuid] = configuration.connections.count
            configuration.connections.append(
                ConnectionRecord(
                    id: uuid,
                    name: connections.string(row, 1),
                    endpointURL: endpoint,
                    securityMode: connections.string(row, 3) ?? "None",
                    securityPolicy: connections.string(row, 4) ?? "None",
                    username: connections.string(row, 5),
                    password: connections.string(row, 6),
                    publishingIntervalMilliseconds: connections.int(row, 7).flatMap { Int32(exactly: $0) }
                )
            )
        }
        for row in 0..<tags.rowCount {
            let id = tags.string(row, 0) ?? "NULL"
            func problem(_ text: String) {
                configuration.problems.append(RowProblem(table: "tag_mappings", row: id, problem: text))
            }
            guard let uuid = UUID(uuidString: id) else {
                problem("id is not a UUID")
                continue
            }
            guard let well = tags.string(row, 2).flatMap({ UUID(uuidString: $0) }) else {
                problem("well_id is not a UUID")
                continue
            }
            guard let node = tags.string(row, 3), !node.isEmpty else {
                problem("opc_node_id is empty")
                continue
            }
            guard let place = tags.string(row, 1).flatMap({ UUID(uuidString: $0) }).flatMap({ places[$0] }) else {
                // Its connection is one of the problems above already.
                continue
            }
            configuration.connections[place].tags.append(
                TagRecord(
                    id: uuid,
                    wellID: well,
                    nodeID: node,
                    dataType: tags.string(row, 4),
                    name: tags.string(row, 5),
                    unit: tags.string(row, 6),
                    samplingIntervalMilliseconds: tags.double(row, 7),
                    queueSize: tags.int(row, 8).flatMap { UInt32(exactly: $0) },
                    deadbandAbsolute: tags.double(row, 9),
                    deadbandPercent: tags.double(row, 10)
                )
            )
        }
        // Without the room they grew into, as they are kept.
        for place in configuration.connections.indices {
            let tags = configuration.connections[place].tags
            configuration.connections[place].tags = Array(unsafeUninitializedCapacity: tags.count) { room, count in
                count = room.initialize(fromContentsOf: tags)
            }
        }
        return configuration
    }
}
