import FoundationEssentials
import Glibc
import Synchronization
import Testing

@testable import TimescaleStore

/// Flushes made at the same time and committed in order.
@Suite(.enabled(if: PrivatePostgres.isAvailable(.plain), "needs PostgreSQL server binaries"))
struct ParallelFlushTests {
    private let journal = UUID()
    /// Microseconds since 1970. Of today: a chunk that is old enough to be compressed is, at any moment, and a flush that waits
    /// for that waits for those beside it, which make way.
    private let today = Int64(Date().timeIntervalSince1970 * 1e6)

    /// The rows of the flush from 100 × `number` on: 100 of them, microseconds apart, or one that cannot be stored among them.
    private func rows(_ number: Int, isPoisoned: Bool = false) -> RowMaker {
        var rows = RowMaker()
        for n in 0..<100 {
            rows.add(well: well(1), tag: "t", micros: today + Int64(number * 100 + n), value: Double(n))
        }
        if isPoisoned { rows.add(well: well(1), tag: Array("t".utf8), micros: today, text: [0x61, 0x00]) }
        return rows
    }

    private func options(_ turn: FlushTurn?) -> ReadingsWriter.Options {
        var options = ReadingsWriter.Options()
        options.turn = turn
        options.timeout = .seconds(60)
        return options
    }

    private func flush(
        _ tenant: TestTenant,
        _ number: Int,
        _ turn: FlushTurn?,
        _ rows: @escaping ReadingsWriter.RowSource
    ) async throws -> ReadingsWriter.Outcome {
        try await tenant.writer.store(
            in: tenant.url,
            journalID: journal,
            from: Int64(number * 100),
            to: Int64(number * 100 + 100),
            options: options(turn),
            rows: rows
        )
    }

    private func prepared(
        _ flavour: PrivatePostgres.Flavour = .plain,
        connections: Int = 8
    ) async throws -> TestTenant {
        let tenant = try await TestTenant(flavour, connections: connections)
        _ = try await tenant.writer.prepareCheckpoint(in: tenant.url, journalID: journal, startingAt: 0)
        return tenant
    }

    private func stored(_ tenant: TestTenant) async throws -> String? {
        try await tenant.ask("SELECT count(*) || ' ' || count(DISTINCT timestamp) FROM scada_readings")
    }

    /// Rows that are all sent, whereupon the COPY stays open until `isOpen`.
    private func held(_ rows: RowMaker, until isOpen: @escaping @Sendable () -> Bool) -> ReadingsWriter.RowSource {
        let source = rows.source()
        return { sink in
            try source(sink)
            let end = ContinuousClock.now + .seconds(60)
            while !isOpen() {
                guard ContinuousClock.now < end else { throw StoreError(.timeout, "the test never let the rows go") }
                usleep(1_000)
            }
        }
    }

    @Test(arguments: [PrivatePostgres.Flavour.plain, .timescale])
    func aLaterFlushIsSentBesideAndCommittedAfter(_ flavour: PrivatePostgres.Flavour) async throws {
        guard PrivatePostgres.isAvailable(flavour) else { return }
        let tenant = try await prepared(flavour)
        // The chunk is there: who makes one keeps others out until it is committed.
        try await tenant.store(rows(9))
        let (first, isLastSent) = (FlushTurn(), Flag())
        let second = FlushTurn(after: first)
        let third = FlushTurn(after: second)
        let source = rows(2).source()
        async let one = flush(tenant, 0, first, held(rows(0)) { isLastSent.isSet })
        async let two = flush(tenant, 1, second, rows(1).source())
        async let three = flush(tenant, 2, third) { sink in
            try source(sink)
            isLastSent.set()
        }
        let outcomes = try await (one, two, three)
        #expect(outcomes.0 == .stored(.init(rows: 100)))
        #expect(outcomes.1 == .stored(.init(rows: 100)))
        #expect(outcomes.2 == .stored(.init(rows: 100)))
        #expect(try await stored(tenant) == "400 400")
        #expect(try await tenant.writer.readCheckpoint(in: tenant.url, journalID: journal) == 300)
        await tenant.pool.close()
    }

    @Test func whatFollowsAFailureIsNotStored() async throws {
        let tenant = try await prepared()
        let first = FlushTurn()
        let second = FlushTurn(after: first)
        let third = FlushTurn(after: second)
        async let one = flush(tenant, 0, first, rows(0, isPoisoned: true).source())
        async let two = flush(tenant, 1, second, rows(1).source())
        async let three = flush(tenant, 2, third, rows(2).source())
        var failure: StoreError?
        do { _ = try await one } catch { failure = error as? StoreError }
        #expect(failure?.code == .data)
        #expect(try await two == .outOfTurn)
        #expect(try await three == .outOfTurn)
        #expect(try await stored(tenant) == "0 0")
        // And again, in turn.
        #expect(try await flush(tenant, 0, nil, rows(0).source()) == .stored(.init(rows: 100)))
        #expect(try await flush(tenant, 1, nil, rows(1).source()) == .stored(.init(rows: 100)))
        #expect(try await stored(tenant) == "200 200")
        await tenant.pool.close()
    }

