import FoundationEssentials
import Testing

@testable import TimescaleStore

@Suite(.enabled(if: PrivatePostgres.isAvailable(.plain), "needs PostgreSQL server binaries"))
struct MigratorTests {
    @Test func plainDatabaseGetsPartitionsAndViews() async throws {
        let tenant = try await TestTenant(.plain)
        #expect(tenant.report.layout == .plain)
        #expect(tenant.report.edition == .plain)
        #expect(tenant.report.applied == ["001_configuration", "002_readings", "003_ingest"])
        #expect(try await tenant.ask("SELECT relkind FROM pg_class WHERE relname = 'scada_readings'") == "p")
        // Yesterday, today, seven days ahead and the default.
        #expect(
            try await tenant.ask("SELECT count(*) FROM pg_inherits WHERE inhparent = 'scada_readings'::regclass")
                == "10"
        )
        for view in ["hourly", "daily", "monthly"] {
            let columns = try await tenant.column(
                "SELECT attname FROM pg_attribute WHERE attrelid = 'scada_readings_\(view)'::regclass AND attnum > 0 ORDER BY attnum"
            )
            #expect(
                columns.prefix(10).elementsEqual(
                    ["bucket", "well_id", "tag_node_id", "avg", "min", "max", "first", "last", "count", "good_count"]
                )
            )
        }
        #expect(
            try await tenant.ask(
                "SELECT count(*) FROM pg_index WHERE indrelid = 'scada_readings'::regclass AND indisunique"
            ) == "0"
        )
        await tenant.pool.close()
    }

    @Test func secondRunChangesNothing() async throws {
        let tenant = try await TestTenant(.plain)
        let again = try await Migrator().migrateTenant(tenant.url, pool: tenant.pool)
        #expect(again.applied.isEmpty)
        #expect(again.layout == .plain)
        await tenant.pool.close()
    }

    @Test func masterSchema() async throws {
        let server = try PrivatePostgres.shared(.plain)
        let url = try server.makeDatabase()
        let pool = try ConnectionPool()
        let report = try await Migrator().migrateMaster(url, pool: pool)
        #expect(report.applied == ["001_tenants", "002_connection_leases", "003_replicas"])
        // One database may be master and tenant at once (a demo): the scopes do not collide.
        let tenant = try await Migrator().migrateTenant(url, pool: pool)
        #expect(tenant.applied.count == 3)
        #expect(try await Migrator().migrateMaster(url, pool: pool).applied.isEmpty)
        await pool.close()
    }

    @Test func dryRunSaysWhatItWouldDoAndDoesNothing() async throws {
        let server = try PrivatePostgres.shared(.plain)
        let url = try server.makeDatabase()
        let pool = try ConnectionPool()
        let report = try await Migrator().migrateTenant(url, pool: pool, dryRun: true)
        #expect(report.applied == ["001_configuration", "002_readings", "003_ingest"])
        #expect(report.sql.contains("CREATE TABLE IF NOT EXISTS ingest_checkpoints"))
        #expect(report.sql.contains("PARTITION BY RANGE"))
        let tables = try await pool.withConnection(to: url, for: .admin) {
            try $0.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").string(0, 0)
        }
        #expect(tables == "0")
        await pool.close()
    }

    @Test(arguments: [PrivatePostgres.Flavour.plain, .timescale])
    func twoMigratorsAtOnce(_ flavour: PrivatePostgres.Flavour) async throws {
        guard PrivatePostgres.isAvailable(flavour) else { return }
        let server = try PrivatePostgres.shared(flavour)
        let url = try server.makeDatabase()
        let (one, other) = (try ConnectionPool(), try ConnectionPool())
        async let first = Migrator().migrateTenant(url, pool: one)
        async let second = Migrator().migrateTenant(url, pool: other)
        let reports = try await [first, second]
        let applied = reports.map(\.applied).sorted { $0.count < $1.count }
        #expect(applied[0].isEmpty)
        #expect(applied[1].count == (flavour == .plain ? 3 : 4))
        let recorded = try await one.withConnection(to: url, for: .admin) {
            try $0.execute("SELECT count(*) FROM scada_schema_migrations").string(0, 0)
        }
        #expect(recorded == "\(applied[1].count)")
        await one.close()
        await other.close()
    }

    @Test func completesWhatThePlatformCreated() async throws {
        let server = try PrivatePostgres.shared(.plain)
        let url = try server.makeDatabase()
        let pool = try ConnectionPool()
        try await pool.withConnection(to: url, for: .admin) { connection in
            // As an ORM makes them: fewer columns, other types, columns of its own.
            try connection.execute(
                """
                CREATE TABLE tenants (id uuid PRIMARY KEY, slug varchar(50) NOT NULL UNIQUE, name text NOT NULL,
                    database_url text NOT NULL, plan text NOT NULL DEFAULT 'basic');
                INSERT INTO tenants VALUES (gen_random_uuid(), 'a', 'A', 'postgresql://h/a', 'gold');
                CREATE TABLE scada_connections (id uuid PRIMARY KEY, name varchar(100) NOT NULL,
                    endpoint_url varchar(500) NOT NULL, security_mode varchar(20), is_enabled boolean,
                    updated_at timestamp(3) NOT NULL);
                INSERT INTO scada_connections VALUES (gen_random_uuid(), 'kept', 'opc.tcp://h', 'None', NULL, now());
                CREATE TABLE tag_mappings (id uuid PRIMARY KEY,
                    connection_id uuid NOT NULL REFERENCES scada_connections (id), well_id uuid NOT NULL,
                    opc_node_id varchar(255) NOT NULL, scale numeric DEFAULT 1);
                """
            )
            return
        }
        _ = try await Migrator().migrateMaster(url, pool: pool)
        _ = try await Migrator().migrateTenant(url, pool: pool)
        let facts = try await pool.withConnection(to: url, for: .admin) { connection in
            try connection.execute(
                """
                SELECT (SELECT plan || status FROM tenants),
                       (SELECT name FROM scada_connections WHERE deleted_at IS NULL),
                       (SELECT count(*) FROM information_schema.columns WHERE table_name = 'tag_mappings'),
                       (SELECT data_type FROM information_schema.columns
                        WHERE table_name = 'scada_connections' AND column_name = 'updated_at')
                """
            )
            .row(0)
        }
        #expect(facts == ["goldACTIVE", "kept", "16", "timestamp without time zone"])
        // And it works: an upsert and a reading back.
        let registry = TenantRegistry(pool: pool)
        let id = UUID()
        let record = ConnectionRecord(
            id: id,
            endpointURL: "opc.tcp://x",
            tags: [TagRecord(id: UUID(), wellID: well(1), nodeID: "ns=2;s=a")]
        )
        _ = try await registry.upsert(record, in: url)
        let configuration = try await registry.configuration(of: url)
        #expect(configuration.connections.count == 2)
        #expect(configuration.connections.first { $0.id == id }?.tags.count == 1)
        await pool.close()
    }

    @Test func aForeignOwnersTablesOnlyCostTheTrigger() async throws {
        let server = try PrivatePostgres.shared(.plain)
        let url = try server.makeDatabase()
        let owner = try server.connect(url)
        let configuration = try #require(Migration.all.first { $0.name == "001_configuration" })
        let role = "limited_\(url.displayName.split(separator: "/").last ?? "")"
        try owner.execute(
            """
            CREATE ROLE \(role) LOGIN; GRANT CREATE ON SCHEMA public TO \(role);
            \(configuration.sql.split(separator: "DO $$")[0])
            GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO \(role);
            """
        )
        let limited = try DatabaseURL(
            "postgresql://\(role)@127.0.0.1:\(server.port)/\(url.displayName.split(separator: "/").last ?? "")"
        )
        let pool = try ConnectionPool()
        let report = try await Migrator().migrateTenant(limited, pool: pool)
        #expect(report.applied.count == 3)
        #expect(report.notices.contains { $0.contains("scada_connections are noticed by polling only") })
        await pool.close()
    }

    @Test func aFailingTenantStopsNoOther() async throws {
        let server = try PrivatePostgres.shared(.plain)
        let pool = try ConnectionPool()
        let tenants = [
            TenantRecord(id: UUID(), slug: "a", url: try server.makeDatabase()),
            TenantRecord(id: UUID(), slug: "gone", url: try server.url(database: "does_not_exist")),
            TenantRecord(id: UUID(), slug: "b", url: try server.makeDatabase()),
        ]
        let results = await Migrator().migrateAll(tenants, pool: pool)
        #expect(results.map(\.tenant.slug) == ["a", "gone", "b"])
        #expect(throws: Never.self) { try results[0].result.get() }
        #expect(throws: Never.self) { try results[2].result.get() }
        guard case .failure(let error) = results[1].result else {
            Issue.record("the missing database was migrated")
            return
        }
        #expect(error.message.contains("does_not_exist"))
        await pool.close()
    }

    @Test func aChangedFileIsRefused() async throws {
        let tenant = try await TestTenant(.plain)
        _ = try await tenant.ask("UPDATE scada_schema_migrations SET checksum = 'x' WHERE name = '003_ingest'")
        let error = await #expect(throws: StoreError.self) {
            try await Migrator().migrateTenant(tenant.url, pool: tenant.pool)
        }
        #expect(error?.code == .schema)
        #expect(error?.message.contains("003_ingest") == true)
        await tenant.pool.close()
    }

    @Test func aDatabaseOfALaterVersionIsLeftAlone() async throws {
        let tenant = try await TestTenant(.plain)
        _ = try await tenant.ask(
            "INSERT INTO scada_schema_migrations (scope, name, checksum) VALUES ('tenant', '900_later', 'x')"
        )
        let report = try await Migrator().migrateTenant(tenant.url, pool: tenant.pool)
        #expect(report.applied.isEmpty)
        #expect(report.notices.contains { $0.contains("900_later") })
        await tenant.pool.close()
    }
}

extension PGResult {
    func row(_ row: Int) -> [String?] { (0..<columnCount).map { string(row, $0) } }
}
