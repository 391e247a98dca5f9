import FoundationEssentials
import Testing
import TimescaleStore

@testable import Ingestion

@Suite struct LeaseLedgerTests {
    private let tenant = UUID()
    private let journal = UUID()
    private let start = ContinuousClock.now
    private let ids = (0..<9).map { UUID(uuid: (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, $0)) }

    private func ledger(_ count: Int, tags: Int = 10, me: String = "a") -> LeaseLedger {
        var ledger = LeaseLedger(me: me, lease: .seconds(10))
        let wishes = ids.prefix(count).map { id in
            (id, LeaseLedger.Wanted(tenantID: tenant, journalID: journal, tags: tags))
        }
        _ = ledger.want(Dictionary(uniqueKeysWithValues: wishes), of: tenant)
        return ledger
    }

    private func lease(_ index: Int, _ owner: String, isLive: Bool = true, journal: UUID? = nil) -> LeaseStore.Lease {
        LeaseStore.Lease(connectionID: ids[index], owner: owner, journalID: journal, tags: 10, isLive: isLive)
    }

    /// A renewal that found everything as the ledger has it.
    private func renew(
        _ ledger: inout LeaseLedger,
        live: [String] = ["a"],
        others: [LeaseStore.Lease] = [],
        at seconds: Int = 0
    ) -> LeaseLedger.Verdict {
        let asked = Set(ledger.holds.keys)
        let own = asked.map { LeaseStore.Lease(connectionID: $0, owner: "a", journalID: journal, tags: 10) }
        let round = LeaseStore.Round(renewed: asked, live: live, leases: own + others)
        return ledger.renewed(round, asked: asked, sentAt: start + .seconds(seconds))
    }

    private func take(_ ledger: inout LeaseLedger, _ verdict: LeaseLedger.Verdict) {
        let claims = verdict.claim.map { LeaseStore.Claim(connectionID: $0.connectionID, epoch: 1, origin: .new) }
        #expect(ledger.claimed(claims).isEmpty)
    }

    @Test func aSingleReplicaClaimsEverythingAtOnce() {
        var ledger = ledger(9)
        let verdict = renew(&ledger)
        #expect(Set(verdict.claim.map(\.connectionID)) == Set(ids))
        take(&ledger, verdict)
        #expect(renew(&ledger, at: 3) == LeaseLedger.Verdict())
    }

    @Test func threeReplicasShareWhatIsFreeWithoutOverlap() {
        var claimed: [UUID] = []
        for me in ["a", "b", "c"] {
            var ledger = ledger(9, me: me)
            let round = LeaseStore.Round(live: ["a", "b", "c"])
            let mine = ledger.renewed(round, asked: [], sentAt: start).claim.map(\.connectionID)
            #expect(mine.count == 3)
            claimed += mine
        }
        #expect(Set(claimed) == Set(ids))
        #expect(claimed.count == 9)
    }

    @Test func leasesOfOthersAreLeftAloneUntilTheyExpire() {
        var ledger = ledger(2)
        let others = [lease(0, "b"), lease(1, "b", isLive: false)]
        let verdict = renew(&ledger, others: others)
        #expect(verdict.claim.map(\.connectionID) == [ids[1]])
    }

    @Test func ownLeasesOfBeforeARestartAreTakenAtOnceButNotThoseOfAnotherJournal() {
        var ledger = ledger(2)
        let others = [lease(0, "a", journal: journal), lease(1, "a", journal: UUID())]
        // Others have less to do: sticky all the same.
        let verdict = renew(&ledger, live: ["a", "b", "c"], others: others)
        #expect(verdict.claim.map(\.connectionID) == [ids[0]])
    }

    @Test func whatWasGivenUpGoesToTheReplicaWithLeast() {
        var ledger = ledger(3)
        take(&ledger, renew(&ledger))
        ledger.released(ids[0])
        let given = [lease(0, "a", isLive: false, journal: journal)]
        #expect(renew(&ledger, live: ["a", "b"], others: given).claim.isEmpty)
    }

    @Test func whatADesignatedReplicaDoesNotTakeIsTakenByAnother() {
        var ledger = ledger(1, me: "b")
        var rounds = 0
        while rounds < 10 {
            rounds += 1
            let round = LeaseStore.Round(live: ["a", "b"])
            if !ledger.renewed(round, asked: [], sentAt: start).claim.isEmpty { break }
        }
        #expect(rounds == 3)
    }

    @Test func aReplicaThatCannotRenewStopsBeforeItsLeaseEnds() {
        var ledger = ledger(3)
        take(&ledger, renew(&ledger))
        #expect(ledger.expire(now: start + .milliseconds(7_999)).isEmpty)
        #expect(Set(ledger.expire(now: start + .seconds(8))) == Set(ids.prefix(3)))
        // Once.
        #expect(ledger.expire(now: start + .seconds(9)).isEmpty)
    }

    @Test func afterwardsItGoesOnWithWhatNobodyTook() {
        var ledger = ledger(2)
        take(&ledger, renew(&ledger))
        _ = ledger.expire(now: start + .seconds(60))
        let asked = Set(ids.prefix(2))
        let round = LeaseStore.Round(renewed: [ids[0]], live: ["a", "b"], leases: [lease(0, "a"), lease(1, "b")])
        let verdict = ledger.renewed(round, asked: asked, sentAt: start + .seconds(61))
        #expect(verdict.resumed == [ids[0]])
        #expect(verdict.lost == [ids[1]])
        #expect(verdict.claim.isEmpty)
        #expect(ledger.holds[ids[0]]?.state == .held)
        #expect(ledger.holds[ids[1]] == nil)
        #expect(ledger.expire(now: start + .seconds(68)).isEmpty)
    }

