internal import CLibPQ
internal import Synchronization

/// Another thread's way to stop what a connection is doing. Set once; the connection's own thread acts on it.
final class CancelSignal: Sendable {
    private struct State {
        var isCancelled = false
        var wake: Wake?
    }
    private let state = Mutex(State())

    var isCancelled: Bool { state.withLock { $0.isCancelled } }

    func cancel() {
        let wake = state.withLock { state in
            state.isCancelled = true
            return state.wake
        }
        wake?.ring()
    }

    /// Says whose doorbell to ring. Rings at once when already cancelled.
    func attach(_ wake: Wake) {
        let ring = state.withLock { state in
            state.wake = wake
            return state.isCancelled
        }
        if ring { wake.ring() }
    }

    func detach() { state.withLock { $0.wake = nil } }
}

/// Sends PostgreSQL cancel requests from one thread of its own, because `PQcancel` blocks in connect for as long as the
/// network lets it, and the thread that waits for the cancelled statement has a deadline to keep.
///
/// At most 64 requests wait; more are dropped: `statement_timeout` then ends the statement.
final class Canceller: Sendable {
    /// A `PGcancel` on its way to the canceller's thread; used by one thread at a time.
    private struct Request: @unchecked Sendable {
        let handle: OpaquePointer
    }
    private struct State {
        var queue: [Request] = []
        var isRunning = false
    }
    private static let bound = 64
    static let shared = Canceller()
    private let state = Mutex(State())

    /// Takes ownership of `handle`, a pointer from `PQgetCancel`.
    func send(_ handle: OpaquePointer) {
        let request = Request(handle: handle)
        let (accepted, start) = state.withLock { state -> (Bool, Bool) in
            guard state.queue.count < Self.bound else { return (false, false) }
            state.queue.append(request)
            defer { state.isRunning = true }
            return (true, !state.isRunning)
        }
        if !accepted { PQfreeCancel(handle) }
        guard start else { return }
        do {
            _ = try DatabaseThread(name: "pg-cancel") { self.drain() }
        } catch {
            let left = state.withLock { state in
                state.isRunning = false
                defer { state.queue = [] }
                return state.queue
            }
            for request in left { PQfreeCancel(request.handle) }
        }
    }

    private func drain() {
        while let request = next() {
            withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
                _ = PQcancel(request.handle, buffer.baseAddress, Int32(buffer.count))
            }
            PQfreeCancel(request.handle)
        }
    }

    private func next() -> Request? {
        state.withLock { state in
            if state.queue.isEmpty {
                state.isRunning = false
                return nil
            }
            return state.queue.removeFirst()
        }
    }
}
