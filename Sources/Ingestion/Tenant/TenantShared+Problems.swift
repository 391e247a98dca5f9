package import FoundationEssentials
import Synchronization
import TimescaleStore

extension TenantShared {
    /// Why a connection cannot be run as it is configured; nil when it can.
    package func problem(ofConnection id: UUID) -> String? {
        let row = id.uuidString.lowercased()
        return state.withLock { state in
            state.problems.first { $0.table == "scada_connections" && $0.row.lowercased() == row }?.problem
        }
    }
}
