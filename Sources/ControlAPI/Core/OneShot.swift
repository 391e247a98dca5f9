import Synchronization

/// An event that happens once. Any number of tasks may wait for it.
final class OneShot: Sendable {
    private struct State {
        var hasFired = false
        var waiters: [CheckedContinuation<Void, Never>] = []
        var streams: [AsyncStream<Never>.Continuation] = []
    }

    private let state = Mutex(State())

    var hasFired: Bool { state.withLock { $0.hasFired } }

    func fire() {
        let (waiters, streams) = state.withLock { state in
            state.hasFired = true
            defer {
                state.waiters = []
                state.streams = []
            }
            return (state.waiters, state.streams)
        }
        for waiter in waiters { waiter.resume() }
        for stream in streams { stream.finish() }
    }

    /// Returns when the event has happened or the task is cancelled.
    func wait() async {
        let (stream, continuation) = AsyncStream<Never>.makeStream()
        let hasFired = state.withLock { state in
            if !state.hasFired { state.streams.append(continuation) }
            return state.hasFired
        }
        if hasFired { return }
        for await _ in stream {}
    }

    /// Returns when the event has happened, whatever becomes of the task. Only for events that are certain.
    func waitUncancelled() async {
        await withCheckedContinuation { continuation in
            let hasFired = state.withLock { state in
                if !state.hasFired { state.waiters.append(continuation) }
                return state.hasFired
            }
            if hasFired { continuation.resume() }
        }
    }

    /// Waits at most `limit`; false = it has not happened by then (or the task was cancelled).
    func wait(atMost limit: Duration) async -> Bool {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.wait() }
            group.addTask { try? await Task.sleep(for: limit) }
            await group.next()
            group.cancelAll()
        }
        return hasFired
    }
}
