/// Who gets which database connection next: the pool's decisions as a value, without threads, clocks or sockets.
///
/// - Databases with waiting jobs take turns (round robin); within a database, jobs go in order of arrival.
/// - Interactive queries, writers and administration each have a share no other kind can take away completely.
/// - One database gets at most half of the connections (at least two), and at most a quarter of them may be connecting to
///   it; while its last connect failed, one at a time, and all failing databases together a quarter of the pool.
/// - A connect that failed starts a back-off, during which jobs for that database fail at once with the error of the last
///   attempt: a dead tenant costs the others nothing.
/// - When every connection is taken by other databases, the one idle for longest is closed and opened anew; such changes
///   are bounded per second, so that thousands of tenants lengthen each other's intervals before they churn connections.
struct PoolScheduler {
    typealias Instant = ContinuousClock.Instant
    typealias JobID = UInt64

    struct Ticket {
        var id: JobID
        var kind: ConnectionPool.Kind
        var deadline: Instant?
        var arrived: Instant
    }

    enum Action {
        /// Run the job on the slot, which connects first unless it holds a connection to the database.
        case start(JobID, slot: Int, database: DatabaseURL, connect: Bool)
        case fail(JobID, StoreError)
        case closeIdle(slot: Int)
    }

    private enum Slot {
        case empty
        case idle(DatabaseURL, since: Instant)
        case busy(DatabaseURL, ConnectionPool.Kind, connecting: Bool)
    }

    private struct Database {
        var waiting: [Ticket] = []
        var active = 0
        var connecting = 0
        var isProven = false
        var failures = 0
        var refuseUntil: Instant?
        var lastError: StoreError?
        var lastUsed: Instant
    }

    let limits: ConnectionPool.Limits
    private(set) var waitingCount = 0
    private(set) var evictions: UInt64 = 0
    private(set) var connects: UInt64 = 0
    private(set) var connectFailures: UInt64 = 0
    private(set) var waited: Duration = .zero
    private(set) var started: UInt64 = 0
    private var slots: [Slot]
    private var databases: [DatabaseURL: Database] = [:]
    /// Databases with waiting jobs, next turn first.
    private var rotation: [DatabaseURL] = []
    private var busyByKind: [ConnectionPool.Kind: Int] = [:]
    private var failingConnects = 0
    private var connectTokens: Double
    private var tokensAt: Instant

    init(limits: ConnectionPool.Limits, now: Instant) {
        self.limits = limits
        slots = Array(repeating: .empty, count: limits.maxConnections)
        connectTokens = Double(max(limits.maxConnections, limits.connectsPerSecond))
        tokensAt = now
    }

    var idleCount: Int {
        slots.count { if case .idle = $0 { true } else { false } }
    }
    var busyCount: Int {
        slots.count { if case .busy = $0 { true } else { false } }
    }

    // MARK: Events

    /// Takes a job in and hands out everything that can start now.
    mutating func submit(_ ticket: Ticket, for url: DatabaseURL, now: Instant) -> [Action] {
        guard ticket.kind == .parallelWriter else { return enqueue(ticket, for: url, now: now) + assign(now: now) }
        var actions: [Action] = []
        if waitingCount == 0 { actions = enqueue(ticket, for: url, now: now) + assign(now: now) }
        let isDecided = actions.contains { action in
            switch action {
            case .start(let id, _, _, _), .fail(let id, _): id == ticket.id
            case .closeIdle: false
            }
        }
        if isDecided { return actions }
        _ = withdraw(ticket.id, from: url)
        let error = StoreError(.resources, "no connection is free for a further COPY stream to \(url)")
        return actions + [.fail(ticket.id, error)]
    }

    mutating func enqueue(_ ticket: Ticket, for url: DatabaseURL, now: Instant) -> [Action] {
        var database = databases[url] ?? Database(lastUsed: now)
        database.lastUsed = now
        defer { databases[url] = database }
        if let until = database.refuseUntil, until > now {
            return [.fail(ticket.id, Self.refusal(database, url, until: until, now: now))]
        }
        guard database.waiting.count < limits.maxWaitingPerDatabase else {
            return [
                .fail(
                    ticket.id,
                    StoreError(.resources, "\(database.waiting.count) calls already wait for a connection to \(url)")
                )
            ]
        }
        if database.waiting.isEmpty { rotation.append(url) }
        database.waiting.append(ticket)
        waitingCount += 1
        return []
    }

