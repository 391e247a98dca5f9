internal import CLibPQ
internal import Glibc
internal import Synchronization

/// A thread of its own for blocking C: libpq must never block the cooperative pool.
///
/// All signals are blocked in it, so that the process's handlers run elsewhere. Nobody has to wait for its end, but who ends
/// the process should: libraries below libpq (Kerberos) free what belongs to a thread both when the thread ends and when the
/// process does, and abort where the two meet.
final class DatabaseThread: Sendable {
    /// Set when the body has returned.
    private final class Ending: Sendable {
        let hasBegun = Atomic(false)
    }

    /// The thread's alone, so that the body, and what it refers to, goes with the thread.
    private final class Start: Sendable {
        let name: String
        let body: @Sendable () -> Void
        let ending: Ending

        init(name: String, ending: Ending, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.ending = ending
            self.body = body
        }
    }

    private let ending = Ending()
    /// nil once it was waited for.
    private let thread: Mutex<pthread_t?>

    /// - Parameter name: at most 15 characters are kept.
    init(name: String, _ body: @escaping @Sendable () -> Void) throws(StoreError) {
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setstacksize(&attributes, 1 << 20)
        let argument = Unmanaged.passRetained(Start(name: String(name.prefix(15)), ending: ending, body: body))
        var thread = pthread_t()
        let status = pthread_create(
            &thread,
            &attributes,
            { argument in
                guard let argument else { return nil }
                var every = sigset_t()
                sigfillset(&every)
                pthread_sigmask(SIG_BLOCK, &every, nil)
                let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
                clibpq_name_thread(start.name)
                start.body()
                start.ending.hasBegun.store(true, ordering: .releasing)
                return nil
            },
            argument.toOpaque()
        )
        self.thread = Mutex(status == 0 ? thread : nil)
        if status != 0 {
            argument.release()
            throw StoreError(.resources, "cannot start a database thread (errno \(status))")
        }
    }

    deinit {
        if let thread = thread.withLock({ $0 }) { pthread_detach(thread) }
    }

    /// Returns when the thread is gone for good; before that when `limit` passes or the task is cancelled.
    func end(by limit: ContinuousClock.Instant) async {
        while !ending.hasBegun.load(ordering: .acquiring) {
            guard ContinuousClock.now < limit else { return }
            do { try await Task.sleep(for: .milliseconds(1)) } catch { return }
        }
        // What is left of it takes microseconds.
        let gone = thread.withLock { thread -> pthread_t? in
            defer { thread = nil }
            return thread
        }
        if let gone { pthread_join(gone, nil) }
    }
}
