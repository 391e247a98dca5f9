import Synchronization

@testable import Observability

/// A status under the test's control.
final class TestSource: StatusSource {
    let reasons = Mutex<[String]>([])
    private struct Gate {
        var isClosed = false
        var waiting: [CheckedContinuation<Void, Never>] = []
        var asked = 0
        var sampled = 0
    }
    private let gate = Mutex(Gate())

    func notReadyReasons() -> [String] { reasons.withLock { $0 } }

    func totals() -> StatusTotals {
        gate.withLock { $0.sampled += 1 }
        return StatusTotals()
    }

    func statusReport() async -> StatusReport {
        await withCheckedContinuation { continuation in
            let passes = gate.withLock { gate in
                gate.asked += 1
                if gate.isClosed { gate.waiting.append(continuation) }
                return !gate.isClosed
            }
            if passes { continuation.resume() }
        }
        var report = StatusReport(startedAt: 0, generatedAt: 1_000_000)
        report.version = "test"
        return report
    }

    /// How often the status has been asked for.
    var asked: Int { gate.withLock { $0.asked } }

    /// How often the totals have been asked for.
    var sampled: Int { gate.withLock { $0.sampled } }

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
