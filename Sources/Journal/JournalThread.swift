import CChecksum
import Synchronization
import SystemPackage

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// A value behind a pthread mutex, with a condition to wait on against the monotonic clock: the toolchain's `Mutex` has none.
/// `@unchecked Sendable`: the value is touched under the lock only.
final class Monitor<Value>: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var value: Value

    init(_ value: Value) {
        self.value = value
        mutex.initialize(to: pthread_mutex_t())
        condition.initialize(to: pthread_cond_t())
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        // Intervals must not stretch when somebody sets the wall clock.
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    func withLock<R>(_ body: (inout Value) -> R) -> R {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body(&value)
    }

    func signal() {
        pthread_cond_signal(condition)
    }

    enum Step<R> {
        case done(R)
        /// Wait for a signal, or until the monotonic time in nanoseconds.
        case wait(until: UInt64?)
    }

    /// Asks `body` again and again, waiting in between as it says.
    func wait<R>(_ body: (inout Value) -> Step<R>) -> R {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while true {
            switch body(&value) {
            case .done(let result):
                return result
            case .wait(until: nil):
                pthread_cond_wait(condition, mutex)
            case .wait(until: .some(let deadline)):
                var time = timespec(
                    tv_sec: Int(deadline / 1_000_000_000),
                    tv_nsec: Int(deadline % 1_000_000_000)
                )
                pthread_cond_timedwait(condition, mutex, &time)
            }
        }
    }
}

/// Monotonic time in nanoseconds.
func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

extension Duration {
    /// Nanoseconds, not below zero.
    var clampedNanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        return UInt64(min(seconds, 1 << 32)) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000)
    }
}

/// The one thread that writes, syncs and removes for all tenants of a directory. It sleeps on a condition while nothing
/// is pending, and otherwise runs one cycle per interval:
///
/// 1. write what every scheduled tenant has pending,
/// 2. make all of it durable: at most a few fdatasync(2), or one syncfs(2), however many tenants there are,
/// 3. publish the durable positions, remove forgotten segments, and let waiting appends in.
///
/// `@unchecked Sendable`: what is not in `monitor` or a Mutex belongs to the thread alone.
final class JournalThread: @unchecked Sendable {
    struct Orders {
        var scheduled: [TenantJournal] = []
        /// Do not wait for the interval to pass.
        var isUrgent = false
        /// Write even what failed a moment ago.
        var isForced = false
        var isStopping = false
        /// Resumed when the cycle that takes them has ended.
        var waiting: [CheckedContinuation<Void, Never>] = []
        /// The last cycle has begun, and has ended.
        var isStopped = false
        var isEnded = false
    }

    let configuration: JournalConfiguration
    let root: FileDescriptor
    let statistics = Mutex(JournalStatistics())
    let monitor = Monitor(Orders())
    /// Tenants whose last write or sync failed, each with the time of its next attempt. The thread's own.
    var retries: [ObjectIdentifier: (tenant: TenantJournal, time: UInt64)] = [:]
    /// Tenants with appends that wait for room. The thread's own.
    var blocked: [TenantJournal] = []
    /// Segment files open between cycles. The thread's own.
    var openFiles = 0
    /// Bytes of files that wait to be written over: see ``SegmentWriter/Spare``.
    var spareBytes = 0

    init(configuration: JournalConfiguration, root: FileDescriptor) {
        self.configuration = configuration
        self.root = root
    }

    /// Starts the thread; it holds this object until ``stop()``.
    func start() throws(JournalError) {
        var thread = pthread_t()
        let me = Unmanaged.passRetained(self)
        let code = pthread_create(
            &thread,
            nil,
            { argument in
                guard let argument else { return nil }
                cjournal_name_thread("journal")
                Unmanaged<JournalThread>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            },
            me.toOpaque()
        )
        guard code == 0 else {
            me.release()
            throw JournalError(.inputOutput, "cannot start the journal's thread", cause: Errno(rawValue: code))
        }
        pthread_detach(thread)
    }

    /// The tenant has something to write, remove or close. The tenant sees to it that it is not scheduled twice.
    func schedule(_ tenant: TenantJournal?, urgent: Bool) {
        monitor.withLock { orders in
            // Nobody would take it off again, and tenant and thread would keep each other alive.
            if orders.isStopped { return }
            if let tenant { orders.scheduled.append(tenant) }
            if urgent { orders.isUrgent = true }
        }
        monitor.signal()
    }

    /// Runs a cycle now, whatever the interval, and returns when it has ended.
    func runCycle() async {
        await runCycle(isLast: false)
    }

    /// Runs a last cycle and ends the thread.
    func stop() async {
        await runCycle(isLast: true)
    }

    private func runCycle(isLast: Bool) async {
        await withCheckedContinuation { continuation in
            let isEnded = monitor.withLock { orders in
                if orders.isEnded { return true }
                // In one step: the cycle that sees the one must take the other, or `stop()` would not wait for it.
                if isLast { orders.isStopping = true }
                orders.waiting.append(continuation)
                orders.isUrgent = true
                orders.isForced = true
                return false
            }
            if isEnded { continuation.resume() } else { monitor.signal() }
        }
    }

    private struct Work {
        var tenants: [TenantJournal]
        var isForced: Bool
        var isLast: Bool
        var waiting: [CheckedContinuation<Void, Never>]
    }

    private func run() {
        let interval = configuration.syncInterval.clampedNanoseconds
        var lastCycle = monotonicNanoseconds()
        while true {
            let nextRetry = retries.values.map(\.time).min()
            let work = monitor.wait { orders -> Monitor<Orders>.Step<Work> in
                let now = monotonicNanoseconds()
                let dueForRetry = nextRetry.map { $0 <= now } ?? false
                let isDue = now >= lastCycle + interval
                let hasWork = !orders.scheduled.isEmpty
                guard orders.isUrgent || dueForRetry || (hasWork && isDue) else {
                    let times = [hasWork ? lastCycle + interval : nil, nextRetry].compactMap { $0 }
                    return .wait(until: times.min())
                }
                defer {
                    orders.scheduled.removeAll(keepingCapacity: true)
                    orders.waiting.removeAll()
                    orders.isUrgent = false
                    orders.isForced = false
                    if orders.isStopping { orders.isStopped = true }
                }
                return .done(
                    Work(
                        tenants: orders.scheduled,
                        isForced: orders.isForced,
                        isLast: orders.isStopping,
                        waiting: orders.waiting
                    )
                )
            }
            lastCycle = monotonicNanoseconds()
            cycle(work.tenants, isForced: work.isForced)
            for continuation in work.waiting { continuation.resume() }
            if work.isLast {
                // Those who asked while the last cycle ran.
                let late = monitor.withLock { orders in
                    orders.isEnded = true
                    defer { orders.waiting.removeAll() }
                    return orders.waiting
                }
                for continuation in late { continuation.resume() }
                return
            }
        }
    }
}
