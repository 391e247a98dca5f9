package import FoundationEssentials

/// Which OPC UA server TestConnection and BrowseNodes talk to.
package enum ConnectionTarget: Sendable, Equatable {
    /// A stored connection of the tenant, with its stored credentials.
    case stored(UUID)
    case endpoint(EndpointSettings)
}

/// A checked TestConnection request.
package struct ConnectionProbe: Sendable, Equatable {
    package var tenantID: UUID
    package var target: ConnectionTarget
    package var timeout: Duration
}

/// The fields are described in scada.proto, TestConnectionResponse.
package struct ConnectionTestReport: Sendable, Equatable {
    package var success: Bool
    package var error = ""
    package var failedStep = ""
    package var connectTime: Duration = .zero
    package var endpoints: [EndpointDetails] = []
    package var applicationName = ""
    package var applicationURI = ""
    package var productName = ""
    package var manufacturer = ""
    package var softwareVersion = ""
    package var limits = ServerLimits()
    package var clockOffsetMillis: Double = 0

    package init(success: Bool) {
        self.success = success
    }
}

/// One EndpointDescription (Part 4, 7.14).
package struct EndpointDetails: Sendable, Equatable {
    package var endpointURL: String
    package var securityMode: String
    package var securityPolicy: String
    package var userTokenTypes: [String] = []
    /// SHA-1 and SHA-256, lower case hexadecimal.
    package var certificateThumbprint = ""
    package var certificateSHA256 = ""
    package var certificateSubject = ""
    /// Microseconds since 1970.
    package var certificateNotBeforeMicros: Int64?
    package var certificateNotAfterMicros: Int64?
    package var isCertificateTrusted = false
    package var securityLevel: UInt8 = 0

    package init(endpointURL: String, securityMode: String, securityPolicy: String) {
        self.endpointURL = endpointURL
        self.securityMode = securityMode
        self.securityPolicy = securityPolicy
    }
}

/// Limits a server told; 0 = none or not told.
package struct ServerLimits: Sendable, Equatable {
    package var maxMonitoredItemsPerCall: UInt32 = 0
    package var maxNodesPerRead: UInt32 = 0
    package var maxNodesPerBrowse: UInt32 = 0
    package var maxMessageSize: UInt32 = 0
    package var maxChunkCount: UInt32 = 0
    package var minSamplingIntervalMillis: Double = 0
    package var maxSessions: UInt32 = 0
    package var maxSubscriptions: UInt32 = 0
    package var maxMonitoredItems: UInt32 = 0
    package var historyRead = false

    package init() {}
}

/// A checked BrowseNodes request.
package struct BrowseQuery: Sendable, Equatable {
    package var tenantID: UUID
    package var target: ConnectionTarget
    /// Syntactically right; "i=85" when the request named none.
    package var nodeID: String
    /// 1 to 32.
    package var maxDepth: Int
    /// 1 to 10,000.
    package var limit: Int
    package var pageToken: String?
    package var variablesOnly: Bool
    package var filter: String
    package var readValues: Bool
    package var timeout: Duration
}

package struct BrowsePage: Sendable, Equatable {
    package var nodes: [BrowsedNode]
    package var nextPageToken: String?

    package init(nodes: [BrowsedNode], nextPageToken: String? = nil) {
        self.nodes = nodes
        self.nextPageToken = nextPageToken
    }
}

/// The fields are described in scada.proto, BrowsedNode.
package struct BrowsedNode: Sendable, Equatable {
    package var nodeID: String
    package var parentNodeID = ""
    package var browsePath = ""
    package var displayName = ""
    package var nodeClass: String
    package var description = ""
    package var hasChildren = false
    package var isReadable = false
    package var isHistoryReadable = false
    package var value = ""
    package var quality = ""
    /// Variables only: become the node's ready TagMapping.
    package var dataType: String?
    package var unit = ""

    package init(nodeID: String, nodeClass: String) {
        self.nodeID = nodeID
        self.nodeClass = nodeClass
    }
}

/// A checked ListGaps request.
package struct GapsQuery: Sendable, Equatable {
    package var tenantID: UUID
    package var connectionID: UUID?
    package var range: TimeRange
    package var unhealedOnly: Bool
    /// 1 to 1,000.
    package var limit: Int
    package var pageToken: String?
}

package struct GapsPage: Sendable, Equatable {
    package var gaps: [Gap]
    package var nextPageToken: String?

    package init(gaps: [Gap], nextPageToken: String? = nil) {
        self.gaps = gaps
        self.nextPageToken = nextPageToken
    }
}

/// One row of `scada_gaps`. Times are microseconds since 1970.
package struct Gap: Sendable, Equatable {
    package var gapID: String
    package var connectionID: UUID
    /// nil = all tags of the connection.
    package var tagNodeID: String?
    package var startedAtMicros: Int64
    /// nil = still open.
    package var endedAtMicros: Int64?
    package var cause: String
    /// nil = unknown.
    package var readingsLost: Int64?
    package var healedAtMicros: Int64?
    package var readingsRecovered: Int64

    package init(
        gapID: String,
        connectionID: UUID,
        tagNodeID: String?,
        startedAtMicros: Int64,
        endedAtMicros: Int64?,
        cause: String,
        readingsLost: Int64?,
        healedAtMicros: Int64?,
        readingsRecovered: Int64
    ) {
        self.gapID = gapID
        self.connectionID = connectionID
        self.tagNodeID = tagNodeID
        self.startedAtMicros = startedAtMicros
        self.endedAtMicros = endedAtMicros
        self.cause = cause
        self.readingsLost = readingsLost
        self.healedAtMicros = healedAtMicros
        self.readingsRecovered = readingsRecovered
    }
}
