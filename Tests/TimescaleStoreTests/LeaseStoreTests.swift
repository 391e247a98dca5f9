import FoundationEssentials
import Testing

@testable import TimescaleStore

/// Leases against a real server. Leases end because they are short or are set back in the table, never by waiting long.
@Suite(.enabled(if: PrivatePostgres.isAvailable(.plain), "needs PostgreSQL server binaries"))
struct LeaseStoreTests {
    private let tenant = UUID()
    private let a = LeaseStore.Replica(id: "a", version: "1")
    private let b = LeaseStore.Replica(id: "b")
    private let journals = ["a": UUID(), "b": UUID()]
    private let long = Duration.seconds(600)
    private let timeout = Duration.seconds(30)

    private struct Master {
        var store: LeaseStore
        var pool: ConnectionPool
        var url: DatabaseURL

        init() async throws {
            url = try PrivatePostgres.shared(.plain).makeDatabase()
            pool = try ConnectionPool(limits: .init(maxConnections: 8))
            _ = try await Migrator().migrateMaster(url, pool: pool)
            store = LeaseStore(pool: pool, master: url)
        }

        func execute(_ sql: String) async throws {
            try await pool.withConnection(to: url, for: .admin) { _ = try $0.execute(sql) }
        }

        /// As if so much time had passed without a renewal.
        func expireAll() async throws {
            try await execute("UPDATE connection_leases SET expires_at = now() - interval '1 second'")
        }
    }

    private func wish(_ id: UUID, _ replica: LeaseStore.Replica, tags: Int = 5) -> LeaseStore.Wish {
        .init(connectionID: id, tenantID: tenant, journalID: journals[replica.id] ?? UUID(), tags: tags)
    }

    private func claim(
        _ master: Master,
        _ ids: [UUID],
        _ replica: LeaseStore.Replica
    ) async throws -> [LeaseStore.Claim] {
        try await master.store.claim(ids.map { wish($0, replica) }, for: replica, lease: long, timeout: timeout)
    }

    @Test func whatIsFreeIsClaimedOnceAndKeptWhileItIsRenewed() async throws {
        let master = try await Master()
        let ids = (0..<50).map { _ in UUID() }
        let first = try await claim(master, ids, a)
        #expect(Set(first.map(\.connectionID)) == Set(ids))
        #expect(first.allSatisfy { $0.epoch == 1 && $0.origin == .new })
        #expect(try await claim(master, ids, b).isEmpty)

        let renewals = first.map { LeaseStore.Renewal(connectionID: $0.connectionID, epoch: $0.epoch) }
        let round = try await master.store.renew(a, renewals, lease: long, timeout: timeout)
        #expect(round.renewed == Set(ids))
        #expect(round.live == ["a"])
        #expect(round.leases.count == 50)
        #expect(round.leases.allSatisfy { $0.owner == "a" && $0.isLive && $0.tags == 5 })
        #expect(try await master.store.renew(b, [], lease: long, timeout: timeout).live == ["a", "b"])
        await master.pool.close()
    }

    @Test func replicasThatClaimTheSameAtOnceGetEachConnectionOnce() async throws {
        let master = try await Master()
        let ids = (0..<200).map { _ in UUID() }
        for round in 0..<3 {
            if round > 0 { try await master.expireAll() }
            let claims = try await withThrowingTaskGroup(of: (String, [LeaseStore.Claim]).self) { group in
                for name in ["a", "b", "c", "d"] {
                    group.addTask {
                        let replica = LeaseStore.Replica(id: name)
                        return (name, try await claim(master, ids.shuffled(), replica))
                    }
                }
                return try await group.reduce(into: [UUID]()) { $0 += $1.1.map(\.connectionID) }
            }
            #expect(claims.count == Set(claims).count)
            // What was locked by another one just then is had at the next try.
            let rest = try await claim(master, ids.filter { !claims.contains($0) }, a)
            #expect(Set(claims + rest.map(\.connectionID)) == Set(ids))
        }
        await master.pool.close()
    }

    @Test func anExpiredLeaseIsLostToWhoeverTakesItAndGoesOnOtherwise() async throws {
        let master = try await Master()
        let ids = [UUID(), UUID()]
        let held = try await claim(master, ids, a)
        let renewals = held.map { LeaseStore.Renewal(connectionID: $0.connectionID, epoch: $0.epoch) }
        try await master.expireAll()
        let taken = try await claim(master, [ids[0]], b)
        #expect(taken.map(\.epoch) == [2])
        guard case .lost(let heard)? = taken.first?.origin else {
            Issue.record("\(taken)")
            return
        }
        #expect(heard > march)
        #expect(try await master.store.renew(a, renewals, lease: long, timeout: timeout).renewed == [ids[1]])
        // Nor can it give away what it does not have any more.
        let stale = LeaseStore.Release(connectionID: ids[0], epoch: 1, memory: [1])
        #expect(try await !master.store.release(stale, by: a, timeout: timeout))
        try await master.store.drop([(ids[0], 1)], by: a, timeout: timeout)
        #expect(try await master.store.holdings().map(\.owner).sorted() == ["a", "b"])
        await master.pool.close()
    }

