import FoundationEssentials
import Synchronization
import Testing

@testable import TimescaleStore

/// Flushes of replicas that may hold the same readings.
@Suite(.enabled(if: PrivatePostgres.isAvailable(.plain), "needs PostgreSQL server binaries"))
struct SharedFlushTests {
    private func flush(
        _ tenant: TestTenant,
        _ rows: RowMaker,
        _ sharing: ReadingsWriter.Sharing,
        isolating: Bool = false
    ) async throws -> ReadingsWriter.Outcome {
        let journal = UUID()
        _ = try await tenant.writer.prepareCheckpoint(in: tenant.url, journalID: journal, startingAt: 0)
        var options = ReadingsWriter.Options()
        options.sharing = sharing
        if isolating {
            return try await tenant.writer.storeIsolating(
                in: tenant.url,
                journalID: journal,
                from: 0,
                to: 1,
                options: options,
                rows: rows.source()
            )
        }
        return try await tenant.writer.store(
            in: tenant.url,
            journalID: journal,
            from: 0,
            to: 1,
            options: options,
            rows: rows.source()
        )
    }

    @Test(arguments: [PrivatePostgres.Flavour.plain, .timescale])
    func aCheckedFlushLeavesOutWhatIsThere(_ flavour: PrivatePostgres.Flavour) async throws {
        guard PrivatePostgres.isAvailable(flavour) else { return }
        let tenant = try await TestTenant(flavour)
        var first = RowMaker()
        var second = RowMaker()
        for n in 0..<2_000 {
            let micros = march + Int64(n)
            if n < 1_500 { first.add(well: well(1), tag: "t\(n % 7)", micros: micros, value: Double(n)) }
            if n >= 1_000 { second.add(well: well(1), tag: "t\(n % 7)", micros: micros, value: Double(n)) }
        }
        // Alike in nearly everything is not the same.
        for rows in [1, 2] {
            var maker = rows == 1 ? first : second
            maker.add(well: well(2), tag: Array("x".utf8), micros: march, status: 0x8000_0000)
            maker.add(well: well(2), tag: Array("x".utf8), micros: march, text: Array("a".utf8))
            maker.add(well: well(2), tag: Array("y".utf8), micros: march, value: .nan)
            maker.add(well: well(UInt8(2 + rows)), tag: "x", micros: march, value: 1)
            maker.add(well: well(2), tag: "value", micros: march, value: Double(rows))
            maker.add(well: well(2), tag: "time", micros: march + Int64(rows), value: 1)
            maker.add(well: well(2), tag: "tag\(rows)", micros: march, value: 1)
            maker.add(well: well(2), tag: Array("status".utf8), micros: march, value: 1, status: Int64(rows) << 16)
            // The way a value came (overflow of a queue here) does not make it another one.
            maker.add(well: well(2), tag: Array("way".utf8), micros: march, value: 1, status: rows == 1 ? 0x480 : nil)
            maker.add(well: well(2), tag: Array("text".utf8), micros: march, text: Array("\(rows)".utf8))
            if rows == 1 { first = maker } else { second = maker }
        }
        #expect(try await flush(tenant, first, .owner { true }) == .stored(.init(rows: 1_510)))
        #expect(try await flush(tenant, second, .checked) == .stored(.init(rows: 506)))
        #expect(try await flush(tenant, second, .checked) == .stored(.init(rows: 0)))
        #expect(try await tenant.ask("SELECT count(*) FROM scada_readings") == "2016")
        await tenant.pool.close()
    }

    @Test func aCheckedFlushRejectsOnlyWhatCannotBeStored() async throws {
        let tenant = try await TestTenant(.plain)
        var rows = RowMaker()
        rows.add(well: well(1), tag: "t", micros: march, value: 1)
        rows.add(well: well(1), tag: Array("t".utf8), micros: march + 1, text: [0x61, 0x00])
        rows.add(well: well(1), tag: "t", micros: march + 2, value: 2)
        let failure = await #expect(throws: StoreError.self) { _ = try await flush(tenant, rows, .checked) }
        #expect(failure?.code == .data)
        guard case .stored(let stored) = try await flush(tenant, rows, .checked, isolating: true) else {
            Issue.record("not stored")
            return
        }
        #expect(stored.rows == 2)
        #expect(stored.rejectedCount == 1)
        #expect(try await tenant.ask("SELECT count(*) FROM scada_readings") == "2")
        await tenant.pool.close()
    }

    @Test func aReplicaWithoutLeasesStoresNothingUnchecked() async throws {
        let tenant = try await TestTenant(.plain)
        var rows = RowMaker()
        rows.add(well: well(1), tag: "t", micros: march, value: 1)
        for isolating in [false, true] {
            let failure = await #expect(throws: StoreError.self) {
                _ = try await flush(tenant, rows, .owner { false }, isolating: isolating)
            }
            #expect(failure?.code == .fenced)
        }
        #expect(try await tenant.ask("SELECT count(*) FROM scada_readings") == "0")
        await tenant.pool.close()
    }

    /// A plain flush that asked in time goes first; the checked one waits for it and sees its rows.
    @Test func checkedFlushesWaitForPlainOnes() async throws {
        let tenant = try await TestTenant(.plain)
        var rows = RowMaker()
        for n in 0..<100 { rows.add(well: well(1), tag: "t", micros: march + Int64(n), value: Double(n)) }
        let source = rows.source()
        let (hasBegun, begun) = AsyncStream<Void>.makeStream()
        let journal = UUID()
        _ = try await tenant.writer.prepareCheckpoint(in: tenant.url, journalID: journal, startingAt: 0)
        var options = ReadingsWriter.Options()
        options.sharing = .owner { true }
        let plainOptions = options
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        let server = tenant.url
        async let plain = tenant.writer.store(
            in: tenant.url,
            journalID: journal,
            from: 0,
            to: 1,
            options: plainOptions,
            rows: { sink in
                begun.yield()
                // Holds the flush open until the other one waits for it.
                let observer = try PrivatePostgres.shared(.plain).connect(server)
                let deadline = ContinuousClock.now + .seconds(20)
                while try observer.execute(waiting).int(0, 0) == 0, .now < deadline {
                    _ = try observer.execute("SELECT pg_sleep(0.01)")
                }
                try source(sink)
            }
        )
        for await _ in hasBegun { break }
        let checked = try await flush(tenant, rows, .checked)
        #expect(try await plain == .stored(.init(rows: 100)))
        #expect(checked == .stored(.init(rows: 0)))
        #expect(try await tenant.ask("SELECT count(*) FROM scada_readings") == "100")
        await tenant.pool.close()
    }
}
