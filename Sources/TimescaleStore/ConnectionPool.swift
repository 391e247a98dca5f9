internal import Synchronization

/// The libpq connections of the whole process: one bound for all databases, each connection on a thread of its own.
///
/// ``PoolScheduler`` says how turns are taken. A job gets a connection for as long as its closure runs; whatever it leaves
/// open is rolled back. Cancelling the calling task cancels the SQL on the server.
package final class ConnectionPool: Sendable {
    /// What a connection is wanted for; each kind has its own share of the pool.
    package enum Kind: Sendable, Hashable, CaseIterable {
        case writer, query, admin
        /// A further COPY stream beside a writer's. It gets a connection that is free now, while nobody waits and without taking
        /// one from another database, or is refused with `resources`; and a connect that fails says nothing about the database.
        case parallelWriter
    }

    package struct Limits: Sendable {
        /// Connections over all databases and kinds (DB_MAX_CONNECTIONS); at least 1.
        package var maxConnections: Int
        /// Jobs waiting for one database; the next one is refused with `resources`.
        package var maxWaitingPerDatabase = 1024
        /// An unused connection is closed after this long.
        package var idleTimeout: Duration = .seconds(60)
        /// TCP, TLS and start-up of one connection.
        package var connectTimeout: Duration = .seconds(10)
        /// New connections a second, once as many have been opened at once. With more databases than connections it is this
        /// that says how often each is written to; a connect takes some 15 ms of processor at both ends together.
        package var connectsPerSecond: Int
        package var firstBackOff: Duration = .milliseconds(250)
        package var longestBackOff: Duration = .seconds(60)

        package init(maxConnections: Int = 20) {
            self.maxConnections = max(1, maxConnections)
            connectsPerSecond = max(20, 5 * self.maxConnections)
        }

        var perDatabase: Int { max(min(2, maxConnections), maxConnections / 2) }
        var connectingPerDatabase: Int { max(1, maxConnections / 4) }
        func share(of kind: Kind) -> Int {
            if maxConnections < 4 { return kind == .parallelWriter ? maxConnections - 1 : maxConnections }
            switch kind {
            case .writer: return maxConnections - max(1, maxConnections / 5)
            case .query: return maxConnections * 3 / 4
            case .admin, .parallelWriter: return max(1, maxConnections / 4)
            }
        }
    }

    /// A moment's figures, for metrics.
    package struct Statistics: Sendable {
        package var busy = 0
        package var idle = 0
        package var waiting = 0
        /// Since the start: connections opened, failed to open, closed to make room for another database.
        package var connects: UInt64 = 0
        package var connectFailures: UInt64 = 0
        package var evictions: UInt64 = 0
        /// Since the start: jobs begun, and how long they had waited all together.
        package var jobs: UInt64 = 0
        package var waited: Duration = .zero
        /// Since the start: how often idle connections and waiting jobs were looked after.
        package var housekeepingRounds: UInt64 = 0
    }

    private struct State {
        var scheduler: PoolScheduler
        var jobs: [PoolScheduler.JobID: PoolJob] = [:]
        var running: [Int: PoolJob] = [:]
        var threads: [PoolSlot?]
        var nextID: PoolScheduler.JobID = 0
        var isClosed = false
        var hasHousekeeper = false
        var rounds: UInt64 = 0
    }

    package let limits: Limits
    private let applicationName: String
    private let state: Mutex<State>
    private let housekeeper: Wake

    /// Opens nothing yet: threads and connections start as they are needed.
    package init(limits: Limits = Limits(), applicationName: String = "scada-ingestion") throws(StoreError) {
        self.limits = limits
        self.applicationName = applicationName
        housekeeper = try Wake()
        state = Mutex(
            State(
                scheduler: PoolScheduler(limits: limits, now: .now),
                threads: Array(repeating: nil, count: limits.maxConnections)
            )
        )
    }

    deinit {
        // Nobody can be waiting: every caller holds the pool.
        state.withLock { state in
            for slot in state.threads { slot?.post(.stop) }
        }
        housekeeper.ring()
    }

    /// Runs `body` with a connection to `url`, on that connection's thread.
    ///
    /// - Parameters:
    ///   - timeout: for waiting, connecting and the body's SQL together; nil for no bound but the pool's connect timeout.
    ///   - body: blocking calls are fine here. Must not keep the connection.
    /// - Throws: what `body` threw when that is a ``StoreError``, otherwise `source` with the cause; `connection` and
    ///   friends when no connection could be had (with `retryAfter` during a back-off), `timeout`, `cancelled`, `closed`.
    package func withConnection<R: Sendable>(
        to url: DatabaseURL,
        for kind: Kind,
        timeout: Duration? = nil,
        _ body: @escaping @Sendable (PGConnection) throws -> R
    ) async throws(StoreError) -> R {
        let cancel = CancelSignal()
        let deadline = timeout.map { ContinuousClock.now + $0 }
        let id = state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        let result: Result<R, StoreError> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let job = PoolJob(
                    id: id,
                    deadline: deadline,
                    cancel: cancel,
                    perform: { connection in
                        let result: Result<R, StoreError>
                        do {
                            result = .success(try body(connection))
                        } catch {
                            result = .failure(StoreError.wrapping(error))
                        }
                        return { continuation.resume(returning: result) }
                    },
                    fail: { continuation.resume(returning: .failure($0)) }
                )
                submit(job, url, kind)
            }
        } onCancel: {
            cancel.cancel()
            self.withdraw(id, url)
        }
        return try result.get()
    }

    package var statistics: Statistics {
        state.withLock { state in
            var figures = Statistics()
            figures.busy = state.scheduler.busyCount
            figures.idle = state.scheduler.idleCount
            figures.waiting = state.scheduler.waitingCount
            figures.connects = state.scheduler.connects
            figures.connectFailures = state.scheduler.connectFailures
            figures.evictions = state.scheduler.evictions
            figures.jobs = state.scheduler.started
            figures.waited = state.scheduler.waited
            figures.housekeepingRounds = state.rounds
            return figures
        }
    }

    /// Refuses new jobs, fails the waiting ones, lets the running ones finish within `grace`, then cancels them.
    package func close(grace: Duration = .seconds(5)) async {
        let waiting = state.withLock { state -> [PoolJob] in
            state.isClosed = true
            return state.scheduler.drainQueue().compactMap { state.jobs.removeValue(forKey: $0) }
        }
        for job in waiting { job.fail(Self.closedError) }
        let end = ContinuousClock.now + grace
        while state.withLock({ !$0.running.isEmpty }), ContinuousClock.now < end {
            do { try await Task.sleep(for: .milliseconds(10)) } catch { break }
        }
        for job in state.withLock({ Array($0.running.values) }) { job.cancel.cancel() }
        let slots = state.withLock { state in
            defer { state.threads = Array(repeating: nil, count: state.threads.count) }
            return state.threads.compactMap { $0 }
        }
        for slot in slots { slot.post(.stop) }
        housekeeper.ring()
        // Whoever closes the pool may be about to end the process.
        let limit = ContinuousClock.now + .seconds(2)
        for slot in slots { await slot.end(by: limit) }
    }

    // MARK: Jobs

    private static var closedError: StoreError { StoreError(.closed, "the database pool is closed") }

    private func submit(_ job: PoolJob, _ url: DatabaseURL, _ kind: Kind) {
        if job.cancel.isCancelled { return job.fail(StoreError(.cancelled, "cancelled")) }
        let now = ContinuousClock.now
        let actions = state.withLock { state -> [PoolScheduler.Action]? in
            if state.isClosed { return nil }
            state.jobs[job.id] = job
            let ticket = PoolScheduler.Ticket(id: job.id, kind: kind, deadline: job.deadline, arrived: now)
            return state.scheduler.submit(ticket, for: url, now: now)
        }
        guard let actions else { return job.fail(Self.closedError) }
        perform(actions)
        // Cancelled between the check and the queue: the handler found nothing to withdraw then.
        if job.cancel.isCancelled { withdraw(job.id, url) }
    }

    private func withdraw(_ id: PoolScheduler.JobID, _ url: DatabaseURL) {
        let job = state.withLock { state -> PoolJob? in
            state.scheduler.withdraw(id, from: url) ? state.jobs.removeValue(forKey: id) : nil
        }
        job?.fail(StoreError(.cancelled, "cancelled while waiting for a connection to \(url)"))
    }

    /// Carries out what the scheduler decided, outside the lock, and lets the housekeeper look at what has changed.
    private func perform(_ actions: [PoolScheduler.Action]) {
        carryOut(actions)
        startHousekeeperIfNeeded()
    }

    private func carryOut(_ actions: [PoolScheduler.Action]) {
        for action in actions {
            switch action {
            case .fail(let id, let error):
                state.withLock { $0.jobs.removeValue(forKey: id) }?.fail(error)
            case .closeIdle(let slot):
                state.withLock { $0.threads[slot] }?.post(.close)
            case .start(let id, let slot, let url, let connect):
                start(id, slot, url, connect)
            }
        }
    }

    private func start(_ id: PoolScheduler.JobID, _ index: Int, _ url: DatabaseURL, _ connect: Bool) {
        let (job, existing) = state.withLock { state -> (PoolJob?, PoolSlot?) in
            let job = state.jobs.removeValue(forKey: id)
            state.running[index] = job
            return (job, state.threads[index])
        }
        guard let job else { return }
        do throws(StoreError) {
            let slot: PoolSlot
            if let existing { slot = existing } else { slot = try makeSlot(index) }
            slot.post(.run(job, url, connect: connect))
        } catch {
            finishConnect(index, job, error, blame: false)
        }
    }

    private func makeSlot(_ index: Int) throws(StoreError) -> PoolSlot {
        let slot = try PoolSlot(index: index, applicationName: applicationName, connectTimeout: limits.connectTimeout)
        try slot.start(for: self)
        let isClosed = state.withLock { state in
            state.threads[index] = slot
            return state.isClosed
        }
        if isClosed { slot.post(.stop) }
        return slot
    }

    // MARK: Called by slots, on their threads

    func connected(_ index: Int, to url: DatabaseURL) {
        perform(
            state.withLock { state in
                state.scheduler.connected(slot: index, now: .now)
                state.scheduler.proven(url)
                return state.scheduler.assign(now: .now)
            }
        )
    }

    /// - Parameter blame: whether the database failed, rather than the caller giving up.
    func finishConnect(_ index: Int, _ job: PoolJob, _ error: StoreError, blame: Bool) {
        let actions = state.withLock { state in
            let now = ContinuousClock.now
            state.running[index] = nil
            let failed = state.scheduler.connectFailed(
                slot: index,
                error: error,
                blame: blame,
                jitter: Double.random(in: 0...1),
                now: now
            )
            return failed + state.scheduler.assign(now: now)
        }
        perform(actions)
        job.fail(error)
    }

    func finished(_ index: Int, isUsable: Bool) {
        perform(
            state.withLock { state in
                state.running[index] = nil
                state.scheduler.finished(slot: index, isUsable: isUsable, now: .now)
                return state.scheduler.assign(now: .now)
            }
        )
    }

    // MARK: Housekeeping

    private func startHousekeeperIfNeeded() {
        let start = state.withLock { state in
            let needed = !state.hasHousekeeper && !state.isClosed && state.scheduler.nextTick(now: .now) != nil
            if needed { state.hasHousekeeper = true }
            return needed
        }
        guard start else { return housekeeper.ring() }
        do {
            _ = try DatabaseThread(name: "pg-pool") { [weak self, housekeeper] in
                while let due = self?.housekeep() { housekeeper.wait(until: due) }
            }
        } catch {
            state.withLock { $0.hasHousekeeper = false }
        }
    }

    /// One round; nil when there is nothing left to watch.
    private func housekeep() -> ContinuousClock.Instant? {
        let (actions, due) = state.withLock { state in
            let now = ContinuousClock.now
            let actions = state.scheduler.tick(now: now) + state.scheduler.assign(now: now)
            let due = state.isClosed ? nil : state.scheduler.nextTick(now: now)
            if due == nil { state.hasHousekeeper = false }
            state.rounds &+= 1
            return (actions, due)
        }
        // Not `perform`: ringing its own bell it would never sleep.
        carryOut(actions)
        return due
    }
}
