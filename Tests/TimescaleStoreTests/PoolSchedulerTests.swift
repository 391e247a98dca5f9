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
                    scheduler.connected(slot: slot, now: start)
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
        // A writer may, once the connection has waited for its own database a little.
        #expect(try submit(&pool, 4, .writer, mine) == nil)
        #expect(started(pool.assign(now: start + PoolScheduler.linger)) == [4: true])
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

    // MARK: More databases than connections

    /// Jobs that got a connection, and whether they had to open it.
    private func started(_ actions: [PoolScheduler.Action]) -> [UInt64: Bool] {
        var found: [UInt64: Bool] = [:]
        for case .start(let id, _, _, let connects) in actions { found[id] = connects }
        return found
    }

    private func connect(_ pool: inout PoolScheduler, _ url: DatabaseURL, now: ContinuousClock.Instant) {
        pool.connected(slot: 0, now: now)
        pool.proven(url)
    }

    @Test func theJobsOfADatabaseFollowEachOtherOnItsConnection() {
        var pool = scheduler(1)
        #expect(started(pool.submit(ticket(1, .writer), for: mine, now: start)) == [1: true])
        connect(&pool, mine, now: start)
        #expect(pool.submit(ticket(2, .writer), for: other, now: start).isEmpty)
        #expect(pool.submit(ticket(3, .writer), for: mine, now: start).isEmpty)
        pool.finished(slot: 0, isUsable: true, now: start + .milliseconds(100))
        // The other one came first, but would have to connect.
        #expect(started(pool.assign(now: start + .milliseconds(100))) == [3: false])
        #expect(pool.submit(ticket(4, .writer), for: mine, now: start).isEmpty)
        let later = start + PoolScheduler.turn
        pool.finished(slot: 0, isUsable: true, now: later)
        // Its turn is over.
        #expect(pool.assign(now: later).isEmpty, "the connection is not taken away at once")
        #expect(started(pool.assign(now: later + PoolScheduler.linger)) == [2: true])
        #expect(pool.evictions == 1)
        #expect(pool.waitingCount == 1)
    }

    /// What a database's next job comes for, shortly after the last one, is its connection.
    @Test func aConnectionWaitsALittleForTheNextJobOfItsDatabase() {
        var pool = scheduler(1)
        _ = pool.submit(ticket(1, .writer), for: mine, now: start)
        connect(&pool, mine, now: start)
        _ = pool.submit(ticket(2, .writer), for: other, now: start)
        pool.finished(slot: 0, isUsable: true, now: start)
        #expect(pool.assign(now: start).isEmpty)
        #expect(pool.nextTick(now: start).map { $0 <= start + PoolScheduler.linger } == true)
        let soon = start + .milliseconds(5)
        #expect(started(pool.submit(ticket(3, .writer), for: mine, now: soon)) == [3: false])
        pool.finished(slot: 0, isUsable: true, now: soon)
        #expect(started(pool.assign(now: soon + PoolScheduler.linger)) == [2: true])
    }

    /// Many databases share what connects there may be in a second, in the order in which they asked.
    @Test func connectsAreBoundedAndGoInTurn() throws {
        var pool = scheduler(4)
        let urls = try (0..<300).map { try DatabaseURL("postgresql://a@localhost/d\($0)") }
        var now = start
        var slots: [Int: DatabaseURL] = [:]
        var order: [UInt64] = []
        func take(_ actions: [PoolScheduler.Action]) {
            for case .start(let id, let slot, let url, true) in actions {
                order.append(id)
                slots[slot] = url
            }
        }
        for (number, url) in urls.enumerated() {
            take(pool.submit(ticket(UInt64(number), .writer), for: url, now: now))
        }
        while order.count < urls.count, now < start + .seconds(600) {
            now += .milliseconds(10)
            for (slot, url) in slots {
                pool.connected(slot: slot, now: now)
                pool.proven(url)
                pool.finished(slot: slot, isUsable: true, now: now)
            }
            slots = [:]
            take(pool.assign(now: now))
        }
        #expect(order == (0..<300).map(UInt64.init))
        // Twenty a second for four connections, after a first twenty.
        let seconds = start.duration(to: now) / .seconds(1)
        #expect((13...16).contains(seconds), "\(seconds) s")
        #expect(pool.evictions == 296)
    }

    /// Whose kind of work has all the connections it may have waits for its turn without losing it.
    @Test func whoIsPassedOverKeepsItsPlace() throws {
        var pool = scheduler(4)
        let urls = try (0..<8).map { try DatabaseURL("postgresql://a@localhost/d\($0)") }
        var now = start
        // Administration may have one of four connections.
        #expect(started(pool.submit(ticket(0, .admin), for: urls[0], now: now)) == [0: true])
        pool.connected(slot: 0, now: now)
        pool.proven(urls[0])
        #expect(started(pool.submit(ticket(1, .admin), for: urls[1], now: now)).isEmpty)
        // Others come later, and go first meanwhile.
        for id in 2..<5 {
            #expect(started(pool.submit(ticket(UInt64(id), .writer), for: urls[id], now: now)) == [UInt64(id): true])
        }
        for id in 5..<8 {
            #expect(started(pool.submit(ticket(UInt64(id), .writer), for: urls[id], now: now)).isEmpty)
        }
        pool.finished(slot: 0, isUsable: true, now: now)
        now += .seconds(1)
        // One connection is free: the first that waits gets it.
        #expect(started(pool.assign(now: now)) == [1: true])
    }

    /// While no connection may be opened, those that are open are used.
    @Test func withoutAConnectToSpendADatabaseGoesOnBeyondItsTurn() throws {
        var pool = scheduler(2)
        _ = pool.submit(ticket(0, .writer), for: mine, now: start)
        connect(&pool, mine, now: start)
        // The other connection goes from database to database until nothing is left of the first second's connects.
        var now = start
        var isSpent = false
        for id in 1..<200 where !isSpent {
            let url = try DatabaseURL("postgresql://a@localhost/d\(id)")
            _ = pool.submit(ticket(UInt64(id), .writer), for: url, now: now)
            pool.finished(slot: 1, isUsable: true, now: now)
            now += PoolScheduler.linger
            isSpent = pool.waitingCount == 1 && started(pool.assign(now: now)).isEmpty
            pool.connected(slot: 1, now: now)
            pool.proven(url)
        }
        try #require(isSpent && pool.waitingCount == 1)
        #expect(start + PoolScheduler.turn < now, "its turn is over")
        #expect(pool.submit(ticket(999, .writer), for: mine, now: now).isEmpty)
        pool.finished(slot: 0, isUsable: true, now: now)
        #expect(started(pool.assign(now: now)) == [999: false])
    }

    /// A database whose last waiting job is gone has no place to come back to.
    @Test func whoWithdrawsGivesUpItsPlace() throws {
        var pool = scheduler(1)
        _ = pool.submit(ticket(1, .writer), for: try DatabaseURL("postgresql://a@localhost/first"), now: start)
        pool.connected(slot: 0, now: start)
        _ = pool.submit(ticket(2, .writer), for: mine, now: start)
        _ = pool.submit(ticket(3, .writer), for: other, now: start)
        let isWithdrawn = pool.withdraw(2, from: mine)
        #expect(isWithdrawn)
        _ = pool.submit(ticket(4, .writer), for: mine, now: start)
        pool.finished(slot: 0, isUsable: true, now: start)
        #expect(started(pool.assign(now: start + .seconds(1))) == [3: true])
    }
}
