internal import CLibPQ
internal import Glibc
internal import Synchronization

/// A thread's doorbell: a pipe, so that one `poll` waits for the socket and for a call from another thread alike.
///
/// `ring` may come from any thread, and rings before the wait are not lost; `wait` and `silence` belong to the owner.
final class Wake: Sendable {
    private let readEnd: Int32
    private let writeEnd: Int32

    init() throws(StoreError) {
        var ends: (Int32, Int32) = (-1, -1)
        let failed = withUnsafeMutablePointer(to: &ends) {
            $0.withMemoryRebound(to: Int32.self, capacity: 2) { pipe($0) != 0 }
        }
        if failed {
            throw StoreError(
                .resources,
                "no file descriptor left for a database thread (errno \(errno)); raise ulimit -n"
            )
        }
        (readEnd, writeEnd) = ends
        for end in [ends.0, ends.1] {
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
        }
    }

    deinit {
        close(readEnd)
        close(writeEnd)
    }

    var fileDescriptor: Int32 { readEnd }

    func ring() {
        var byte: UInt8 = 1
        // A full pipe already means "ringing": the result does not matter.
        _ = write(writeEnd, &byte, 1)
    }

    func silence() {
        withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { buffer in
            while read(readEnd, buffer.baseAddress, buffer.count) == buffer.count {}
        }
    }

    /// Waits for a ring, at most until `deadline`.
    func wait(until deadline: ContinuousClock.Instant?) {
        var entry = pollfd(fd: readEnd, events: Int16(POLLIN), revents: 0)
        _ = poll(&entry, 1, pollTimeout(until: deadline))
        silence()
    }
}

/// Milliseconds for `poll`, rounded up so that a wait never spins; -1 for no deadline.
func pollTimeout(until deadline: ContinuousClock.Instant?) -> Int32 {
    guard let deadline else { return -1 }
    let left = ContinuousClock.now.duration(to: deadline)
    if left <= .zero { return 0 }
    let (seconds, attoseconds) = left.components
    if seconds > 86_400 { return 86_400_000 }
    return Int32(seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
}