    @Test func aClaimMadeWhileARenewalWasUnderWayIsNotLost() {
        var ledger = ledger(1)
        _ = ledger.claimed([.init(connectionID: ids[0], epoch: 4, origin: .new)])
        let verdict = ledger.renewed(LeaseStore.Round(live: ["a"]), asked: [], sentAt: start)
        #expect(verdict == LeaseLedger.Verdict())
        #expect(ledger.holds[ids[0]]?.epoch == 4)
    }

    @Test func aNewReplicaGetsItsPartOnceItIsThereToStay() {
        var ledger = ledger(9)
        take(&ledger, renew(&ledger))
        for round in 0..<2 { #expect(renew(&ledger, live: ["a", "b"], at: round).handOver.isEmpty) }
        let moved = renew(&ledger, live: ["a", "b"], at: 3).handOver
        #expect(moved.count == 4)
        // Not twice, while it is under way; nor is it lost when a renewal does not find it any more.
        #expect(renew(&ledger, live: ["a", "b"], at: 6).handOver.isEmpty)
        let rest = LeaseStore.Round(renewed: Set(ids).subtracting(moved), live: ["a", "b"])
        #expect(ledger.renewed(rest, asked: Set(ids), sentAt: start + .seconds(7)).lost.isEmpty)
        for id in moved { ledger.released(id) }
        #expect(ledger.holds.count == 5)
    }

    @Test func smallDifferencesMoveNothing() {
        var ledger = ledger(5)
        take(&ledger, renew(&ledger))
        let others = (5..<9).map { lease($0, "b") }
        for round in 0..<5 { #expect(renew(&ledger, live: ["a", "b"], others: others, at: round).handOver.isEmpty) }
    }

    @Test func aReplicaThatEndsClaimsNothing() {
        var ledger = ledger(3)
        ledger.leave()
        #expect(renew(&ledger).claim.isEmpty)
        #expect(ledger.claimed([.init(connectionID: ids[0], epoch: 1, origin: .new)]).map(\.connectionID) == [ids[0]])
    }

    @Test func connectionsThatAreNotConfiguredAnyMoreAreDropped() {
        var ledger = ledger(2)
        take(&ledger, renew(&ledger))
        let rest = [ids[1]: LeaseLedger.Wanted(tenantID: tenant, journalID: journal, tags: 10)]
        #expect(ledger.want(rest, of: tenant).map(\.connectionID) == [ids[0]])
        #expect(ledger.want([:], of: UUID()).isEmpty)
        #expect(Set(ledger.holds.keys) == [ids[1]])
    }

    @Test func loadsConvergeFromAnywhere() {
        // Every replica acts on its own view, one after the other, as they would.
        var generator = SystemRandomNumberGenerator()
        let seed = UInt64.random(in: 1...UInt64.max, using: &generator)
        var random = Splitmix(seed)
        for _ in 0..<50 {
            let live = ["a", "b", "c"]
            var held: [UUID: (owner: String, tags: Int)] = [:]
            for _ in 0..<Int.random(in: 3...60, using: &random) {
                held[UUID()] = (live[Int.random(in: 0..<3, using: &random)], Int.random(in: 1...50, using: &random))
            }
            for _ in 0..<10 {
                for me in live {
                    let balance = LeaseBalance(me: me, live: live, held: held)
                    for id in balance.surplus(atMost: 32) {
                        let rest = held.filter { $0.key != id }
                        for other in live {
                            let view = LeaseBalance(me: other, live: live, held: rest)
                            if view.share(of: [(id, held[id]?.tags ?? 0)]) == [id] { held[id]?.owner = other }
                        }
                    }
                }
            }
            let end = LeaseBalance(me: "a", live: live, held: held)
            for me in live {
                #expect(LeaseBalance(me: me, live: live, held: held).surplus(atMost: 1).isEmpty, "seed \(seed)")
            }
            let largest = held.values.map(\.tags).max() ?? 0
            let spread = (end.loads.values.max() ?? 0) - (end.loads.values.min() ?? 0)
            let fair = end.loads.values.reduce(0, +) / 3
            #expect(spread <= max(2 * largest, fair / 10), "seed \(seed): \(end.loads)")
        }
    }

    @Test func whatOthersHoldIsKnown() {
        var ledger = ledger(3)
        _ = renew(&ledger, live: ["a", "b"], others: [lease(0, "b"), lease(1, "b", isLive: false)])
        #expect(ledger.foreign == [ids[0]])
    }

    @Test func aPassEndsWithTheOpeningItIsOf() {
        let gate = LeaseGate()
        #expect(!gate.pass.isValid)
        gate.open(until: .now + .seconds(600))
        let pass = gate.pass
        #expect(pass.isValid)
        gate.open(until: .now + .seconds(601))
        #expect(pass.isValid && pass == gate.pass)
        gate.close()
        #expect(!pass.isValid)
        gate.open(until: .now + .seconds(600))
        #expect(!pass.isValid && gate.pass.isValid && pass != gate.pass)
    }

    @Test func aGateClosesByItselfAndCountsHowOftenItWasOpened() {
        let gate = LeaseGate()
        #expect(!gate.isOpen)
        gate.open(until: .now + .seconds(600))
        #expect(gate.isOpen)
        #expect(gate.lapses == 1)
        gate.open(until: .now + .seconds(600))
        #expect(gate.lapses == 1)
        gate.open(until: .now - .seconds(1))
        #expect(!gate.isOpen)
        gate.open(until: .now + .seconds(600))
        #expect(gate.lapses == 2)
        gate.close()
        #expect(!gate.isOpen)
    }
}

private struct Splitmix: RandomNumberGenerator {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
