import Synchronization

@testable import Observability

/// A status under the test's control.
final class TestSource: StatusSource {
    let reasons = Mutex<[String]>([])
    private struct Gate {
        var isClosed = false
        var waiting: [CheckedContinuation<Void, Never>] = []
        var asked = 0
    }
    private let gate = Mutex(Gate())

    func notReadyReasons() -> [String] { reasons.withLock { $0 } }

    func statusJSON() async -> [UInt8] {
        await withCheckedContinuation { continuation in
            let passes = gate.withLock { gate in
                gate.asked += 1
                if gate.isClosed { gate.waiting.append(continuation) }
                return !gate.isClosed
            }
            if passes { continuation.resume() }
        }
        return Array(#"{"ok":true}"#.utf8)
    }

    /// How often the status has been asked for.
    var asked: Int { gate.withLock { $0.asked } }

    func holdStatus() { gate.withLock { $0.isClosed = true } }

    func releaseStatus() {
        let waiting = gate.withLock { gate in
            gate.isClosed = false
            defer { gate.waiting = [] }
            return gate.waiting
        }
        for continuation in waiting { continuation.resume() }
    }
}

/// Asks until it is so, for half a minute at most.
func eventually(_ condition: () -> Bool) async -> Bool {
    let deadline = ContinuousClock.now + .seconds(30)
    while !condition() {
        if ContinuousClock.now > deadline { return false }
        try? await Task.sleep(for: .milliseconds(2))
    }
    return true
}
