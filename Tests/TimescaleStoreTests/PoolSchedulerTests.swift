import Testing

@testable import TimescaleStore

@Suite struct PoolSchedulerTests {
    private let start = ContinuousClock.now
    private let mine: DatabaseURL
    private let other: DatabaseURL

    init() throws {
        mine = try DatabaseURL("postgresql://a@localhost/mine")
        other = try DatabaseURL("postgresql://a@localhost/other")
    }

    private func ticket(_ id: UInt64, _ kind: ConnectionPool.Kind) -> PoolScheduler.Ticket {
        PoolScheduler.Ticket(id: id, kind: kind, deadline: nil, arrived: start)
    }

    /// What became of a job at once: the slot it got, nil when it waits, or a refusal.
    private func submit(
        _ scheduler: inout PoolScheduler,
        _ id: UInt64,
        _ kind: ConnectionPool.Kind,
        _ url: DatabaseURL
    ) throws(StoreError) -> Int? {
        for action in scheduler.submit(ticket(id, kind), for: url, now: start) {
            switch action {
            case .start(id, let slot, _, let connects):
                if connects {
                    scheduler.connected(slot: slot)
                    scheduler.proven(url)
                }
                return slot
            case .fail(id, let error): throw error
            default: break
            }
        }
        return nil
    }

    private func scheduler(_ connections: Int) -> PoolScheduler {
        PoolScheduler(limits: ConnectionPool.Limits(maxConnections: connections), now: start)
    }

    @Test func aFurtherStreamGetsWhatIsFree() throws {
        var pool = scheduler(8)
        #expect(try submit(&pool, 1, .writer, mine) != nil)
        #expect(try submit(&pool, 2, .parallelWriter, mine) != nil)
        #expect(try submit(&pool, 3, .parallelWriter, mine) != nil)
        // A quarter of eight, and no more.
        let refusal = #expect(throws: StoreError.self) { try submit(&pool, 4, .parallelWriter, mine) }
        #expect(refusal?.code == .resources)
        #expect(pool.waitingCount == 0)
        #expect(try submit(&pool, 5, .writer, mine) != nil)
    }

    @Test func aFurtherStreamDoesNotWaitAndTakesNothingFromThoseThatDo() throws {
        var pool = scheduler(2)
        let slot = try #require(try submit(&pool, 1, .writer, mine))
        _ = try #require(try submit(&pool, 2, .writer, other))
        #expect(try submit(&pool, 3, .writer, other) == nil, "waits")
        #expect(throws: StoreError.self) { try submit(&pool, 4, .parallelWriter, mine) }
        #expect(pool.waitingCount == 1)
        pool.finished(slot: slot, isUsable: true, now: start)
        // The connection is idle now, but somebody waits.
        #expect(throws: StoreError.self) { try submit(&pool, 5, .parallelWriter, mine) }
    }

    @Test func aFurtherStreamClosesNobodysConnection() throws {
        var pool = scheduler(2)
        let slot = try #require(try submit(&pool, 1, .writer, other))
        pool.finished(slot: slot, isUsable: true, now: start)
        _ = try #require(try submit(&pool, 2, .writer, mine))
        #expect(throws: StoreError.self) { try submit(&pool, 3, .parallelWriter, mine) }
        #expect(pool.evictions == 0)
        #expect(pool.idleCount == 1)
        // A writer may.
        #expect(try submit(&pool, 4, .writer, mine) != nil)
        #expect(pool.evictions == 1)
    }

    @Test func aFurtherStreamThatCannotConnectBlamesNobody() throws {
        var pool = scheduler(8)
        _ = try #require(try submit(&pool, 1, .writer, mine))
        for action in pool.submit(ticket(2, .parallelWriter), for: mine, now: start) {
            guard case .start(_, let slot, _, true) = action else { continue }
            let error = StoreError(.resources, "too many clients already")
            #expect(pool.connectFailed(slot: slot, error: error, blame: true, jitter: 0, now: start).isEmpty)
        }
        #expect(pool.connectFailures == 0)
        #expect(try submit(&pool, 3, .writer, mine) != nil, "no back-off")
    }

    @Test func oneConnectionIsTheWritersAlone() throws {
        var pool = scheduler(1)
        #expect(throws: StoreError.self) { try submit(&pool, 1, .parallelWriter, mine) }
        #expect(try submit(&pool, 2, .writer, mine) != nil)
    }
}
