package import FoundationEssentials
import Synchronization
import TimescaleStore

extension TenantShared {
    /// Why a connection cannot be run as it is configured, and since when (microseconds since 1970) that is known; nil when
    /// it can.
    package func problem(ofConnection id: UUID) -> (text: String, since: Int64)? {
        let row = id.uuidString.lowercased()
        return state.withLock { state in
            let found = state.problems.first { $0.table == "scada_connections" && $0.row.lowercased() == row }
            guard let found, let since = state.problemsSince[found] else { return nil }
            return (found.problem, since)
        }
    }

    /// Replaces the problems of the configuration. One that was there before keeps its time.
    func set(problems: [RowProblem], now: Int64 = WallTime.microseconds()) {
        state.withLock { state in
            let before = state.problemsSince
            state.problems = problems
            state.problemsSince = Dictionary(problems.map { ($0, before[$0] ?? now) }) { first, _ in first }
        }
    }
}
