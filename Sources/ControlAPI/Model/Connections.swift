package import FoundationEssentials

/// MessageSecurityMode (Part 4, 7.20), as stored in `scada_connections.security_mode`.
package enum SecurityMode: String, Sendable, CaseIterable {
    case none = "None"
    case sign = "Sign"
    case signAndEncrypt = "SignAndEncrypt"
}

/// The security policies this daemon speaks (Part 7, 6.6), as stored in `scada_connections.security_policy`.
package enum SecurityPolicyName: String, Sendable, CaseIterable {
    case none = "None"
    case basic256Sha256 = "Basic256Sha256"
    case aes128Sha256RsaOaep = "Aes128_Sha256_RsaOaep"
    case aes256Sha256RsaPss = "Aes256_Sha256_RsaPss"
}

/// How to reach an OPC UA server.
package struct EndpointSettings: Sendable, Equatable {
    /// opc.tcp://…, checked, without credentials: safe to log.
    package var endpointURL: String
    package var securityMode: SecurityMode
    package var securityPolicy: SecurityPolicyName
    /// Empty = anonymous.
    package var username: String
    package var password: Secret
}

/// A checked AddConnection request.
package struct ConnectionDefinition: Sendable, Equatable {
    package var connectionID: UUID
    package var tenantID: UUID
    package var endpoint: EndpointSettings
    /// The complete list; tag ids differ.
    package var tags: [TagDefinition]
    package var name: String
    /// nil = the daemon's default.
    package var publishingIntervalMillis: Int?
}

/// A checked TagMapping. nil = the daemon's default.
package struct TagDefinition: Sendable, Equatable {
    package var tagID: UUID
    package var wellID: UUID
    package var nodeID: String
    package var dataType: String
    /// -1 = the publishing interval.
    package var samplingIntervalMillis: Double?
    package var queueSize: UInt32?
    /// nil = every change. Never both deadbands.
    package var deadbandAbsolute: Double?
    package var deadbandPercent: Double?
    package var name: String
    package var unit: String
}

/// The answer to AddConnection and RemoveConnection.
package struct CommandResult: Sendable, Equatable {
    package var success: Bool
    /// In words; empty on success.
    package var error: String
    /// The tenant it was for, where the request does not tell: for the audit.
    package var tenantID: UUID?

    package init(success: Bool, error: String = "", tenantID: UUID? = nil) {
        self.success = success
        self.error = error
        self.tenantID = tenantID
    }

    package static let done = CommandResult(success: true)
}

/// A checked ListConnections request.
package struct ConnectionsQuery: Sendable, Equatable {
    package var tenantID: UUID
    package var connectionID: UUID?
    /// 1 to 1,000.
    package var limit: Int
    package var pageToken: String?
}

package struct ConnectionsPage: Sendable, Equatable {
    package var connections: [ConnectionStatus]
    package var nextPageToken: String?

    package init(connections: [ConnectionStatus], nextPageToken: String? = nil) {
        self.connections = connections
        self.nextPageToken = nextPageToken
    }
}

/// The present state of one connection; the fields are described in scada.proto. Times are microseconds since 1970,
/// nil = never.
package struct ConnectionStatus: Sendable, Equatable {
    package var connectionID: UUID
    package var tenantID: UUID
    package var name = ""
    package var endpointURL = ""
    package var securityMode = ""
    package var securityPolicy = ""
    package var state = ""
    package var stateSinceMicros: Int64?
    package var lastError = ""
    package var lastErrorAtMicros: Int64?
    package var tagsTotal = 0
    package var tagsBad = 0
    package var readingsReceived: Int64 = 0
    package var lastReadingAtMicros: Int64?
    package var reconnects: Int64 = 0
    package var publishingIntervalMillis: Double = 0
    package var isEnabled = true
    package var owner = ""

    package init(connectionID: UUID, tenantID: UUID) {
        self.connectionID = connectionID
        self.tenantID = tenantID
    }
}

/// Health of the daemon or of a tenant.
package enum HealthWord: String, Sendable, CaseIterable {
    case healthy
    case degraded
    case unhealthy
}

package struct DaemonHealth: Sendable, Equatable {
    package var status: HealthWord
    package var activeConnections: Int
    package var activeTenants: Int
    package var version: String
    package var tenants: [TenantHealth]

    package init(
        status: HealthWord,
        activeConnections: Int,
        activeTenants: Int,
        version: String,
        tenants: [TenantHealth]
    ) {
        self.status = status
        self.activeConnections = activeConnections
        self.activeTenants = activeTenants
        self.version = version
        self.tenants = tenants
    }
}

package struct TenantHealth: Sendable, Equatable {
    package var tenantID: UUID
    package var name: String
    package var status: HealthWord
    package var reason = ""
    package var connectionsTotal = 0
    package var connectionsActive = 0
    package var isDatabaseReachable = false
    package var backlogReadings: Int64 = 0
    package var oldestUnstoredAge: Duration = .zero

    package init(tenantID: UUID, name: String, status: HealthWord) {
        self.tenantID = tenantID
        self.name = name
        self.status = status
    }
}
