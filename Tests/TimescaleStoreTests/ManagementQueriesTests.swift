import FoundationEssentials
import Testing

@testable import TimescaleStore

/// What the management API asks: pages of readings by bytes, gaps, stored connections.
@Suite(.enabled(if: PrivatePostgres.isAvailable(.plain))) struct ManagementQueriesTests {
    // MARK: - Pages by bytes

    /// Row `index` has a text of `sizes[index]` bytes, or the number when that is 0.
    private static func store(_ sizes: [Int], tag: String = "ns=2;s=A", in tenant: TestTenant) async throws {
        var rows = RowMaker()
        for (index, size) in sizes.enumerated() {
            let micros = march + Int64(index)
            if size > 0 {
                let text = [UInt8](repeating: 0x78, count: size)
                rows.add(well: well(1), tag: Array(tag.utf8), micros: micros, text: text)
            } else {
                rows.add(well: well(1), tag: tag, micros: micros, value: Double(index))
            }
        }
        try await tenant.store(rows)
    }

    /// The pages of everything, oldest first: the indices of their rows.
    private static func pages(
        _ tenant: TestTenant,
        limit: Int = 10_000,
        maxBytes: Int,
        bytesPerRow: Int
    ) async throws -> [[Int]] {
        let query = ReadingsQuery(wellID: well(1), startMicros: march, endMicros: march + hour, ascending: true)
        var pages: [[Int]] = []
        var token: String?
        repeat {
            let page = try await tenant.reader.page(
                query,
                in: tenant.url,
                limit: limit,
                maxBytes: maxBytes,
                bytesPerRow: bytesPerRow,
                pageToken: token
            )
            pages.append(page.readings.map { Int($0.timestampMicros - march) })
            token = page.nextPageToken
        } while token != nil && pages.count < 100
        return pages
    }

    @Test func longTextsEndAPageEarly() async throws {
        let tenant = try await TestTenant(.plain)
        try await Self.store([300, 300, 300, 0, 0, 5_000, 0, 300, 1_000, 1_000], in: tenant)
        // A row is its text, 8 bytes of tag and 42.
        let pages = try await Self.pages(tenant, maxBytes: 1_050, bytesPerRow: 42)
        #expect(pages == [[0, 1, 2], [3, 4], [5], [6, 7], [8], [9]])
        await tenant.pool.close()
    }

    @Test func theLimitStillCounts() async throws {
        let tenant = try await TestTenant(.plain)
        try await Self.store([0, 0, 0, 900, 900, 0, 0], in: tenant)
        #expect(
            try await Self.pages(tenant, limit: 2, maxBytes: 1_050, bytesPerRow: 42) == [
                [0, 1], [2, 3], [4, 5], [6],
            ]
        )
        #expect(try await Self.pages(tenant, maxBytes: .max, bytesPerRow: 42) == [[0, 1, 2, 3, 4, 5, 6]])
        // As large as allowed and not one byte more: no empty page follows.
        #expect(try await Self.pages(tenant, maxBytes: 7 * 50 + 1_800, bytesPerRow: 42) == [[0, 1, 2, 3, 4, 5, 6]])
        await tenant.pool.close()
    }

    /// Rows of one tag and one timestamp: the token counts them, wherever the page was cut.
    @Test func cutsWithinOneTimestampLoseNothing() async throws {
        let tenant = try await TestTenant(.plain)
        var rows = RowMaker()
        for length in 1...9 {
            rows.add(
                well: well(1),
                tag: Array("ns=2;s=A".utf8),
                micros: march,
                text: [UInt8](repeating: 0x61, count: 100 + length)
            )
        }
        try await tenant.store(rows)
        let query = ReadingsQuery(wellID: well(1), startMicros: march, endMicros: march)
        var lengths: [Int] = []
        var token: String?
        repeat {
            let page = try await tenant.reader.page(query, in: tenant.url, maxBytes: 250, pageToken: token)
            lengths += page.readings.map { ($0.valueText ?? "").utf8.count }
            token = page.nextPageToken
        } while token != nil && lengths.count < 20
        #expect(lengths == Array(101...109))
        await tenant.pool.close()
    }

    @Test func tokensTakeTheLongestNodeID() async throws {
        let tenant = try await TestTenant(.plain)
        try await Self.store([0, 0, 0], tag: "ns=2;s=" + String(repeating: "n", count: 4_089), in: tenant)
        #expect(try await Self.pages(tenant, limit: 1, maxBytes: .max, bytesPerRow: 0) == [[0], [1], [2]])
        await tenant.pool.close()
    }

    // MARK: - Gaps

    @Test func gapsComeNewestFirstInPages() async throws {
        let tenant = try await TestTenant(.plain)
        let ledger = GapLedger(pool: tenant.pool)
        let gaps = (0..<7).map { (index: Int) -> GapRecord in
            let start: Int64 = march + Int64(index / 2) * hour
            return GapRecord(
                connectionID: well(UInt8(index % 2 + 1)),
                startedAtMicros: start,
                endedAtMicros: index == 6 ? nil : start + 10,
                cause: "test",
                healedAtMicros: index == 0 ? march : nil
            )
        }
        try await ledger.record(gaps, in: tenant.url)
        var found: [GapRecord] = []
        var token: String?
        repeat {
            let page = try await ledger.list(in: tenant.url, limit: 3, pageToken: token)
            found += page.gaps
            token = page.nextPageToken
        } while token != nil && found.count < 20
        #expect(Set(found.map(\.id)) == Set(gaps.map(\.id)) && found.count == 7)
        #expect(found.map(\.startedAtMicros) == gaps.map(\.startedAtMicros).sorted(by: >))

        let unhealed = try await ledger.list(in: tenant.url, unhealedOnly: true)
        #expect(unhealed.gaps.count == 6 && unhealed.gaps.allSatisfy { $0.healedAtMicros == nil })
        let one = try await ledger.list(in: tenant.url, connectionID: well(1), fromMicros: march + hour)
        #expect(one.gaps.map(\.startedAtMicros) == [march + 3 * hour, march + 2 * hour, march + hour])

        // A token belongs to its question.
        let first = try await ledger.list(in: tenant.url, limit: 1)
        let error = await #expect(throws: StoreError.self) {
            try await ledger.list(in: tenant.url, unhealedOnly: true, limit: 1, pageToken: first.nextPageToken)
        }
        #expect(error?.code == .invalidPageToken)
        await tenant.pool.close()
    }

    // MARK: - Connections

    @Test func storedConnectionsAreThoseNotDeleted() async throws {
        let tenant = try await TestTenant(.plain)
        let registry = TenantRegistry(pool: tenant.pool)
        for n in UInt8(1)...4 {
            let tags = (0..<n).map { TagRecord(id: UUID(), wellID: well(9), nodeID: "ns=2;s=\($0)") }
            let record = ConnectionRecord(
                id: well(n),
                name: "c\(n)",
                endpointURL: "opc.tcp://h\(n)",
                username: "u",
                password: "p\(n)",
                publishingIntervalMilliseconds: 250,
                tags: tags
            )
            _ = try await registry.upsert(record, in: tenant.url)
        }
        _ = try await tenant.ask("UPDATE scada_connections SET is_enabled = false WHERE name = 'c2'")
        _ = try await tenant.ask("UPDATE tag_mappings SET is_enabled = false WHERE opc_node_id = 'ns=2;s=0'")
        #expect(try await registry.remove(connection: well(3), from: tenant.url))

        let all = try await registry.storedConnections(of: tenant.url, limit: 10)
        #expect(all.map(\.record.id) == [well(1), well(2), well(4)])
        #expect(all.map(\.isEnabled) == [true, false, true])
        #expect(all.map(\.tags) == [0, 1, 3])
        #expect(all[0].record.name == "c1" && all[0].record.password == "p1" && all[0].record.username == "u")
        #expect(all[0].record.publishingIntervalMilliseconds == 250)
        let after = try await registry.storedConnections(of: tenant.url, after: well(1), limit: 1)
        #expect(after.map(\.record.id) == [well(2)])
        let one = try await registry.storedConnections(of: tenant.url, connectionID: well(4), limit: 10)
        #expect(one.map(\.record.id) == [well(4)])
        #expect(try await registry.storedConnections(of: tenant.url, connectionID: well(3), limit: 10).isEmpty)
        await tenant.pool.close()
    }
}
