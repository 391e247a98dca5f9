internal import Synchronization

/// The place of a flush in a row of flushes that are made at the same time, each on a connection of its own: they are
/// committed in this order, so that no reading is in the table before an older one of its tag.
///
/// The order does not rest on this object. A flush that follows another one looks at the checkpoint, under its lock, before
/// it commits; the turn only says when it is worth looking. Used from any thread.
package final class FlushTurn: Sendable {
    private struct State {
        /// The server's process; known once the flush has begun.
        var backend: Int64?
        var hasBegun = false
        /// nil until the flush is over.
        var isStored: Bool?
        /// The thread of the flush that follows.
        var follower: Wake?
        var waiting: [CheckedContinuation<Void, Never>] = []

        /// - Returns: who waited for it.
        mutating func begin() -> [CheckedContinuation<Void, Never>] {
            hasBegun = true
            defer { waiting = [] }
            return waiting
        }
    }

    /// The flush that has to be committed first.
    let previous: FlushTurn?
    private let state = Mutex(State())

    package init(after previous: FlushTurn? = nil) { self.previous = previous }

    /// Returns once the flush has a connection and begins to send rows, or is over: so that the next one does not take a
    /// connection from it.
    package func begun() async {
        await withCheckedContinuation { continuation in
            let isKnown = state.withLock { state in
                if state.hasBegun { return true }
                state.waiting.append(continuation)
                return false
            }
            if isKnown { continuation.resume() }
        }
    }

    /// Whether the flush is over and was not stored: those that follow need not go on.
    var hasFailed: Bool { state.withLock { $0.isStored == false } }
    var isOver: Bool { state.withLock { $0.isStored != nil } }

    func begin(backend: Int64) {
        let waiting = state.withLock { state in
            state.backend = backend
            return state.begin()
        }
        for each in waiting { each.resume() }
    }

    /// Every flush ends its turn, however it ends.
    func end(isStored: Bool) {
        let (waiting, follower) = state.withLock { state in
            state.isStored = isStored
            return (state.begin(), state.follower)
        }
        for each in waiting { each.resume() }
        follower?.ring()
    }

    /// The doorbell to ring when the flush is over; nil for none.
    func follow(by wake: Wake?) { state.withLock { $0.follower = wake } }

    /// The server's processes of this flush and those before it, as far as they are not over.
    var backends: [Int64] {
        let own = state.withLock { $0.isStored == nil ? $0.backend : nil }
        return (previous?.backends ?? []) + (own.map { [$0] } ?? [])
    }
}
