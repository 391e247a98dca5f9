import FoundationEssentials
import Testing

@testable import TimescaleStore

/// Rows that commands write: tenants, and passwords encrypted anew.
@Suite(.enabled(if: PrivatePostgres.isAvailable(.plain))) struct TenantRowsTests {
    @Test func anAddedTenantIsActive() async throws {
        let server = try PrivatePostgres.shared(.plain)
        let master = try server.makeDatabase()
        let pool = try ConnectionPool()
        _ = try await Migrator().migrateMaster(master, pool: pool)
        let registry = TenantRegistry(pool: pool)
        let tenant = TenantRecord(
            id: UUID(),
            slug: "north",
            name: "North field",
            url: try DatabaseURL("postgresql://h/x")
        )
        try await registry.add(tenant, master: master)
        #expect(try await registry.activeTenants(master: master).tenants == [tenant])
        let again = await #expect(throws: StoreError.self) { try await registry.add(tenant, master: master) }
        #expect(again?.code == .data)
        await pool.close()
    }

    @Test func passwordsOfAllConnectionsAreFoundAndReplacedOnce() async throws {
        let tenant = try await TestTenant(.plain)
        let registry = TenantRegistry(pool: tenant.pool)
        let ids = (1...4).map { well($0) }
        for (id, password) in zip(ids, ["a", "b", nil, ""] as [String?]) {
            let record = ConnectionRecord(id: id, endpointURL: "opc.tcp://h", username: "u", password: password)
            _ = try await registry.upsert(record, in: tenant.url)
        }
        // A deleted connection may come back: its password counts.
        #expect(try await registry.remove(connection: ids[1], from: tenant.url))
        let found = try await registry.passwords(of: tenant.url)
        #expect(found.map(\.connection) == [ids[0], ids[1]])
        #expect(found.map(\.text) == ["a", "b"])
        #expect(!"\(found)".contains("\"b\""))

        #expect(try await registry.replacePassword(of: ids[0], old: "a", new: "A", in: tenant.url))
        // Changed meanwhile: left alone.
        #expect(try await !registry.replacePassword(of: ids[0], old: "a", new: "Z", in: tenant.url))
        #expect(try await registry.passwords(of: tenant.url).map(\.text) == ["A", "b"])
        await tenant.pool.close()
    }

    /// Rows that are not read do not matter; every other change does.
    @Test func anUnchangedConfigurationIsNotReadAgain() async throws {
        let tenant = try await TestTenant(.plain)
        let registry = TenantRegistry(pool: tenant.pool)
        let tags = (1...3 as ClosedRange<UInt8>).map {
            TagRecord(id: well(10 + $0), wellID: well($0), nodeID: "i=\($0)")
        }
        for number: UInt8 in 1...2 {
            var record = ConnectionRecord(id: well(20 + number), endpointURL: "opc.tcp://h\(number)")
            record.tags = number == 1 ? tags : []
            _ = try await registry.upsert(record, in: tenant.url)
        }
        var known = try #require(try await registry.configuration(of: tenant.url, unless: nil))
        #expect(known.connections.map(\.tags.count) == [3, 0])
        #expect(try await registry.configuration(of: tenant.url, unless: known.fingerprint) == nil)
        let changes = [
            "UPDATE scada_connections SET endpoint_url = 'opc.tcp://g' WHERE endpoint_url = 'opc.tcp://h2'",
            "UPDATE tag_mappings SET opc_node_id = 'i=9' WHERE opc_node_id = 'i=1'",
            "UPDATE tag_mappings SET is_enabled = false WHERE opc_node_id = 'i=9'",
            "UPDATE tag_mappings SET queue_size = 7 WHERE opc_node_id = 'i=2'",
            "DELETE FROM tag_mappings WHERE opc_node_id = 'i=3'",
            "UPDATE scada_connections SET deleted_at = now() WHERE endpoint_url = 'opc.tcp://g'",
            "UPDATE scada_connections SET password = 'p'",
        ]
        for change in changes {
            _ = try await tenant.ask(change)
            let changed = try await registry.configuration(of: tenant.url, unless: known.fingerprint)
            known = try #require(changed, "\(change)")
            #expect(try await registry.configuration(of: tenant.url, unless: known.fingerprint) == nil, "\(change)")
        }
        #expect(known.connections.map(\.tags.count) == [1])
        _ = try await tenant.ask("UPDATE tag_mappings SET queue_size = 8 WHERE opc_node_id = 'i=9'")
        #expect(try await registry.configuration(of: tenant.url, unless: known.fingerprint) == nil, "of a disabled tag")
        await tenant.pool.close()
    }
}