    /// Takes a job out of the queue. False when it is not waiting (any more).
    mutating func withdraw(_ id: JobID, from url: DatabaseURL) -> Bool {
        guard let index = databases[url]?.waiting.firstIndex(where: { $0.id == id }) else { return false }
        databases[url]?.waiting.remove(at: index)
        waitingCount -= 1
        dropFromRotationIfDone(url)
        return true
    }

    mutating func connected(slot: Int) {
        guard case .busy(let url, let kind, connecting: true) = slots[slot] else { return }
        slots[slot] = .busy(url, kind, connecting: false)
        settleConnect(url, failed: nil)
    }

    /// The connect of a slot failed. `blame` is false when the caller gave up before the database had its chance.
    mutating func connectFailed(slot: Int, error: StoreError, blame: Bool, jitter: Double, now: Instant) -> [Action] {
        guard case .busy(let url, let kind, connecting: true) = slots[slot] else { return [] }
        // The database may have no room for more than it has given.
        let blame = blame && kind != .parallelWriter
        settleConnect(url, failed: blame ? error : nil)
        leave(url, kind)
        slots[slot] = .empty
        guard blame, var database = databases[url] else { return [] }
        connectFailures += 1
        database.failures += 1
        database.isProven = false
        database.lastError = error
        let exponent = min(database.failures - 1, 10)
        let pause = min(limits.longestBackOff, limits.firstBackOff * Double(1 << exponent)) * (0.8 + 0.4 * jitter)
        let until = now + pause
        database.refuseUntil = until
        let actions = database.waiting.map {
            Action.fail($0.id, Self.refusal(database, url, until: until, now: now))
        }
        waitingCount -= database.waiting.count
        database.waiting = []
        databases[url] = database
        dropFromRotationIfDone(url)
        return actions
    }

    mutating func finished(slot: Int, isUsable: Bool, now: Instant) {
        guard case .busy(let url, let kind, connecting: false) = slots[slot] else { return }
        leave(url, kind)
        databases[url]?.lastUsed = now
        slots[slot] = isUsable ? .idle(url, since: now) : .empty
    }

    /// Hands out everything that can start now. Call after every event.
    mutating func assign(now: Instant) -> [Action] {
        refill(now)
        var actions: [Action] = []
        var passedOver = 0
        // Without a free slot nobody can start: not to be found out for each of a thousand databases.
        while passedOver < rotation.count, hasFreeSlot {
            let url = rotation[0]
            guard let choice = choose(url, now) else {
                rotation.append(rotation.removeFirst())
                passedOver += 1
                continue
            }
            passedOver = 0
            rotation.removeFirst()
            guard var database = databases[url] else { continue }
            let ticket = database.waiting.remove(at: choice.index)
            waitingCount -= 1
            database.active += 1
            started += 1
            waited += ticket.arrived.duration(to: now)
            if choice.connect {
                connects += 1
                connectTokens -= 1
                database.connecting += 1
                if database.failures > 0 { failingConnects += 1 }
                if case .idle = slots[choice.slot] { evictions += 1 }
            }
            busyByKind[ticket.kind, default: 0] += 1
            slots[choice.slot] = .busy(url, ticket.kind, connecting: choice.connect)
            if !database.waiting.isEmpty { rotation.append(url) }
            databases[url] = database
            actions.append(.start(ticket.id, slot: choice.slot, database: url, connect: choice.connect))
        }
        return actions
    }

    /// Jobs whose deadline passed while they waited, connections idle for too long, databases long forgotten.
    mutating func tick(now: Instant) -> [Action] {
        var actions: [Action] = []
        for (url, database) in databases {
            let late = database.waiting.filter { $0.deadline.map { $0 <= now } ?? false }
            for ticket in late {
                _ = withdraw(ticket.id, from: url)
                actions.append(
                    .fail(ticket.id, StoreError(.timeout, "no connection to \(url) became free before the deadline"))
                )
            }
            if database.active == 0, database.waiting.isEmpty, database.lastUsed + .seconds(600) < now {
                databases[url] = nil
            }
        }
        for (index, slot) in slots.enumerated() {
            if case .idle(_, let since) = slot, since + limits.idleTimeout <= now {
                slots[index] = .empty
                actions.append(.closeIdle(slot: index))
            }
        }
        return actions
    }

