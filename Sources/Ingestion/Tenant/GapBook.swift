import FoundationEssentials
import Synchronization
import TimescaleStore

/// Gaps of a tenant that are not in `scada_gaps` yet. Any thread.
///
/// Bounded by the tags: overflows of one tag are one gap until the next flush writes it.
final class GapBook: Sendable {
    private struct TagOfConnection: Hashable {
        var connectionID: UUID
        var tagNodeID: String
    }

    private struct State {
        var pending: [UUID: GapRecord] = [:]
        var overflows: [TagOfConnection: UUID] = [:]
    }

    private let state = Mutex(State())

    /// - Returns: whether the gap is new, and not one more overflow of a tag whose gap is pending.
    func note(_ gap: GapRecord) -> Bool {
        state.withLock { state in
            guard gap.cause == IntakeGap.Cause.queueOverflow.rawValue, let tag = gap.tagNodeID else {
                state.pending[gap.id] = gap
                return true
            }
            let key = TagOfConnection(connectionID: gap.connectionID, tagNodeID: tag)
            if let id = state.overflows[key], var known = state.pending[id] {
                known.startedAtMicros = min(known.startedAtMicros, gap.startedAtMicros)
                known.endedAtMicros = max(known.endedAtMicros ?? .min, gap.endedAtMicros ?? .min)
                state.pending[id] = known
                return false
            }
            state.overflows[key] = gap.id
            state.pending[gap.id] = gap
            return true
        }
    }

    var isEmpty: Bool { state.withLock { $0.pending.isEmpty } }

    /// At most a thousand, to be written; they are back with ``putBack(_:)`` when that fails.
    func take() -> [GapRecord] {
        state.withLock { state in
            let taken = Array(state.pending.values.prefix(1000))
            for gap in taken {
                state.pending[gap.id] = nil
                if let tag = gap.tagNodeID {
                    state.overflows[TagOfConnection(connectionID: gap.connectionID, tagNodeID: tag)] = nil
                }
            }
            return taken
        }
    }

    func putBack(_ gaps: [GapRecord]) {
        state.withLock { state in
            // What was noted under the same id meanwhile is newer.
            for gap in gaps where state.pending[gap.id] == nil { state.pending[gap.id] = gap }
        }
    }
}
