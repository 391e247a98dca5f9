internal import Synchronization

/// A caller's closure on its way through the pool. Exactly one of `fail` and the closure `perform` returns is called.
final class PoolJob: Sendable {
    let id: PoolScheduler.JobID
    let deadline: ContinuousClock.Instant?
    let cancel: CancelSignal
    /// Runs the body and gives back what tells the caller, for when the slot is free again.
    let perform: @Sendable (PGConnection) -> @Sendable () -> Void
    let fail: @Sendable (StoreError) -> Void

    init(
        id: PoolScheduler.JobID,
        deadline: ContinuousClock.Instant?,
        cancel: CancelSignal,
        perform: @escaping @Sendable (PGConnection) -> @Sendable () -> Void,
        fail: @escaping @Sendable (StoreError) -> Void
    ) {
        self.id = id
        self.deadline = deadline
        self.cancel = cancel
        self.perform = perform
        self.fail = fail
    }
}

/// One of the pool's places: a thread and, most of the time, a connection that only this thread touches.
final class PoolSlot: Sendable {
    enum Command: Sendable {
        case run(PoolJob, DatabaseURL, connect: Bool)
        case close
        case stop
    }

    private let index: Int
    private let applicationName: String
    private let connectTimeout: Duration
    private let mailbox = Mutex<[Command]>([])
    private let wake: Wake
    private let thread = Mutex<DatabaseThread?>(nil)

    init(index: Int, applicationName: String, connectTimeout: Duration) throws(StoreError) {
        self.index = index
        self.applicationName = applicationName
        self.connectTimeout = connectTimeout
        wake = try Wake()
    }

    /// The thread keeps the slot alive, the pool only for as long as a job runs.
    func start(for pool: ConnectionPool) throws(StoreError) {
        let started = try DatabaseThread(name: "pg-\(index)") { [weak pool] in self.run(pool: { [weak pool] in pool }) }
        thread.withLock { $0 = started }
    }

    /// Waits until the thread, told to stop, is gone.
    func end(by limit: ContinuousClock.Instant) async { await thread.withLock { $0 }?.end(by: limit) }

    /// The scheduler gives a slot one job at a time: the mailbox never holds more than a job and a close or stop.
    func post(_ command: Command) {
        mailbox.withLock { $0.append(command) }
        wake.ring()
    }

    private func run(pool: @Sendable () -> ConnectionPool?) {
        var connection: PGConnection?
        while true {
            guard let command = mailbox.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) else {
                wake.wait(until: pool() == nil ? .now : nil)
                if pool() == nil, mailbox.withLock({ $0.isEmpty }) { return }
                continue
            }
            switch command {
            case .close: connection = nil
            case .stop:
                return
            case .run(let job, let url, let connect):
                guard let pool = pool() else { return job.fail(StoreError(.closed, "the database pool is gone")) }
                if connect {
                    connection = nil
                    connection = open(url, for: job, pool)
                    if connection == nil { continue }
                }
                serve(job, &connection, pool)
            }
        }
    }

    private func open(_ url: DatabaseURL, for job: PoolJob, _ pool: ConnectionPool) -> PGConnection? {
        let limit = ContinuousClock.now + connectTimeout
        let deadline = min(limit, job.deadline ?? limit)
        do throws(StoreError) {
            let connection = try PGConnection(
                to: url,
                wake: wake,
                applicationName: applicationName,
                deadline: deadline,
                cancelSignal: job.cancel
            )
            pool.connected(index, to: url)
            return connection
        } catch {
            // A caller in a hurry or gone is no reason to hold the database in a back-off.
            let blame = error.code != .cancelled && !(deadline < limit && deadline <= .now)
            pool.finishConnect(index, job, error, blame: blame)
            return nil
        }
    }

    private func serve(_ job: PoolJob, _ connection: inout PGConnection?, _ pool: ConnectionPool) {
        guard let open = connection else {
            pool.finished(index, isUsable: false)
            return job.fail(StoreError(.connection, "the connection was lost between two jobs"))
        }
        open.begin(deadline: job.deadline, cancelSignal: job.cancel)
        let tell = job.perform(open)
        open.begin(deadline: .now + .seconds(2), cancelSignal: nil)
        if open.isUsable, open.isInTransaction { open.rollback() }
        open.end()
        let isUsable = open.isUsable && open.isIdle
        if !isUsable { connection = nil }
        pool.finished(index, isUsable: isUsable)
        tell()
    }
}