    /// Every waiting job, taken out: the pool closes.
    mutating func drainQueue() -> [JobID] {
        let ids = databases.values.flatMap { $0.waiting.map(\.id) }
        for url in databases.keys { databases[url]?.waiting = [] }
        rotation = []
        waitingCount = 0
        return ids
    }

    /// When ``tick(now:)`` and ``assign(now:)`` are due without any other event.
    func nextTick(now: Instant) -> Instant? {
        if waitingCount > 0 { return now + (connectTokens < 1 ? .milliseconds(10) : .milliseconds(250)) }
        return idleCount > 0 ? now + min(limits.idleTimeout, .seconds(5)) : nil
    }

    // MARK: Choosing

    private func choose(_ url: DatabaseURL, _ now: Instant) -> (index: Int, slot: Int, connect: Bool)? {
        guard let database = databases[url], database.active < limits.perDatabase else { return nil }
        guard let index = database.waiting.firstIndex(where: { hasShare($0.kind) }) else { return nil }
        var empty: Int?
        var oldest: (slot: Int, since: Instant)?
        for (slot, state) in slots.enumerated() {
            switch state {
            case .idle(url, _): return (index, slot, false)
            case .idle(_, let since):
                if oldest.map({ since < $0.since }) ?? true { oldest = (slot, since) }
            case .empty: if empty == nil { empty = slot }
            case .busy: break
            }
        }
        let mayEvict = database.waiting[index].kind != .parallelWriter
        guard let slot = empty ?? (mayEvict ? oldest?.slot : nil), connectTokens >= 1 else { return nil }
        if database.failures > 0 {
            guard database.connecting == 0, failingConnects < limits.connectingPerDatabase else { return nil }
        } else {
            let bound = database.isProven ? limits.connectingPerDatabase : 1
            guard database.connecting < bound else { return nil }
        }
        return (index, slot, true)
    }

    private var hasFreeSlot: Bool {
        slots.contains { if case .busy = $0 { false } else { true } }
    }

    private func hasShare(_ kind: ConnectionPool.Kind) -> Bool { busyByKind[kind, default: 0] < limits.share(of: kind) }

    private mutating func settleConnect(_ url: DatabaseURL, failed: StoreError?) {
        guard var database = databases[url] else { return }
        database.connecting -= 1
        if database.failures > 0 { failingConnects -= 1 }
        if failed == nil {
            // A connect that was given up without blame proves nothing; the next one starts where this one did.
            database.refuseUntil = nil
        }
        databases[url] = database
    }

    /// Says that the database answered.
    mutating func proven(_ url: DatabaseURL) {
        databases[url]?.isProven = true
        databases[url]?.failures = 0
        databases[url]?.lastError = nil
    }

    private mutating func leave(_ url: DatabaseURL, _ kind: ConnectionPool.Kind) {
        databases[url]?.active -= 1
        busyByKind[kind, default: 0] -= 1
    }

    private mutating func dropFromRotationIfDone(_ url: DatabaseURL) {
        if databases[url]?.waiting.isEmpty ?? true { rotation.removeAll { $0 == url } }
    }

    private mutating func refill(_ now: Instant) {
        let elapsed = tokensAt.duration(to: now) / Duration.seconds(1)
        guard elapsed > 0 else { return }
        let bound = Double(max(limits.maxConnections, limits.connectsPerSecond))
        connectTokens = min(bound, connectTokens + elapsed * Double(limits.connectsPerSecond))
        tokensAt = now
    }

    private static func refusal(
        _ database: Database,
        _ url: DatabaseURL,
        until: Instant,
        now: Instant
    ) -> StoreError {
        var error = database.lastError ?? StoreError(.connection, "\(url) could not be reached")
        error.retryAfter = now.duration(to: until)
        return error
    }
}
