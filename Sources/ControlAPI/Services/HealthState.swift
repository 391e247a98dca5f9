import Synchronization

/// What grpc.health.v1 tells. Set by the daemon, read by Check and Watch.
package final class HealthState: Sendable {
    package enum Status: Int32, Sendable, CaseIterable {
        case unknown = 0
        case serving = 1
        case notServing = 2
        /// Watch only.
        case serviceUnknown = 3
    }

    private struct State {
        var status = Status.notServing
        var isShutDown = false
        var watchers: [Int: AsyncStream<Status>.Continuation] = [:]
        var nextWatcher = 0
    }

    private let state = Mutex(State())

    /// NOT_SERVING until told otherwise.
    package init() {}

    /// The status of the server (service "") and of scada.ScadaService, which are one.
    package var status: Status { state.withLock { $0.status } }

    package func set(_ status: Status) {
        state.withLock { state in
            guard !state.isShutDown, state.status != status else { return }
            state.status = status
            for watcher in state.watchers.values { watcher.yield(status) }
        }
    }

    static func isKnown(_ service: String) -> Bool {
        service.isEmpty || service == APIMethod.scadaService
    }

    /// The present status and every change. A slow reader misses intermediate ones, never the last. Ends at shutdown.
    func updates() -> AsyncStream<Status> {
        let (stream, continuation) = AsyncStream<Status>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let isShutDown = state.withLock { state in
            continuation.yield(state.status)
            if state.isShutDown { return true }
            let number = state.nextWatcher
            state.nextWatcher += 1
            state.watchers[number] = continuation
            // Called without the lock held by us: a stream ends only in `shutDown`, after the lock, or by its reader.
            continuation.onTermination = { [weak self] _ in self?.forget(number) }
            return false
        }
        if isShutDown { continuation.finish() }
        return stream
    }

    private func forget(_ number: Int) {
        _ = state.withLock { $0.watchers.removeValue(forKey: number) }
    }

    /// NOT_SERVING for good; watchers are told and their calls end.
    func shutDown() {
        let watchers = state.withLock { state in
            state.isShutDown = true
            state.status = .notServing
            defer { state.watchers = [:] }
            return Array(state.watchers.values)
        }
        for watcher in watchers {
            watcher.yield(.notServing)
            watcher.finish()
        }
    }
}
