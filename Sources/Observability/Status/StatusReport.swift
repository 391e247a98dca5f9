/// The state of the daemon as /status.json and the status page tell it. Filled by the daemon.
///
/// Times are microseconds since 1970. Tenants go by name. Nothing in here may be a secret: no database URL, no credentials in an
/// endpoint URL, no password in an error.
package struct StatusReport: Sendable, Equatable {
    package var version = ""
    /// REPLICA_ID; empty = not shown.
    package var replica = ""
    /// How the replicas share the connections; nil where there is one only.
    package var sharing: Sharing?
    package var startedAt: Int64
    /// When this was put together; ages are counted up to it.
    package var generatedAt: Int64
    /// As /readyz tells them; empty = ready.
    package var notReadyReasons: [String] = []
    /// Since the start.
    package var readingsReceived: UInt64 = 0
    package var readingsStored: UInt64 = 0
    package var tenants: [Tenant] = []
    package var connections: [Connection] = []
    /// A selection when there are very many; `badTagsTotal` counts all.
    package var badTags: [BadTag] = []
    package var badTagsTotal = 0
    /// A selection, those quiet longest first; `silentTagsTotal` counts all.
    package var silentTags: [SilentTag] = []
    package var silentTagsTotal = 0
    /// The latest first, open ones before closed ones; a selection.
    package var gaps: [Gap] = []
    package var certificates: [Certificate] = []

    package init(startedAt: Int64, generatedAt: Int64 = UTCTime.nowMicroseconds()) {
        self.startedAt = startedAt
        self.generatedAt = generatedAt
    }

    package struct Sharing: Sendable, Equatable {
        /// Replicas alive, this one among them, by name.
        package var replicas: [String]
        /// Connections this replica holds.
        package var held: Int
        /// Why its leases cannot be renewed; empty when they are.
        package var trouble: String

        package init(replicas: [String], held: Int, trouble: String = "") {
            self.replicas = replicas
            self.held = held
            self.trouble = trouble
        }
    }

    /// What is wrong and what to do about it, in words for who has to cure it.
    package struct Trouble: Sendable, Equatable {
        package var message: String
        package var advice: String?
        package var since: Int64?

        package init(_ message: String, advice: String? = nil, since: Int64? = nil) {
            self.message = message
            self.advice = advice
            self.since = since
        }
    }

    package struct Tenant: Sendable, Equatable {
        package var name: String
        package var isDatabaseReachable = true
        /// Product and version: `TimescaleDB 2.28.3 on PostgreSQL 17`.
        package var database = ""
        /// Why its readings cannot be stored now; nil = they can.
        package var trouble: Trouble?
        package var connectionsTotal = 0
        package var connectionsActive = 0
        package var tagsTotal = 0
        package var tagsBad = 0
        /// Readings that wait for the next flush.
        package var bufferReadings = 0
        /// Readings in the journal that are not in the database.
        package var backlogReadings: Int64 = 0
        /// When the oldest of them was received; nil = there are none.
        package var oldestUnstoredAt: Int64?
        package var journalBytes: Int64 = 0
        /// JOURNAL_MAX_BYTES; 0 = unknown.
        package var journalLimitBytes: Int64 = 0
        /// The journal has no room: its servers are not read from until it has.
        package var isIntakeStopped = false
        package var lastStoredAt: Int64?
        package var readingsStored: UInt64 = 0
        /// Refused by the database, since the start.
        package var readingsRejected: UInt64 = 0

        package init(name: String) { self.name = name }
    }

    package enum ConnectionState: String, Sendable, CaseIterable {
        case idle, connecting, connected
        /// Waits for the next attempt.
        case backingOff = "backing_off"
        /// OPC_MAX_RECONNECT_ATTEMPTS failures in a row; attempts go on at the longest delay.
        case down
        /// Switched off in the configuration.
        case disabled
        /// Another replica serves it.
        case elsewhere
    }

    package struct Connection: Sendable, Equatable {
        package var id: String
        package var tenant: String
        package var name = ""
        /// Without credentials.
        package var endpointURL = ""
        /// Mode and policy: `SignAndEncrypt, Basic256Sha256`.
        package var security = ""
        package var state = ConnectionState.idle
        package var stateSince: Int64?
        /// The last failure; kept while connected, as history. `since` is when it happened.
        package var lastError: Trouble?
        package var tagsTotal = 0
        package var tagsBad = 0
        /// Quiet far longer than ever before.
        package var tagsSilent = 0
        package var readingsReceived: UInt64 = 0
        package var lastReadingAt: Int64?
        package var reconnects: UInt64 = 0

        package init(id: String, tenant: String) {
            self.id = id
            self.tenant = tenant
        }
    }

    package struct BadTag: Sendable, Equatable {
        package var tenant: String
        /// The connection's name, or its id when it has none.
        package var connection: String
        package var nodeID: String
        /// What the server says: `BadNodeIdUnknown`.
        package var reason: String
        package var since: Int64?

        package init(tenant: String, connection: String, nodeID: String, reason: String) {
            self.tenant = tenant
            self.connection = connection
            self.nodeID = nodeID
            self.reason = reason
        }
    }

    /// A tag that is quiet far longer than ever before, while its server is connected.
    package struct SilentTag: Sendable, Equatable {
        package var tenant: String
        /// The connection's name, or its id when it has none.
        package var connection: String
        package var nodeID: String
        package var quietMicroseconds: Int64
        /// The longest that it was quiet before.
        package var longestBeforeMicroseconds: Int64

        package init(
            tenant: String,
            connection: String,
            nodeID: String,
            quietMicroseconds: Int64,
            longestBeforeMicroseconds: Int64
        ) {
            self.tenant = tenant
            self.connection = connection
            self.nodeID = nodeID
            self.quietMicroseconds = quietMicroseconds
            self.longestBeforeMicroseconds = longestBeforeMicroseconds
        }
    }

    package struct Gap: Sendable, Equatable {
        package var tenant: String
        package var connection: String
        /// nil = all tags of the connection.
        package var nodeID: String?
        package var startedAt: Int64
        /// nil = still open.
        package var endedAt: Int64?
        package var cause: String
        /// nil = unknown.
        package var readingsLost: Int64?
        /// When history filled it; nil = it has not.
        package var healedAt: Int64?

        package init(tenant: String, connection: String, startedAt: Int64, cause: String) {
            self.tenant = tenant
            self.connection = connection
            self.startedAt = startedAt
            self.cause = cause
        }
    }

    package struct Certificate: Sendable, Equatable {
        /// What it is for: `OPC UA client`, `gRPC server`, `trusted server`, …
        package var role: String
        package var subject: String
        package var expiresAt: Int64

        package init(role: String, subject: String, expiresAt: Int64) {
            self.role = role
            self.subject = subject
            self.expiresAt = expiresAt
        }
    }
}
