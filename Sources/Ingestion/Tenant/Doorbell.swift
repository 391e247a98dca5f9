import NIOCore
import Synchronization

/// Wakes one waiting task: by a ring from any thread, or at a time. A ring while nobody waits is kept; several are one.
///
/// Cancelling the waiting task wakes it too.
final class Doorbell: Sendable {
    private struct State {
        var isRung = false
        var waiter: CheckedContinuation<Void, Never>?
        var timer: Scheduled<Void>?
    }

    private let state = Mutex(State())
    private let eventLoop: any EventLoop

    /// - Parameter eventLoop: keeps the time.
    init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    func ring() {
        let (waiter, timer) = state.withLock { state -> (CheckedContinuation<Void, Never>?, Scheduled<Void>?) in
            defer {
                state.waiter = nil
                state.timer = nil
            }
            state.isRung = state.waiter == nil
            return (state.waiter, state.timer)
        }
        timer?.cancel()
        waiter?.resume()
    }

    /// Returns after a ring, when `deadline` has passed, or when the task is cancelled. One task at a time.
    func wait(until deadline: NIODeadline?) async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isDone = state.withLock { state -> Bool in
                    if state.isRung || Task.isCancelled {
                        state.isRung = false
                        return true
                    }
                    state.waiter = continuation
                    return false
                }
                if isDone { return continuation.resume() }
                guard let deadline else { return }
                let timer = eventLoop.scheduleTask(deadline: deadline) { self.ring() }
                let isLate = state.withLock { state -> Bool in
                    if state.waiter == nil { return true }
                    state.timer = timer
                    return false
                }
                if isLate { timer.cancel() }
            }
        } onCancel: {
            ring()
        }
    }
}
