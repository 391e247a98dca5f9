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
}
