import FoundationEssentials
import Synchronization
import TimescaleStore

/// Gaps of a tenant that are not in `scada_gaps` yet. Any thread.
///
/// Bounded by the tags: what comes again and again, overflows of a tag and records given up by a full journal, is one gap
/// until it is written.
final class GapBook: Sendable {
    /// Gaps that may become one.
    private struct Kind: Hashable {
        var connectionID: UUID
        var tagNodeID: String?
        var cause: String

        /// nil: the gap is one of its own.
        init?(_ gap: GapRecord) {
            let repeating = [IntakeGap.Cause.queueOverflow.rawValue, IntakeGap.Cause.journalFull.rawValue]
            guard repeating.contains(gap.cause), gap.healedAtMicros == nil else { return nil }
            connectionID = gap.connectionID
            tagNodeID = gap.tagNodeID
            cause = gap.cause
        }
    }

    /// A gap that waits to be written.
    struct Pending: Equatable {
        var gap: GapRecord
        /// Whether it takes in others of its kind.
        var merges: Bool
    }

    private struct State {
        var pending: [UUID: Pending] = [:]
        /// The pending gaps that take others in.
        var open: [Kind: UUID] = [:]
    }

    private let state = Mutex(State())

    /// - Parameter merges: whether the gap may become part of a pending one of its kind, or take in later ones. Not when its
    ///   bounds have to stay as they are, because history is read for exactly these.
    /// - Returns: the gap as it is pending now, and whether it is a new one.
    @discardableResult
    func note(_ gap: GapRecord, merges: Bool = true) -> (gap: GapRecord, isNew: Bool) {
        state.withLock { state in
            guard merges, let kind = Kind(gap) else {
                state.pending[gap.id] = Pending(gap: gap, merges: false)
                return (gap, true)
            }
            if let id = state.open[kind], id != gap.id, let known = state.pending[id] {
                let merged = Self.union(known.gap, gap)
                state.pending[id] = Pending(gap: merged, merges: true)
                return (merged, false)
            }
            state.open[kind] = gap.id
            state.pending[gap.id] = Pending(gap: gap, merges: true)
            return (gap, true)
        }
    }

    var isEmpty: Bool { state.withLock { $0.pending.isEmpty } }

    /// At most a thousand, to be written; they are back with ``putBack(_:)`` when that fails.
    func take() -> [Pending] {
        state.withLock { state in
            let taken = Array(state.pending.values.prefix(1000))
            for entry in taken {
                state.pending[entry.gap.id] = nil
                if let kind = Kind(entry.gap), state.open[kind] == entry.gap.id { state.open[kind] = nil }
            }
            return taken
        }
    }

    func putBack(_ taken: [Pending]) {
        state.withLock { state in
            // What was noted under the same id meanwhile is newer.
            for entry in taken where state.pending[entry.gap.id] == nil {
                var entry = entry
                if entry.merges, let kind = Kind(entry.gap) {
                    if let id = state.open[kind], let later = state.pending.removeValue(forKey: id) {
                        entry.gap = Self.union(entry.gap, later.gap)
                    }
                    state.open[kind] = entry.gap.id
                }
                state.pending[entry.gap.id] = entry
            }
        }
    }

    /// One gap over both, under the first one's id.
    private static func union(_ first: GapRecord, _ second: GapRecord) -> GapRecord {
        var union = first
        union.startedAtMicros = min(first.startedAtMicros, second.startedAtMicros)
        if let end = first.endedAtMicros { union.endedAtMicros = second.endedAtMicros.map { max(end, $0) } }
        if let lost = first.readingsLost { union.readingsLost = second.readingsLost.map { lost &+ $0 } }
        return union
    }
}
