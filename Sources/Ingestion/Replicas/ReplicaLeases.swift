package import FoundationEssentials
package import Logging
package import NIOCore
import Synchronization
package import TimescaleStore

/// REPLICA_ID and LEASE_MS.
package struct ReplicaOptions: Sendable {
    package var id: String
    package var lease: Duration
    package var version: String

    package init(id: String, lease: Duration, version: String = "") {
        self.id = id
        self.lease = lease
        self.version = version
    }
}

/// A tenant as the leases see it. All functions are called by tasks of their own and may take their time.
protocol LeaseHolder: Sendable {
    /// What may run has changed: ask ``ReplicaLeases/grants(of:)``.
    func leasesChanged() async
    /// Another replica has these: what is known of them is of no use any more.
    func forget(_ connections: [UUID]) async
    /// The connection was given free after ``handOver(_:)``: the same.
    func released(_ connection: UUID) async
    /// Stop this connection in order and tell what its next owner must know, when everything it received is in the journal
    /// for certain. nil: it does not run, or that could not be had.
    func handOver(_ connection: UUID) async -> [UInt8]?
    /// What there is to say of the connections. At once.
    var reports: [UUID: LeaseStore.Report] { get }
}

/// A connection that may run here.
struct LeaseGrant: Sendable {
    var epoch: Int64
    var origin: LeaseStore.Origin
    var pass: LeasePass
}

/// What a tenant's connections may do.
struct LeaseGrants: Sendable {
    var running: [UUID: LeaseGrant] = [:]
    /// Being handed over: they run until ``LeaseHolder/handOver(_:)`` and are not started again.
    var leaving: Set<UUID> = []
    /// Other replicas hold these, of any tenant, as far as is known.
    var foreign: Set<UUID> = []
}

