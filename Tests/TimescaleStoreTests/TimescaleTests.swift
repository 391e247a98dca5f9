import FoundationEssentials
import Testing

@testable import TimescaleStore

/// What only TimescaleDB does: direct compress, policies.
@Suite(.enabled(if: PrivatePostgres.isAvailable(.timescale), "needs PostgreSQL with TimescaleDB"))
struct TimescaleTests {
    private func batch(_ count: Int) -> RowMaker {
        var rows = RowMaker()
        for n in 0..<count {
            rows.add(
                well: well(UInt8(n % 3)),
                tag: "ns=2;s=t\(n % 10)",
                micros: march + Int64(n) * 1_000,
                value: Double(n)
            )
        }
        return rows
    }

    @Test func directCompressFillsTheColumnstoreAndLateRowsStillFit() async throws {
        let tenant = try await TestTenant(.timescale)
        let outcome = try await tenant.store(batch(30_000), directCompress: true)
        guard case .stored(let stored) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(stored.rows == 30_000)
        let offers = try await tenant.ask(
            """
            SELECT current_setting('timescaledb.enable_direct_compress_copy', true) IS NOT NULL
            FROM timescaledb_information.hypertables
            """
        )
        // An older server stores the usual way and says so.
        #expect(stored.directCompress == (offers == "t"))
        guard offers == "t" else { return }
        #expect(
            try await tenant.column(
                "SELECT is_compressed::text FROM timescaledb_information.chunks WHERE hypertable_name = 'scada_readings'"
            ) == ["true"]
        )
        // No row went the usual way, and sorted batches make few segments: 30 tags of 1,000 rows.
        let compressed = try await tenant.ask(
            """
            SELECT format('%I.%I', c.schema_name, c.table_name) FROM _timescaledb_catalog.chunk c
            JOIN _timescaledb_catalog.chunk r ON r.compressed_chunk_id = c.id
            """
        )
        let chunk = try await tenant.ask(
            "SELECT format('%I.%I', chunk_schema, chunk_name) FROM timescaledb_information.chunks "
                + "WHERE hypertable_name = 'scada_readings'"
        )
        #expect(try await tenant.ask("SELECT count(*) FROM ONLY \(try #require(chunk))") == "0")
        #expect(try await tenant.ask("SELECT sum(_ts_meta_count) FROM \(try #require(compressed))") == "30000")
        #expect(try await tenant.ask("SELECT count(*) FROM \(try #require(compressed))") == "30")
        #expect(try await tenant.column("EXPLAIN SELECT * FROM scada_readings").joined().contains("Columnar"))

        // Late, out of order, beside rows of the same tag: the usual way and the direct one.
        var late = RowMaker()
        late.add(well: well(1), tag: "ns=2;s=t1", micros: march + 500, value: -1)
        late.add(well: well(1), tag: "ns=2;s=t1", micros: march + 250, value: -2)
        try await tenant.store(late)
        try await tenant.store(late, directCompress: true)
        #expect(try await tenant.ask("SELECT count(*) FROM scada_readings") == "30004")
        let page = try await tenant.reader.page(
            ReadingsQuery(
                wellID: well(1),
                startMicros: march,
                endMicros: march + 2_000,
                tagNodeIDs: ["ns=2;s=t1"],
                ascending: true
            ),
            in: tenant.url
        )
        #expect(page.readings.map(\.value) == [-2, -2, -1, -1, 1])
        await tenant.pool.close()
    }

    @Test func withoutTheExtensionTheUsualWayIsTaken() async throws {
        let tenant = try await TestTenant(.plain)
        #expect(try await tenant.store(batch(1_000), directCompress: true) == .stored(.init(rows: 1_000)))
        await tenant.pool.close()
    }

    @Test func intervalsAreThoseOfTheSettingsAndChangeWithThem() async throws {
        let tenant = try await TestTenant(.timescale)
        let jobs = """
            SELECT concat_ws(' ', proc_name, hypertable_name = 'scada_readings', config->>'compress_after',
                config->>'drop_after', config->>'start_offset')
            FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL ORDER BY 1
            """
        let chunkInterval = """
            SELECT time_interval::text FROM timescaledb_information.dimensions WHERE hypertable_name = 'scada_readings'
            """
        let usual = try await tenant.ask(chunkInterval)
        #expect(usual == "1 day" || usual == "24:00:00")
        let before = try await tenant.column(jobs)
        #expect(before.contains { $0.contains("compression") && $0.hasSuffix("7 days") }, "\(before)")
        #expect(before.contains { $0.contains("retention") && $0.hasSuffix("2 years") }, "\(before)")
        // The shortest of all: every policy must still be one that the server takes.
        var settings = StorageSettings()
        settings.chunkHours = 6
        settings.compressAfterHours = 36
        settings.retentionDays = StorageSettings.shortestRetentionDays
        let report = try await Migrator(settings: settings).migrateTenant(tenant.url, pool: tenant.pool)
        #expect(report.applied == ["repeat_policies"])
        let after = try await tenant.column(jobs)
        #expect(after.count == before.count)
        #expect(try await tenant.ask(chunkInterval) == "06:00:00")
        #expect(after.contains { $0.contains("compression") && $0.hasSuffix("36:00:00") }, "\(after)")
        #expect(after.contains { $0.contains("retention") && $0.hasSuffix("7 days") }, "\(after)")
        #expect(try await Migrator(settings: settings).migrateTenant(tenant.url, pool: tenant.pool).applied == [])
        await tenant.pool.close()
    }
}
