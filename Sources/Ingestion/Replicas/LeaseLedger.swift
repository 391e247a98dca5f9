import FoundationEssentials
import TimescaleStore

/// The leases of one replica: which it wants, which it has, and until when. A value without clock or database; what a
/// renewal found goes in, what is to be done comes out.
///
/// A lease is *held*; *suspended* after it could not be renewed in time (the connection has stopped; if nobody took the lease
/// it goes on later); *leaving* while the connection is being handed over.
struct LeaseLedger {
    typealias Instant = ContinuousClock.Instant

    struct Wanted: Equatable {
        var tenantID: UUID
        var journalID: UUID
        var tags: Int
    }

    enum State: Equatable { case held, suspended, leaving }

    struct Hold: Equatable {
        var epoch: Int64
        var tenantID: UUID
        var state = State.held
        /// What the former owner left is in the own journal.
        var isAdopted = false
    }

    /// What one renewal asks for.
    struct Verdict: Equatable {
        /// Other replicas have them.
        var lost: [UUID] = []
        /// Suspended ones that nobody took.
        var resumed: [UUID] = []
        var claim: [LeaseStore.Wish] = []
        var handOver: [UUID] = []
    }

    let me: String
    let lease: Duration
    private(set) var wanted: [UUID: Wanted] = [:]
    private(set) var holds: [UUID: Hold] = [:]
    /// Until when connections may run, by this replica's clock; nil before the first renewal.
    private(set) var validUntil: Instant?
    private(set) var live: [String] = []
    /// Connections that other replicas held at the last renewal.
    private(set) var foreign: Set<UUID> = []
    private var isLeaving = false
    /// Renewals in a row that found the same replicas alive.
    private var settledRounds = 0
    /// Renewals that found a connection free and left it to another replica.
    private var passedOver: [UUID: Int] = [:]
    /// Renewals without handing over, after what was handed over had to be taken back.
    private var balancePause = 0

    /// A connection that its designated replica does not take is taken by whoever waits no longer.
    private static let patience = 3
    private static let handOversAtOnce = 32

    init(me: String, lease: Duration) {
        self.me = me
        self.lease = lease
    }

    /// The part of a lease in which connections run; then they stop in order.
    var runningPart: Duration { lease * 8 / 10 }
    /// The part of a lease this replica counts on; the rest is for clocks that run at different speeds.
    var ownPart: Duration { lease * 9 / 10 }
    var renewalInterval: Duration { lease / 3 }

    // MARK: Wishes

    /// A tenant's connections as they are configured now; those that are gone have been stopped.
    /// - Returns: leases that nobody needs any more.
    mutating func want(_ connections: [UUID: Wanted], of tenant: UUID) -> [(connectionID: UUID, epoch: Int64)] {
        wanted = wanted.filter { $0.value.tenantID != tenant }
        wanted.merge(connections) { $1 }
        let gone = holds.filter { $0.value.tenantID == tenant && wanted[$0.key] == nil && $0.value.state != .leaving }
        for id in gone.keys { holds[id] = nil }
        return gone.map { ($0.key, $0.value.epoch) }
    }

    /// This replica ends: it claims nothing more.
    mutating func leave() { isLeaving = true }

    // MARK: Renewals

    var renewals: [(connectionID: UUID, epoch: Int64, isAdopted: Bool)] {
        holds.map { ($0.key, $0.value.epoch, $0.value.isAdopted) }
    }

