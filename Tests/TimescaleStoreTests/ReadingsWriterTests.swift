import FoundationEssentials
import Glibc
import Synchronization
import Testing

@testable import TimescaleStore

@Suite(.enabled(if: PrivatePostgres.isAvailable(.plain), "needs PostgreSQL server binaries"))
struct ReadingsWriterTests {
    private func batch(_ count: Int, from start: Int64 = march) -> RowMaker {
        var rows = RowMaker()
        for n in 0..<count {
            rows.add(well: well(1), tag: "ns=2;s=t\(n % 10)", micros: start + Int64(n), value: Double(n))
        }
        return rows
    }

    @Test(arguments: [PrivatePostgres.Flavour.plain, .timescale, .timescaleApache])
    func storesOnceAndMovesTheCheckpoint(_ flavour: PrivatePostgres.Flavour) async throws {
        guard PrivatePostgres.isAvailable(flavour) else { return }
        let tenant = try await TestTenant(flavour)
        let journal = UUID()
        let writer = tenant.writer
        let rows = batch(5_000)
        #expect(try await writer.readCheckpoint(in: tenant.url, journalID: journal) == nil)
        #expect(
            try await writer.store(in: tenant.url, journalID: journal, from: 100, to: 200, rows: rows.source())
                == .checkpointDiffers(found: nil)
        )
        #expect(try await writer.prepareCheckpoint(in: tenant.url, journalID: journal, startingAt: 100) == 100)
        #expect(
            try await writer.store(in: tenant.url, journalID: journal, from: 100, to: 200, rows: rows.source())
                == .stored(.init(rows: 5_000))
        )
        // The same flush again, as after a lost answer.
        #expect(
            try await writer.store(in: tenant.url, journalID: journal, from: 100, to: 200, rows: rows.source())
                == .alreadyStored(position: 200)
        )
        #expect(
            try await writer.store(in: tenant.url, journalID: journal, from: 150, to: 250, rows: rows.source())
                == .checkpointDiffers(found: 200)
        )
        #expect(try await writer.prepareCheckpoint(in: tenant.url, journalID: journal, startingAt: 0) == 200)
        #expect(try await tenant.ask("SELECT count(*) FROM scada_readings") == "5000")
        try await writer.setCheckpoint(in: tenant.url, journalID: journal, to: 77)
        #expect(try await writer.readCheckpoint(in: tenant.url, journalID: journal) == 77)
        await tenant.pool.close()
    }

    @Test(arguments: [PrivatePostgres.Flavour.plain, .timescale])
    func tellsWhereARestoredDatabaseStops(_ flavour: PrivatePostgres.Flavour) async throws {
        guard PrivatePostgres.isAvailable(flavour) else { return }
        let tenant = try await TestTenant(flavour)
        let (connection, silent, journal) = (UUID(), UUID(), UUID())
        _ = try await tenant.ask(
            """
            INSERT INTO scada_connections (id, name, endpoint_url, security_mode, security_policy)
            VALUES ('\(connection)', 'a', 'opc.tcp://a:4840', 'None', 'None'),
                   ('\(silent)', 'b', 'opc.tcp://b:4840', 'None', 'None');
            INSERT INTO tag_mappings (id, connection_id, well_id, opc_node_id, data_type) VALUES
                (gen_random_uuid(), '\(connection)', '\(well(1))', 'ns=2;s=fast', 'Double'),
                (gen_random_uuid(), '\(connection)', '\(well(2))', 'ns=2;s=other', 'Double'),
                (gen_random_uuid(), '\(connection)', '\(well(2))', 'ns=2;s=slow', 'Double'),
                (gen_random_uuid(), '\(silent)', '\(well(3))', 'ns=2;s=never', 'Double')
            """
        )
        let writer = tenant.writer
        #expect(try await writer.storedUntil(in: tenant.url, journalID: journal).isEmpty)
        _ = try await writer.prepareCheckpoint(in: tenant.url, journalID: journal, startingAt: 0)
        _ = try await tenant.ask(
            "UPDATE ingest_checkpoints SET updated_at = timestamptz '2026-03-01 12:00:00+00' WHERE journal_id = '\(journal)'"
        )
        let noon = march + 12 * hour
        var rows = RowMaker()
        for second in 1...120 as ClosedRange<Int64> {
            rows.add(well: well(1), tag: "ns=2;s=fast", micros: noon - second * 1_000_000, value: 1)
        }
        rows.add(well: well(2), tag: "ns=2;s=other", micros: noon - 4_000_000, value: 1)
        rows.add(well: well(2), tag: "ns=2;s=slow", micros: noon - hour, value: 1)
        // A clock that runs ahead tells nothing.
        rows.add(well: well(1), tag: "ns=2;s=fast", micros: noon + 6 * hour, value: 1)
        try await tenant.store(rows)
        #expect(
            try await writer.storedUntil(in: tenant.url, journalID: journal)
                == [connection: noon - 4_000_000, silent: noon - 60_000_000]
        )
        await tenant.pool.close()
    }

    @Test func everyColumnArrivesAsItIs() async throws {
        let tenant = try await TestTenant(.plain)
        var rows = RowMaker()
        rows.add(
            well: well(7),
            tag: Array("ns=1;s='; DROP TABLE scada_readings; --".utf8),
            micros: march + 1,
            value: -0.5
        )
        rows.add(
            well: well(7),
            tag: Array("ns=1;s=ü".utf8),
            micros: march + 2,
            quality: "Bad",
            status: 0x8034_0000,
            text: Array("{\"a\": 1}".utf8)
        )
        rows.add(well: well(7), tag: Array("n".utf8), micros: march + 3, value: .nan)
        try await tenant.store(rows)
        let page = try await tenant.reader.page(
            ReadingsQuery(wellID: well(7), startMicros: march, endMicros: march + day, ascending: true),
            in: tenant.url
        )
        #expect(page.nextPageToken == nil)
        #expect(page.readings.map(\.timestampMicros) == [march + 1, march + 2, march + 3])
        #expect(page.readings[0].tagNodeID == "ns=1;s='; DROP TABLE scada_readings; --")
        #expect(page.readings[0].value == -0.5)
        #expect(page.readings[0].statusCode == nil)
        #expect(page.readings[1].tagNodeID == "ns=1;s=ü")
        #expect(page.readings[1].value == nil)
        #expect(page.readings[1].quality == "Bad")
        #expect(page.readings[1].statusCode == 0x8034_0000)
        #expect(page.readings[1].valueText == "{\"a\": 1}")
        #expect(page.readings[2].value?.isNaN == true)
        await tenant.pool.close()
    }

    /// Where a flush ends is settled when it has its connection: what came while it waited goes with it.
    @Test func aFlushTakesWhatCameWhileItWaitedForAConnection() async throws {
        let tenant = try await TestTenant(.plain, connections: 1)
        let (pool, url, writer) = (tenant.pool, tenant.url, tenant.writer)
        let journal = UUID()
        _ = try await writer.prepareCheckpoint(in: url, journalID: journal, startingAt: 0)
        // The only connection is away until told.
        let isReleased = Mutex(false)
        async let holder: Void = pool.withConnection(to: url, for: .admin) { _ in
            while !isReleased.withLock({ $0 }) { usleep(1000) }
        }
        while pool.statistics.busy == 0 { await Task.yield() }
        let end = Mutex(Int64(10))
        var options = ReadingsWriter.Options()
        options.lateEnd = { end.withLock { $0 } }
        let early = batch(3)
        let all = batch(7)
        async let outcome = writer.store(
            in: url,
            journalID: journal,
            from: 0,
            to: 10,
            options: options,
            rows: { sink in try (end.withLock { $0 } == 10 ? early : all).source()(sink) }
        )
        while pool.statistics.waiting == 0 { await Task.yield() }
        end.withLock { $0 = 25 }
        isReleased.withLock { $0 = true }
        #expect(try await outcome == .stored(.init(rows: 7)))
        try await holder
        #expect(try await writer.readCheckpoint(in: url, journalID: journal) == 25)
        // The repetition that knows of less finds all of it stored.
        #expect(
            try await writer.store(in: url, journalID: journal, from: 0, to: 10, rows: early.source())
                == .alreadyStored(position: 25)
        )
        await pool.close()
    }

    @Test func anErrorOfTheSourceStoresNothing() async throws {
        struct Broken: Error {}
        let tenant = try await TestTenant(.plain)
        let journal = UUID()
        _ = try await tenant.writer.prepareCheckpoint(in: tenant.url, journalID: journal, startingAt: 0)
        let rows = batch(100)
        let error = await #expect(throws: StoreError.self) {
            try await tenant.writer.store(in: tenant.url, journalID: journal, from: 0, to: 1) { sink in
                try rows.source()(sink)
                throw Broken()
            }
        }
        #expect(error?.code == .source)
        #expect(error?.cause is Broken)
        #expect(try await tenant.ask("SELECT count(*) FROM scada_readings") == "0")
        // The connection survived.
        #expect(
            try await tenant.writer.store(in: tenant.url, journalID: journal, from: 0, to: 1, rows: rows.source())
                == .stored(.init(rows: 100))
        )
        #expect(tenant.pool.statistics.connects == 1)
        await tenant.pool.close()
    }

    @Test func aBackendKilledWithinCopyStoresNothingAndTheRepetitionAll() async throws {
        let tenant = try await TestTenant(.plain)
        let journal = UUID()
        _ = try await tenant.writer.prepareCheckpoint(in: tenant.url, journalID: journal, startingAt: 0)
        let rows = batch(50_000)
        let server = tenant.server
        let url = tenant.url
        let error = await #expect(throws: StoreError.self) {
            try await tenant.writer.store(in: url, journalID: journal, from: 0, to: 9) { sink in
                let killer = Mutex(false)
                try rows.source()({ bytes in
                    if killer.withLock({ done in
                        defer { done = true }; return !done
                    }) {
                        let admin = try server.connect(url)
                        try admin.execute(
                            """
                            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                            WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'
                            """
                        )
                    }
                    try sink(bytes)
                })
            }
        }
        #expect(error?.code == .connection)
        #expect(error?.isRetryable == true)
        #expect(
            try await tenant.writer.store(in: url, journalID: journal, from: 0, to: 9, rows: rows.source())
                == .stored(.init(rows: 50_000))
        )
        #expect(try await tenant.ask("SELECT count(*) FROM scada_readings") == "50000")
        await tenant.pool.close()
    }

    @Test(arguments: [PrivatePostgres.Flavour.plain, .timescale])
    func onePoisonRowAmongTenThousand(_ flavour: PrivatePostgres.Flavour) async throws {
        guard PrivatePostgres.isAvailable(flavour) else { return }
        let tenant = try await TestTenant(flavour)
        var rows = batch(6_000)
        rows.add(well: well(1), tag: Array("ns=2;s=nul".utf8), micros: march, text: [0x61, 0x00, 0x62])
        let rest = batch(3_999, from: march + day)
        rows.bytes += rest.bytes
        rows.count += rest.count
        let source = rows.source()
        let journal = UUID()
        let writer = tenant.writer
        _ = try await writer.prepareCheckpoint(in: tenant.url, journalID: journal, startingAt: 0)
        let error = await #expect(throws: StoreError.self) {
            try await writer.store(in: tenant.url, journalID: journal, from: 0, to: 5, rows: source)
        }
        #expect(error?.code == .data)
        let connectionID = UUID()
        let outcome = try await writer.storeIsolating(
            in: tenant.url,
            journalID: journal,
            from: 0,
            to: 5,
            connectionID: { _, tag in tag == "ns=2;s=nul" ? connectionID : nil },
            rows: source
        )
        guard case .stored(let stored) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(stored.rows == 9_999)
        #expect(stored.rejectedCount == 1)
        #expect(stored.rejected.first?.tagNodeID == "ns=2;s=nul")
        #expect(try await tenant.ask("SELECT count(*) FROM scada_readings") == "9999")
        #expect(
            try await tenant.ask(
                "SELECT tag_node_id || ' ' || connection_id || ' ' || (reason LIKE '22021%') FROM scada_rejected_readings"
            ) == "ns=2;s=nul \(connectionID.uuidString.lowercased()) true"
        )
        #expect(try await writer.readCheckpoint(in: tenant.url, journalID: journal) == 5)
        await tenant.pool.close()
    }

    @Test func everyRowPoisoned() async throws {
        let tenant = try await TestTenant(.plain)
        var rows = RowMaker()
        for n in 0..<300 {
            rows.add(well: well(1), tag: [0xFF, 0xFE, UInt8(n & 0x7F)], micros: march + Int64(n), value: 1)
        }
        let journal = UUID()
        _ = try await tenant.writer.prepareCheckpoint(in: tenant.url, journalID: journal, startingAt: 0)
        let outcome = try await tenant.writer.storeIsolating(
            in: tenant.url,
            journalID: journal,
            from: 0,
            to: 5,
            rows: rows.source()
        )
        guard case .stored(let stored) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(stored.rows == 0)
        #expect(stored.rejectedCount == 300)
        #expect(stored.rejected.count == 100)
        #expect(try await tenant.ask("SELECT count(*) FROM scada_rejected_readings WHERE raw IS NOT NULL") == "300")
        await tenant.pool.close()
    }

    @Test(arguments: [PrivatePostgres.Flavour.plain, .timescale])
    func absurdTimestampsHaveAHomeOrARejection(_ flavour: PrivatePostgres.Flavour) async throws {
        guard PrivatePostgres.isAvailable(flavour) else { return }
        let tenant = try await TestTenant(flavour)
        var rows = RowMaker()
        let absurd: [Int64] = [
            .min, .min + 1, -62_135_596_800_000_000, -11_644_473_600_000_000, 0, march,
            253_402_300_799_000_000, .max - 1, .max,
        ]
        for micros in absurd { rows.add(well: well(3), tag: "t", micros: micros, value: 1) }
        let journal = UUID()
        _ = try await tenant.writer.prepareCheckpoint(in: tenant.url, journalID: journal, startingAt: 0)
        let outcome = try await tenant.writer.storeIsolating(
            in: tenant.url,
            journalID: journal,
            from: 0,
            to: 5,
            rows: rows.source()
        )
        guard case .stored(let stored) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(stored.rows + stored.rejectedCount == Int64(absurd.count))
        #expect(stored.rows >= 5)
        // Reading them back traps nowhere.
        for resolution in ReadingsQuery.Resolution.allCases {
            let page = try await tenant.reader.page(
                ReadingsQuery(wellID: well(3), startMicros: .min, endMicros: .max, resolution: resolution),
                in: tenant.url
            )
            // A roll-up that TimescaleDB has just refreshed leaves out what is older than its refresh window.
            #expect(page.readings.contains { $0.timestampMicros == march }, "\(resolution)")
            if resolution == .raw { #expect(page.readings.count >= 5) }
        }
        await tenant.pool.close()
    }

    @Test func aMissingTableIsASchemaError() async throws {
        let server = try PrivatePostgres.shared(.plain)
        let pool = try ConnectionPool()
        let error = await #expect(throws: StoreError.self) {
            try await ReadingsWriter(pool: pool).readCheckpoint(in: server.makeDatabase(), journalID: UUID())
        }
        #expect(error?.code == .schema)
        #expect(error?.sqlState == "42P01")
        await pool.close()
    }
}
