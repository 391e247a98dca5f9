import Journal
import Synchronization
import TimescaleStore

/// Which of a tenant's flushes have to leave out what another replica may have stored: see ``ReadingsWriter/Sharing``. Any
/// thread.
///
/// Those are: what the journal held when this process started or when the leases had run out (others may have read the same
/// from the servers since), first values of connections that were another replica's, and values from history.
final class FlushChecks: Sendable {
    private struct State {
        /// Everything before is checked.
        var through: JournalPosition
        /// Connections whose first values are on their way.
        var open = 0
        var lapses: Int
    }

    private let gate: LeaseGate?
    private let state: Mutex<State>

    /// - Parameter gate: nil where there are no other replicas: nothing is ever checked.
    init(gate: LeaseGate?, journalEnd: JournalPosition) {
        self.gate = gate
        state = Mutex(State(through: journalEnd, lapses: gate?.lapses ?? 0))
    }

    /// For a flush that begins at `start`.
    func sharing(from start: JournalPosition, journalEnd: JournalPosition) -> ReadingsWriter.Sharing {
        guard let gate else { return .alone }
        let lapses: Int? = state.withLock { state in
            // Opened again after it was closed: what was received before may be another replica's too.
            if state.lapses != gate.lapses {
                state.lapses = gate.lapses
                state.through = max(state.through, journalEnd)
            }
            return state.open > 0 || start < state.through ? nil : state.lapses
        }
        guard let lapses, gate.isOpen else { return .checked }
        return .owner { gate.isOpen && gate.lapses == lapses }
    }

    /// Everything up to here is checked: others may have the connections it is from by now, or the database may not have what it
    /// had when these rows were received.
    func check(through position: JournalPosition) {
        state.withLock { $0.through = max($0.through, position) }
    }

    /// From here on everything is checked, until ``end(through:)`` was called as often.
    func begin() { state.withLock { $0.open += 1 } }

    /// - Parameter position: the journal's end now.
    func end(through position: JournalPosition) {
        state.withLock { state in
            state.open = max(0, state.open - 1)
            state.through = max(state.through, position)
        }
    }
}
