internal import DequeModule

/// Who gets which database connection next: the pool's decisions as a value, without threads, clocks or sockets.
///
/// - Databases with waiting jobs take turns (round robin); within a database, jobs go in order of arrival. A turn is worth
///   what it costs to connect, some 15 ms of processor at both ends: the jobs of a database follow each other on its connection for half
///   a second before another database gets that.
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

    /// `turn`: when the connection was opened, or when it last became free while no other database waited.
    private enum Slot {
        case empty
        case idle(DatabaseURL, since: Instant, turn: Instant)
        case busy(DatabaseURL, ConnectionPool.Kind, connecting: Bool, turn: Instant)
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

    /// So long jobs of the same database go first on a connection.
    static let turn: Duration = .milliseconds(500)
    /// So long a connection waits for the next job of its database before another database gets it: whoever has several things
    /// to do asks for them one after the other.
    static let linger: Duration = .milliseconds(20)
    /// Deadlines are looked at as often.
    private static let lookout: Duration = .milliseconds(250)

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
    private var rotation: Deque<DatabaseURL> = []
    private var busyByKind: [ConnectionPool.Kind: Int] = [:]
    private var failingConnects = 0
    private var connectTokens: Double
    private var tokensAt: Instant
    private var lookedAt: Instant

    init(limits: ConnectionPool.Limits, now: Instant) {
        self.limits = limits
        slots = Array(repeating: .empty, count: limits.maxConnections)
        connectTokens = Double(max(limits.maxConnections, limits.connectsPerSecond))
        tokensAt = now
        lookedAt = now
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
        if databases[url]?.waiting.isEmpty ?? true { leaveRotation(url) }
        return true
    }

    mutating func connected(slot: Int, now: Instant) {
        guard case .busy(let url, let kind, connecting: true, _) = slots[slot] else { return }
        slots[slot] = .busy(url, kind, connecting: false, turn: now)
        settleConnect(url, failed: nil)
    }

    /// The connect of a slot failed. `blame` is false when the caller gave up before the database had its chance.
    mutating func connectFailed(slot: Int, error: StoreError, blame: Bool, jitter: Double, now: Instant) -> [Action] {
        guard case .busy(let url, let kind, connecting: true, _) = slots[slot] else { return [] }
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
        leaveRotation(url)
        return actions
    }

    mutating func finished(slot: Int, isUsable: Bool, now: Instant) {
        guard case .busy(let url, let kind, connecting: false, let turn) = slots[slot] else { return }
        leave(url, kind)
        databases[url]?.lastUsed = now
        let othersWait = waitingCount > (databases[url]?.waiting.count ?? 0)
        slots[slot] = isUsable ? .idle(url, since: now, turn: othersWait ? turn : now) : .empty
    }

    /// Hands out everything that can start now. Call after every event.
    mutating func assign(now: Instant) -> [Action] {
        refill(now)
        var actions: [Action] = []
        guard waitingCount > 0 else { return actions }
        for index in slots.indices {
            guard case .idle(let url, _, let turn) = slots[index], turn + Self.turn > now || connectTokens < 1 else {
                continue
            }
            guard let job = next(of: url) else { continue }
            leaveRotation(url)
            actions.append(start(job, of: url, on: index, connects: false, now))
        }
        var index = 0
        // Without a connection that may be opened nobody can start: not to be found out for each of a thousand databases.
        while index < rotation.count, connectTokens >= 1, let free = placeForNew(now) {
            let url = rotation[index]
            // Who may not start now keeps its place.
            guard let job = next(of: url), let place = place(for: url, job, free) else {
                index += 1
                continue
            }
            rotation.remove(at: index)
            actions.append(start(job, of: url, on: place.slot, connects: place.connects, now))
        }
        return actions
    }

    private mutating func leaveRotation(_ url: DatabaseURL) {
        if let place = rotation.firstIndex(of: url) { rotation.remove(at: place) }
    }

    /// A job of a database that was taken out of the rotation, which that goes to the end of when it has more.
    private mutating func start(
        _ job: Int,
        of url: DatabaseURL,
        on slot: Int,
        connects: Bool,
        _ now: Instant
    ) -> Action {
        var database = databases[url] ?? Database(lastUsed: now)
        let ticket = database.waiting.remove(at: job)
        if !database.waiting.isEmpty { rotation.append(url) }
        waitingCount -= 1
        database.active += 1
        started += 1
        waited += ticket.arrived.duration(to: now)
        var turn = now
        if connects {
            self.connects += 1
            connectTokens -= 1
            database.connecting += 1
            if database.failures > 0 { failingConnects += 1 }
            if case .idle = slots[slot] { evictions += 1 }
        } else if case .idle(_, _, let began) = slots[slot] {
            turn = began
        }
        busyByKind[ticket.kind, default: 0] += 1
        slots[slot] = .busy(url, ticket.kind, connecting: connects, turn: turn)
        databases[url] = database
        return .start(ticket.id, slot: slot, database: url, connect: connects)
    }

    /// Jobs whose deadline passed while they waited, connections idle for too long, databases long forgotten.
    mutating func tick(now: Instant) -> [Action] {
        var actions: [Action] = []
        guard lookedAt + Self.lookout <= now else { return actions }
        lookedAt = now
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
            if case .idle(_, let since, _) = slot, since + limits.idleTimeout <= now {
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
        if waitingCount > 0 {
            return now + (connectTokens < 1 || idleCount > 0 ? .milliseconds(10) : Self.lookout)
        }
        return idleCount > 0 ? now + min(limits.idleTimeout, .seconds(5)) : nil
    }

    // MARK: Choosing

    /// Which of a database's waiting jobs is the next that may run; nil when none may.
    private func next(of url: DatabaseURL) -> Int? {
        guard let database = databases[url], database.active < limits.perDatabase else { return nil }
        return database.waiting.firstIndex { hasShare($0.kind) }
    }

    /// A place for a new connection: an empty one, or that of the connection which is idle for longest.
    private func placeForNew(_ now: Instant) -> (slot: Int, evicts: Bool)? {
        var oldest: (slot: Int, since: Instant)?
        for (slot, state) in slots.enumerated() {
            switch state {
            case .empty: return (slot, false)
            case .idle(_, let since, _):
                if since + Self.linger <= now, oldest.map({ since < $0.since }) ?? true { oldest = (slot, since) }
            case .busy: break
            }
        }
        return oldest.map { ($0.slot, true) }
    }

    private func place(
        for url: DatabaseURL,
        _ job: Int,
        _ free: (slot: Int, evicts: Bool)
    ) -> (slot: Int, connects: Bool)? {
        guard let database = databases[url] else { return nil }
        for (slot, state) in slots.enumerated() {
            if case .idle(url, _, _) = state { return (slot, false) }
        }
        if free.evicts, database.waiting[job].kind == .parallelWriter { return nil }
        if database.failures > 0 {
            guard database.connecting == 0, failingConnects < limits.connectingPerDatabase else { return nil }
        } else {
            let bound = database.isProven ? limits.connectingPerDatabase : 1
            guard database.connecting < bound else { return nil }
        }
        return (free.slot, true)
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
