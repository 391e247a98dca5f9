import Synchronization

/// The calls in progress, and the bound on their number.
final class ActiveCalls: Sendable {
    enum Admission {
        case admitted
        case full
        case shuttingDown
    }

    private struct Entry {
        var call: ServerCall
        var isProbe: Bool
    }

    private struct State {
        var calls: [ObjectIdentifier: Entry] = [:]
        var scadaCalls = 0
        var probes = 0
        var isShuttingDown = false
    }

    private let maxCalls: Int
    private let maxProbes: Int
    private let state = Mutex(State())
    private let idle = OneShot()

    init(maxCalls: Int, maxProbes: Int) {
        self.maxCalls = maxCalls
        self.maxProbes = maxProbes
    }

    /// Calls in progress now.
    var count: Int { state.withLock { $0.calls.count } }

    func admit(_ call: ServerCall, isProbe: Bool) -> Admission {
        state.withLock { state in
            if state.isShuttingDown { return .shuttingDown }
            guard isProbe ? state.probes < maxProbes : state.scadaCalls < maxCalls else { return .full }
            if isProbe { state.probes += 1 } else { state.scadaCalls += 1 }
            state.calls[ObjectIdentifier(call)] = Entry(call: call, isProbe: isProbe)
            return .admitted
        }
    }

    /// The call's task is about to end.
    func remove(_ call: ServerCall) {
        let isIdle = state.withLock { state in
            guard let entry = state.calls.removeValue(forKey: ObjectIdentifier(call)) else { return false }
            if entry.isProbe { state.probes -= 1 } else { state.scadaCalls -= 1 }
            return state.isShuttingDown && state.calls.isEmpty
        }
        if isIdle { idle.fire() }
    }

    func cancelStalled(_ limit: Duration) {
        let now = ContinuousClock.now
        let calls = state.withLock { $0.calls.values.map(\.call) }
        for call in calls { call.cancelIfStalled(limit, now: now) }
    }

    /// Admits nothing more.
    func beginShutdown() {
        let isIdle = state.withLock { state in
            state.isShuttingDown = true
            return state.calls.isEmpty
        }
        if isIdle { idle.fire() }
    }

    /// After `beginShutdown`: whether every task has ended within `limit`.
    func waitUntilIdle(atMost limit: Duration) async -> Bool {
        await idle.wait(atMost: limit)
    }

    func cancelAll(_ reason: ControlError) {
        for entry in state.withLock({ Array($0.calls.values) }) { entry.call.cancel(reason) }
    }

    /// Lets go of the calls of tasks that do not end. Returns their methods.
    func abandonAll() -> [String] {
        let calls = state.withLock { $0.calls.values.map(\.call) }
        for call in calls { call.abandon() }
        return calls.map(\.path)
    }
}