    /// - Parameters:
    ///   - sentAt: when the renewal was begun, before it was sent.
    ///   - asked: the leases it was for.
    mutating func renewed(_ round: LeaseStore.Round, asked: Set<UUID>, sentAt: Instant) -> Verdict {
        validUntil = sentAt + runningPart
        var verdict = Verdict()
        for (id, hold) in holds where asked.contains(id) {
            if !round.renewed.contains(id) {
                // Given up while this renewal was under way.
                if hold.state == .leaving { continue }
                holds[id] = nil
                verdict.lost.append(id)
            } else if hold.state == .suspended {
                holds[id]?.state = .held
                verdict.resumed.append(id)
            }
        }
        settledRounds = round.live == live ? settledRounds + 1 : 0
        live = round.live
        foreign = Set(round.leases.filter { $0.isLive && $0.owner != me }.map(\.connectionID)).union(verdict.lost)
        guard !isLeaving else { return verdict }
        let leases = Dictionary(round.leases.map { ($0.connectionID, $0) }) { $1 }
        var free: [(id: UUID, tags: Int)] = []
        for (id, wish) in wanted where holds[id] == nil {
            if let lease = leases[id], lease.isLive, !isOwn(lease, wish), !verdict.lost.contains(id) { continue }
            // Just lost to a replica that the leases seen before do not tell.
            if verdict.lost.contains(id) { continue }
            free.append((id, wish.tags))
        }
        let balance = balance(leases)
        var chosen = Set(balance.share(of: free))
        for (id, _) in free {
            if let lease = leases[id], let wish = wanted[id], isOwn(lease, wish) { chosen.insert(id) }
            if chosen.contains(id) { continue }
            passedOver[id, default: 0] += 1
            if passedOver[id, default: 0] >= Self.patience {
                chosen.insert(id)
                balancePause = 30
            }
        }
        let stillFree = Set(free.map(\.id))
        passedOver = passedOver.filter { stillFree.contains($0.key) && !chosen.contains($0.key) }
        verdict.claim = free.filter { chosen.contains($0.id) }.compactMap { id, tags in
            wanted[id].map {
                LeaseStore.Wish(connectionID: id, tenantID: $0.tenantID, journalID: $0.journalID, tags: tags)
            }
        }
        if balancePause > 0 {
            balancePause -= 1
        } else if free.isEmpty, settledRounds >= 2, !holds.values.contains(where: { $0.state != .held }) {
            verdict.handOver = balance.surplus(atMost: Self.handOversAtOnce)
            for id in verdict.handOver { holds[id]?.state = .leaving }
        }
        return verdict
    }

    /// Of this replica before it was restarted. What it has given up since is not.
    private func isOwn(_ lease: LeaseStore.Lease, _ wish: Wanted) -> Bool {
        lease.isLive && lease.owner == me && lease.journalID == wish.journalID
    }

    private func balance(_ leases: [UUID: LeaseStore.Lease]) -> LeaseBalance {
        var held: [UUID: (owner: String, tags: Int)] = [:]
        for (id, lease) in leases where lease.isLive { held[id] = (lease.owner, wanted[id]?.tags ?? lease.tags) }
        for id in holds.keys { held[id] = (me, wanted[id]?.tags ?? leases[id]?.tags ?? 1) }
        return LeaseBalance(me: me, live: live, held: held)
    }

    /// - Returns: claims that are not wanted any more, to be dropped.
    mutating func claimed(_ claims: [LeaseStore.Claim]) -> [(connectionID: UUID, epoch: Int64)] {
        var unwanted: [(connectionID: UUID, epoch: Int64)] = []
        for claim in claims {
            if let wish = wanted[claim.connectionID], !isLeaving {
                holds[claim.connectionID] = Hold(epoch: claim.epoch, tenantID: wish.tenantID)
            } else {
                unwanted.append((claim.connectionID, claim.epoch))
            }
        }
        return unwanted
    }

    /// No renewal came in time.
    /// - Returns: the connections that have to stop now.
    mutating func expire(now: Instant) -> [UUID] {
        guard let validUntil, validUntil <= now else { return [] }
        let fenced = holds.filter { $0.value.state == .held }.map(\.key)
        for id in fenced { holds[id]?.state = .suspended }
        return fenced
    }

    // MARK: Single connections

    mutating func adopted(_ id: UUID) { holds[id]?.isAdopted = true }

    /// The connection is given free, or another replica has it.
    mutating func released(_ id: UUID) { holds[id] = nil }

    /// It could not be handed over: it goes on here.
    mutating func keeps(_ id: UUID) {
        if holds[id]?.state == .leaving { holds[id]?.state = .held }
        balancePause = 20
    }
}
