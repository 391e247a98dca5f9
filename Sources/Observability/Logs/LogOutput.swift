#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Carries log lines to a file descriptor, on a thread of its own: a reader of standard error that has stopped reading must
/// not stop an event loop.
///
/// Any thread may write; a line is one write(2), in the order of the calls. At most `limit` bytes wait; the lines beyond are
/// dropped, counted, and reported by one line of `notice` when there is room again. What waits is lost when the process is
/// killed or traps, so `flush` before an orderly exit.
///
/// `@unchecked Sendable`: everything mutable is touched under `mutex` only.
package final class LogOutput: @unchecked Sendable {
    /// Makes the line that reports how many were dropped, line feed included.
    package typealias Notice = @Sendable (_ dropped: Int) -> [UInt8]

    private let descriptor: Int32
    private let limit: Int
    private let notice: Notice
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    private var waiting: [[UInt8]] = []
    /// Of the lines in `waiting` and of those the thread has taken and not yet written.
    private var waitingBytes = 0
    private var unreported = 0
    private var allDropped = 0
    private var isWriting = false
    private var hasThread = false
    private var isClosed = false

    /// - Parameters:
    ///   - descriptor: stays the caller's; it may block or not.
    ///   - limit: bytes that may wait, at least one line.
    package init(descriptor: Int32 = STDERR_FILENO, limit: Int = 1 << 20, notice: @escaping Notice) {
        self.descriptor = descriptor
        self.limit = limit
        self.notice = notice
        mutex.initialize(to: pthread_mutex_t())
        changed.initialize(to: pthread_cond_t())
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(changed, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(changed)
        pthread_mutex_destroy(mutex)
        changed.deallocate()
        mutex.deallocate()
    }

    /// Lines dropped since the start.
    package var dropped: Int { withLock { allDropped } }

    /// Never blocks for longer than another thread needs to append.
    /// - Parameter line: ends with a line feed.
    package func write(_ line: [UInt8]) {
        withLock {
            // A line larger than the whole bound goes through when nothing waits: better late than never.
            guard !isClosed, waitingBytes == 0 || waitingBytes + line.count <= limit else {
                unreported += 1
                allDropped += 1
                return
            }
            waiting.append(line)
            waitingBytes += line.count
            if !hasThread { hasThread = startThread() }
            pthread_cond_broadcast(changed)
        }
    }

    /// Waits until everything written so far has left, at most this long. Returns whether it has.
    @discardableResult
    package func flush(atMost timeout: Duration) -> Bool {
        var deadline = timespec()
        clock_gettime(CLOCK_MONOTONIC, &deadline)
        let nanoseconds = deadline.tv_nsec + Int(timeout.components.attoseconds / 1_000_000_000)
        deadline.tv_sec += Int(clamping: timeout.components.seconds) + nanoseconds / 1_000_000_000
        deadline.tv_nsec = nanoseconds % 1_000_000_000
        return withLock {
            while !waiting.isEmpty || isWriting {
                if pthread_cond_timedwait(changed, mutex, &deadline) == ETIMEDOUT { return false }
            }
            return true
        }
    }

    /// Writes what waits, then ends the thread; later lines are dropped.
    package func close() {
        withLock {
            isClosed = true
            pthread_cond_broadcast(changed)
        }
    }

    private func withLock<R>(_ body: () -> R) -> R {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body()
    }

    // MARK: - The thread

    /// False when the system refuses a thread: the next line tries again, and meanwhile they wait.
    private func startThread() -> Bool {
        var thread = pthread_t()
        let context = Unmanaged.passRetained(self)
        let result = pthread_create(
            &thread,
            nil,
            { context in
                guard let context else { return nil }
                // Signals are for the main thread; SIGPIPE in particular must become EPIPE here.
                var all = sigset_t()
                sigfillset(&all)
                pthread_sigmask(SIG_SETMASK, &all, nil)
                Unmanaged<LogOutput>.fromOpaque(context).takeRetainedValue().run()
                return nil
            },
            context.toOpaque()
        )
        guard result == 0 else {
            context.release()
            return false
        }
        pthread_detach(thread)
        return true
    }

    private func run() {
        while let lines = take() {
            for line in lines {
                writeAll(line)
                withLock { waitingBytes -= line.count }
            }
        }
    }

    /// The lines that wait; nil when closed.
    private func take() -> [[UInt8]]? {
        withLock {
            isWriting = false
            pthread_cond_broadcast(changed)
            while waiting.isEmpty, unreported == 0 {
                if isClosed { return nil }
                pthread_cond_wait(changed, mutex)
            }
            var lines = waiting
            waiting = []
            if unreported > 0, !isClosed {
                let line = notice(unreported)
                lines.append(line)
                waitingBytes += line.count
            }
            unreported = 0
            isWriting = true
            return lines
        }
    }

    private func writeAll(_ line: [UInt8]) {
        var offset = 0
        while offset < line.count {
            let written = line.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress! + offset, $0.count - offset) }
            if written > 0 {
                offset += written
            } else if written < 0, errno == EAGAIN {
                // Whoever shares the descriptor made it non-blocking.
                var wanted = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                poll(&wanted, 1, -1)
            } else if written == 0 || errno != EINTR {
                // Nobody is there to be told: the reader is gone or the disk is full.
                withLock { allDropped += 1 }
                return
            }
        }
    }
}
