import OPCUAClient
import Synchronization

/// Tells each failure of a connection once, although its status is reported more often. Any thread.
final class Deduplicator: Sendable {
    private struct State {
        var attempts = 0
        var code: OPCUAClientError.Code?
        var connects: UInt64 = 0
    }

    private let state = Mutex(State())

    /// The kind of a failure that was not told before; nil when there is none.
    func new(_ status: ConnectionStatus) -> String? {
        state.withLock { state in
            defer {
                state.attempts = status.failedAttempts
                state.code = status.lastError?.code
                state.connects = status.connects
            }
            guard let error = status.lastError else { return nil }
            let isSame =
                state.code == error.code && state.attempts == status.failedAttempts && state.connects == status.connects
            return isSame ? nil : error.code.description
        }
    }
}
