package import FoundationEssentials
package import OPCUAClient
package import TimescaleStore

/// How a tenant is doing, at one moment. Times are microseconds since 1970.
package struct TenantSnapshot: Sendable {
    package enum State: String, Sendable {
        /// Its database has not been reached since it was started.
        case starting
        case running
        /// Its database refuses or is away; readings wait in the journal.
        case databaseAway = "database_away"
        /// Its journal takes nothing: full, or the disk fails.
        case journalFull = "journal_full"
    }

    package var id: UUID
    package var name: String
    package var state: State
    /// In words, for a person; empty while all is well.
    package var reason: String
    /// The database's, behind the reason; nil when that is another one.
    package var error: StoreError?
    /// The database's product and version; empty while it is not known.
    package var database: String
    package var isDatabaseReachable: Bool
    /// Readings received and not stored.
    package var backlog: Int
    package var journalBytes: Int
    package var oldestUnstoredAge: Duration
    /// nil: none yet.
    package var timeSinceLastFlush: Duration?
    /// When the first of the writes failed that have failed in a row; nil: the last one succeeded.
    package var failingSince: Int64?
    package var connections: [ConnectionSnapshot]
    /// Rows of the configuration that cannot be used.
    package var problems: [String]

    package var activeConnections: Int { connections.reduce(0) { $0 + ($1.status.state == .connected ? 1 : 0) } }
}

/// How a connection is doing, at one moment.
package struct ConnectionSnapshot: Sendable {
    package var id: UUID
    package var name: String
    package var endpointURL: String
    package var securityMode: String
    package var securityPolicy: String
    package var publishingInterval: Double
    package var tags: Int
    package var badTags: Int
    /// Quiet far longer than their history says they should be.
    package var silentTags: Int
    package var readings: UInt64
    package var duplicates: UInt64
    package var overflows: UInt64
    package var receiveTimestamps: UInt64
    package var republished: UInt64
    package var recovered: UInt64
    package var lastReadingAt: Int64?
    /// When the status' last error happened.
    package var lastErrorAt: Int64?
    package var status: ConnectionStatus
}