    /// The checkpoint decides, not what the turns say.
    @Test func aFlushThatWasStoredAlreadyIsNotStoredAgain() async throws {
        let tenant = try await prepared()
        #expect(try await flush(tenant, 0, nil, rows(0).source()) == .stored(.init(rows: 100)))
        #expect(try await flush(tenant, 1, nil, rows(1).source()) == .stored(.init(rows: 100)))
        let first = FlushTurn()
        let second = FlushTurn(after: first)
        async let one = flush(tenant, 0, first, rows(0).source())
        async let two = flush(tenant, 1, second, rows(1).source())
        #expect(try await one == .alreadyStored(position: 200))
        #expect(try await two == .alreadyStored(position: 200))
        #expect(try await stored(tenant) == "200 200")
        await tenant.pool.close()
    }

    @Test func aFlushWhoseForerunnerIsNotInTheDatabaseIsNotStored() async throws {
        let tenant = try await prepared()
        // Over and stored, it says, but it was another database.
        let first = FlushTurn()
        first.end(isStored: true)
        let second = FlushTurn(after: first)
        #expect(try await flush(tenant, 1, second, rows(1).source()) == .outOfTurn)
        #expect(second.hasFailed)
        #expect(try await stored(tenant) == "0 0")
        await tenant.pool.close()
    }

    /// The server cannot know that the one waits for the other: a chunk, for example, belongs to who made it until COMMIT.
    @Test func aFlushMakesWayForTheOneBefore() async throws {
        let tenant = try await prepared()
        _ = try await tenant.ask("CREATE TABLE lock_of_test (n int)")
        let first = FlushTurn()
        let second = FlushTurn(after: first)
        let hasLock = Flag()
        let (pool, url, source) = (tenant.pool, tenant.url, rows(0).source())
        async let two = pool.withConnection(to: url, for: .writer, timeout: .seconds(60)) { connection -> Bool in
            try connection.transaction { (connection) throws(StoreError) -> Bool in
                try connection.execute("LOCK TABLE lock_of_test")
                second.begin(backend: try ReadingsWriter.backend(connection))
                hasLock.set()
                return try ReadingsWriter.wait(for: first, connection)
            }
        }
        async let one = pool.withConnection(to: url, for: .writer, timeout: .seconds(60)) { connection -> Int64 in
            try connection.transaction { (connection) throws(StoreError) -> Int64 in
                first.begin(backend: try ReadingsWriter.backend(connection))
                while !hasLock.isSet { usleep(1_000) }
                try connection.execute("SET LOCAL lock_timeout = '30s'; LOCK TABLE lock_of_test")
                return try connection.copyIn(PGConnection.readingsCopy, source)
            }
        }
        #expect(try await two == false)
        #expect(try await one == 100)
        first.end(isStored: true)
        #expect(try await stored(tenant) == "100 100")
        await tenant.pool.close()
    }

    @Test func anotherStreamNeedsAFreeConnection() async throws {
        let tenant = try await prepared(connections: 1)
        let first = FlushTurn()
        let isSent = Flag()
        let second = FlushTurn(after: first)
        async let one = flush(tenant, 0, first, held(rows(0)) { isSent.isSet })
        let failure = await #expect(throws: StoreError.self) {
            _ = try await flush(tenant, 1, second, rows(1).source())
        }
        #expect(failure?.code == .resources)
        #expect(second.hasFailed)
        isSent.set()
        #expect(try await one == .stored(.init(rows: 100)))
        #expect(try await stored(tenant) == "100 100")
        await tenant.pool.close()
    }

    @Test func aCheckedFlushIsMadeAlone() async throws {
        let tenant = try await prepared()
        let first = FlushTurn()
        first.end(isStored: true)
        var options = options(FlushTurn(after: first))
        options.sharing = .checked
        let source = rows(0).source()
        let failure = await #expect(throws: StoreError.self) {
            _ = try await tenant.writer.store(
                in: tenant.url,
                journalID: journal,
                from: 0,
                to: 100,
                options: options,
                rows: source
            )
        }
        #expect(failure?.code == .invalidArgument)
        await tenant.pool.close()
    }
}

private final class Flag: Sendable {
    private let state = Mutex(false)
    var isSet: Bool { state.withLock { $0 } }
    func set() { state.withLock { $0 = true } }
}