/// Keeps this replica's leases in the master database: claims, renews, hands over, and stops what cannot be renewed in time.
///
/// One statement an interval for all leases; ``LeaseLedger`` decides, this carries out. It has database connections of its
/// own, so that no tenant's trouble keeps a renewal waiting.
package actor ReplicaLeases {
    /// Figures for metrics and the status page.
    package struct Figures: Sendable, Equatable {
        /// Leases held now.
        package var held = 0
        /// Connections taken over from replicas that were lost, since the start.
        package var takeovers: UInt64 = 0
        /// Connections received from and given to other replicas in order, since the start.
        package var handedIn: UInt64 = 0
        package var handedOut: UInt64 = 0
        /// Times all connections were stopped because the leases could not be renewed, since the start.
        package var fencings: UInt64 = 0
        /// Replicas alive, this one among them.
        package var live: [String] = []
        /// Why the leases cannot be renewed; empty when they are.
        package var trouble = ""
    }

    package nonisolated let options: ReplicaOptions
    nonisolated let gate = LeaseGate()
    private nonisolated let published = Mutex(Figures())
    private nonisolated let bell: Doorbell
    private let store: LeaseStore
    private nonisolated let queries: LeaseStore
    private let pool: ConnectionPool
    private let master: DatabaseURL
    private let replica: LeaseStore.Replica
    private let logger: Logger
    private var ledger: LeaseLedger
    private var origins: [UUID: LeaseStore.Origin] = [:]
    private var holders: [UUID: any LeaseHolder] = [:]
    private var isStopping = false
    private var isFenced = false
    private var isLeaving = false
    /// Something new is wanted: do not wait for the next renewal.
    private var isRushed = false
    private var failureSince: ContinuousClock.Instant?
    private var migratedAt: ContinuousClock.Instant?
    private var releasing: [Task<Void, Never>] = []

    /// Between two attempts after a failure.
    private static let retry = Duration.milliseconds(500)

    /// - Parameters:
    ///   - pool: of its own, so that tenants' databases cannot be in the way; closed by ``stop()``.
    ///   - queryPool: for what may wait.
    package init(
        options: ReplicaOptions,
        master: DatabaseURL,
        pool: ConnectionPool,
        queryPool: ConnectionPool,
        eventLoops: any EventLoopGroup,
        logger: Logger
    ) {
        self.options = options
        self.master = master
        self.pool = pool
        replica = LeaseStore.Replica(id: options.id, version: options.version)
        store = LeaseStore(pool: pool, master: master)
        queries = LeaseStore(pool: queryPool, master: master)
        ledger = LeaseLedger(me: options.id, lease: options.lease)
        bell = Doorbell(eventLoop: eventLoops.next())
        var logger = logger
        logger[metadataKey: "replica"] = "\(options.id)"
        self.logger = logger
    }

    package nonisolated var figures: Figures { published.withLock { $0 } }

    /// Who holds what, as the master database has it.
    package nonisolated func holdings(
        of tenant: UUID,
        timeout: Duration
    ) async throws(StoreError) -> [LeaseStore.Holding] {
        try await queries.holdings(of: tenant, timeout: timeout)
    }

    // MARK: For tenants

    func join(_ tenant: UUID, _ holder: any LeaseHolder) { holders[tenant] = holder }

    /// The tenant has stopped, and given up its leases.
    func part(_ tenant: UUID) {
        holders[tenant] = nil
        _ = ledger.want([:], of: tenant)
    }

    /// A tenant's connections as they are configured now. Those that are gone have been stopped.
    func want(_ connections: [UUID: Int], of tenant: UUID, journal: UUID) async {
        let wishes = connections.mapValues { LeaseLedger.Wanted(tenantID: tenant, journalID: journal, tags: $0) }
        let known = ledger.wanted
        let gone = ledger.want(wishes, of: tenant)
        for lease in gone { origins[lease.connectionID] = nil }
        if wishes.keys.contains(where: { known[$0] == nil && ledger.holds[$0] == nil }) {
            isRushed = true
            bell.ring()
        }
        await drop(gone)
        publish()
    }

    /// Which of a tenant's connections may run here.
    func grants(of tenant: UUID) -> LeaseGrants {
        guard gate.isOpen else { return LeaseGrants() }
        let pass = gate.pass
        var grants = LeaseGrants(foreign: ledger.foreign)
        for (id, hold) in ledger.holds where hold.tenantID == tenant {
            switch hold.state {
            case .held:
                grants.running[id] = LeaseGrant(epoch: hold.epoch, origin: origins[id] ?? .continued, pass: pass)
            case .leaving: grants.leaving.insert(id)
            case .suspended: break
            }
        }
        return grants
    }

    /// What the former owner left is in this replica's journal: from now on it is as if this one had always had it.
    func adopted(_ id: UUID) {
        origins[id] = .continued
        ledger.adopted(id)
    }

    /// Gives a stopped connection free.
    /// - Returns: whether it was given up or is another replica's anyway; else it is still this one's.
    @discardableResult
    func release(_ id: UUID, memory: [UInt8]) async -> Bool {
        guard let hold = ledger.holds[id] else { return true }
        do throws(StoreError) {
            let release = LeaseStore.Release(connectionID: id, epoch: hold.epoch, memory: memory)
            if try await store.release(release, by: replica, timeout: timeout) {
                published.withLock { $0.handedOut &+= 1 }
            }
            ledger.released(id)
            origins[id] = nil
            publish()
            return true
        } catch {
            logger.warning(
                "a connection could not be handed over",
                metadata: ["connection_id": "\(id.uuidString.lowercased())", "error": "\(error)"]
            )
            return false
        }
    }

    // MARK: Life

    /// Until ``stop()``.
    func run() async {
        logger.info(
            "sharing the connections with other replicas",
            metadata: ["lease_ms": "\(options.lease.milliseconds)"]
        )
        var next = ContinuousClock.now
        while !isStopping, !Task.isCancelled {
            let now = ContinuousClock.now
            fenceIfExpired(now)
            if now >= next || isRushed {
                isRushed = false
                let isRenewed = await renew()
                next = .now + (isRenewed ? ledger.renewalInterval : min(Self.retry, ledger.renewalInterval))
                if isStopping { break }
            }
            let wake = isFenced ? next : min(next, ledger.validUntil ?? next)
            await bell.wait(until: .now() + .nanoseconds(max(1_000_000, (wake - .now).nanosecondsClamped)))
        }
    }

    /// This replica ends: it takes nothing more, and the others need not count on it. Leases are renewed until ``stop()``.
    func leave() async {
        isLeaving = true
        ledger.leave()
        do throws(StoreError) { try await store.leave(replica, timeout: timeout) } catch {
            logger.warning("the other replicas could not be told of the end", metadata: ["error": "\(error)"])
        }
    }

    func stop() async {
        isStopping = true
        bell.ring()
        for task in releasing { await task.value }
        gate.close()
        await pool.close(grace: .seconds(1))
    }

    private var timeout: Duration { max(.milliseconds(500), options.lease / 3) }

    /// Not beyond the leases' end: the connections have to stop then.
    private var renewalTimeout: Duration {
        guard !isFenced, let end = ledger.validUntil, case let left = end - .now, left > .zero else { return timeout }
        return min(timeout, left)
    }

    // MARK: Renewing

    private func renew() async -> Bool {
        var reports: [UUID: LeaseStore.Report] = [:]
        for holder in holders.values { reports.merge(holder.reports) { $1 } }
        let renewals = ledger.renewals.map {
            LeaseStore.Renewal(
                connectionID: $0.connectionID,
                epoch: $0.epoch,
                report: reports[$0.connectionID] ?? LeaseStore.Report(),
                isAdopted: $0.isAdopted
            )
        }
        let sentAt = ContinuousClock.now
        do throws(StoreError) {
            let round = try await store.renew(
                replica,
                renewals,
                lease: options.lease,
                isLeaving: isLeaving,
                timeout: renewalTimeout
            )
            let verdict = ledger.renewed(round, asked: Set(renewals.map(\.connectionID)), sentAt: sentAt)
            gate.open(until: sentAt + ledger.ownPart)
            recovered()
            await carryOut(verdict)
            publish()
            return true
        } catch {
            if error.code != .cancelled { await failed(error) }
            fenceIfExpired(.now)
            return false
        }
    }

    private func carryOut(_ verdict: LeaseLedger.Verdict) async {
        for id in verdict.lost {
            origins[id] = nil
            logger.notice(
                "another replica has taken the connection",
                metadata: ["connection_id": "\(id.uuidString.lowercased())"]
            )
        }
        if !verdict.lost.isEmpty { tell { await $0.forget(verdict.lost) } }
        var hasNew = !verdict.resumed.isEmpty || !verdict.lost.isEmpty
        if !verdict.claim.isEmpty {
            do throws(StoreError) {
                let claims = try await store.claim(verdict.claim, for: replica, lease: options.lease, timeout: timeout)
                take(claims)
                hasNew = hasNew || !claims.isEmpty
                let unwanted = ledger.claimed(claims)
                for lease in unwanted { origins[lease.connectionID] = nil }
                await drop(unwanted)
            } catch {
                logger.warning("connections could not be claimed", metadata: ["error": "\(error)"])
            }
        }
        if hasNew { tell { await $0.leasesChanged() } }
        guard !verdict.handOver.isEmpty else { return }
        logger.info("handing connections over to other replicas", metadata: ["count": "\(verdict.handOver.count)"])
        let hasEnded = Task { for id in verdict.handOver { await self.handOver(id) } }
        releasing = [hasEnded]
    }

    private func handOver(_ id: UUID) async {
        guard let tenant = ledger.holds[id]?.tenantID, let holder = holders[tenant] else { return }
        if let memory = await holder.handOver(id), await release(id, memory: memory) {
            await holder.released(id)
        } else {
            ledger.keeps(id)
            await holder.leasesChanged()
        }
    }

    private func take(_ claims: [LeaseStore.Claim]) {
        var counts = (lost: 0, handedIn: 0)
        for claim in claims {
            origins[claim.connectionID] = claim.origin
            switch claim.origin {
            case .lost: counts.lost += 1
            case .handedOver: counts.handedIn += 1
            case .new, .continued: break
            }
        }
        published.withLock { figures in
            figures.takeovers &+= UInt64(counts.lost)
            figures.handedIn &+= UInt64(counts.handedIn)
        }
        guard !claims.isEmpty else { return }
        logger.info(
            "connections claimed",
            metadata: [
                "count": "\(claims.count)", "taken_over": "\(counts.lost)", "handed_over": "\(counts.handedIn)",
            ]
        )
    }

    private func drop(_ leases: [(connectionID: UUID, epoch: Int64)]) async {
        do throws(StoreError) { try await store.drop(leases, by: replica, timeout: timeout) } catch {
            // They expire; another replica that sees them finds nothing to run.
            logger.debug("leases could not be removed", metadata: ["error": "\(error)"])
        }
    }

    /// Every tenant, each in a task of its own: none waits for another, and no renewal for any.
    private func tell(_ body: @escaping @Sendable (any LeaseHolder) async -> Void) {
        for holder in holders.values { Task { await body(holder) } }
    }

    // MARK: Trouble

    private func fenceIfExpired(_ now: ContinuousClock.Instant) {
        let fenced = ledger.expire(now: now)
        guard !fenced.isEmpty else { return }
        isFenced = true
        published.withLock { $0.fencings &+= 1 }
        logger.error(
            "the leases could not be renewed in time: all connections stop here, other replicas may take them",
            metadata: ["count": "\(fenced.count)"]
        )
        tell { await $0.leasesChanged() }
        publish()
    }

    private func failed(_ error: StoreError) async {
        published.withLock { $0.trouble = "\(error)" }
        if failureSince == nil {
            failureSince = .now
            logger.error(
                "the leases cannot be renewed now",
                metadata: ["database": "\(master)", "error": "\(error)"]
            )
        }
        // The tables may be missing: whoever shares the work needs them.
        guard error.code == .schema, migratedAt.map({ ContinuousClock.now - $0 > .seconds(60) }) ?? true else { return }
        migratedAt = .now
        do throws(StoreError) {
            let report = try await Migrator().migrateMaster(master, pool: pool, timeout: .seconds(60))
            logger.info(
                "master database ready",
                metadata: ["migrations": "\(report.applied.joined(separator: " "))"]
            )
        } catch {
            logger.error("the master database lacks the replicas' tables", metadata: ["error": "\(error)"])
        }
    }

    private func recovered() {
        published.withLock { $0.trouble = "" }
        isFenced = false
        guard let since = failureSince else { return }
        failureSince = nil
        logger.notice(
            "the leases are renewed again",
            metadata: ["duration_ms": "\((ContinuousClock.now - since).milliseconds)"]
        )
    }

    private func publish() {
        let held = ledger.holds.values.count { $0.state == .held }
        published.withLock { figures in
            figures.held = held
            figures.live = ledger.live
        }
    }
}