    @Test func aHandoverReachesTheNextOwnerAndNobodyLater() async throws {
        let master = try await Master()
        let id = UUID()
        _ = try await claim(master, [id], a)
        let memory = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 * 7) }
        #expect(
            try await master.store.release(.init(connectionID: id, epoch: 1, memory: memory), by: a, timeout: timeout)
        )
        // A renewal that was under way does not take it back.
        let late = LeaseStore.Renewal(connectionID: id, epoch: 1)
        #expect(try await master.store.renew(a, [late], lease: long, timeout: timeout).renewed.isEmpty)
        // Even the one that gave it up, which has forgotten it.
        #expect(
            try await claim(master, [id], a)
                == [.init(connectionID: id, epoch: 2, origin: .handedOver(memory: memory))]
        )
        #expect(
            try await master.store.release(.init(connectionID: id, epoch: 2, memory: memory), by: a, timeout: timeout)
        )
        let next = try await claim(master, [id], b)
        #expect(next == [.init(connectionID: id, epoch: 3, origin: .handedOver(memory: memory))])
        // b dies without a word: what a left is old.
        try await master.expireAll()
        let after = try await claim(master, [id], a)
        guard case .lost? = after.first?.origin else {
            Issue.record("\(after)")
            return
        }
        let renewal = LeaseStore.Renewal(connectionID: id, epoch: 4, isAdopted: true)
        _ = try await master.store.renew(a, [renewal], lease: long, timeout: timeout)
        try await master.execute("DO $$ BEGIN ASSERT NOT EXISTS (SELECT FROM connection_handovers); END $$")
        await master.pool.close()
    }

    /// It ended between taking over and having what there was to take over in its own journal.
    @Test func aReplicaThatEndsBeforeItHasSettledInTakesOverAgain() async throws {
        let master = try await Master()
        let (given, left) = (UUID(), UUID())
        _ = try await claim(master, [given, left], a)
        let release = LeaseStore.Release(connectionID: given, epoch: 1, memory: [7])
        _ = try await master.store.release(release, by: a, timeout: timeout)
        try await master.expireAll()
        let first = try await claim(master, [given, left], b)
        guard case .lost(let heard)? = first.first(where: { $0.connectionID == left })?.origin else {
            Issue.record("\(first)")
            return
        }
        for epoch in [3, 4] as [Int64] {
            let again = try await claim(master, [given, left], b)
            #expect(again.count == 2)
            #expect(again.contains(.init(connectionID: left, epoch: epoch, origin: .lost(lastRenewalMicros: heard))))
            let memory = LeaseStore.Origin.handedOver(memory: [7], isResumed: true)
            #expect(again.contains(.init(connectionID: given, epoch: epoch, origin: memory)))
        }
        let renewals = [given, left].map { LeaseStore.Renewal(connectionID: $0, epoch: 4, isAdopted: true) }
        #expect(try await master.store.renew(b, renewals, lease: long, timeout: timeout).renewed.count == 2)
        let settled = try await claim(master, [given, left], b)
        #expect(settled.map(\.origin) == [.continued, .continued])
        await master.pool.close()
    }

    @Test func aRestartedReplicaGoesOnAtOnceWithItsJournalOnly() async throws {
        let master = try await Master()
        let id = UUID()
        _ = try await claim(master, [id], a)
        #expect(try await claim(master, [id], a) == [.init(connectionID: id, epoch: 2, origin: .continued)])
        // The same name with another journal is another replica.
        let stranger = LeaseStore.Wish(connectionID: id, tenantID: tenant, journalID: UUID(), tags: 1)
        #expect(try await master.store.claim([stranger], for: a, lease: long, timeout: timeout).isEmpty)
        try await master.expireAll()
        let taken = try await master.store.claim([stranger], for: a, lease: long, timeout: timeout)
        guard case .lost? = taken.first?.origin else {
            Issue.record("\(taken)")
            return
        }
        await master.pool.close()
    }

    @Test func whatAnOwnerSaysCanBeReadByAll() async throws {
        let master = try await Master()
        let id = UUID()
        _ = try await claim(master, [id], a)
        var report = LeaseStore.Report()
        report.state = "connected"
        report.stateSinceMicros = march + 1
        report.lastError = "it's broken"
        report.tags = 7
        report.tagsBad = 2
        report.readingsReceived = 1 << 40
        report.lastReadingAtMicros = march + 3
        report.reconnects = 4
        report.publishingIntervalMillis = 250
        _ = try await master.store.renew(
            a,
            [.init(connectionID: id, epoch: 1, report: report)],
            lease: long,
            timeout: timeout
        )
        let holdings = try await master.store.holdings(of: tenant)
        #expect(
            holdings == [.init(connectionID: id, tenantID: tenant, owner: "a", isLive: true, report: report)]
        )
        #expect(try await master.store.holdings(of: UUID()).isEmpty)
        try await master.store.leave(a, timeout: timeout)
        #expect(try await LeaseStore.replicas(in: master.url, master.pool).isEmpty)
        try await master.store.drop([(id, 1)], by: a, timeout: timeout)
        #expect(try await master.store.holdings().isEmpty)
        await master.pool.close()
    }
}
