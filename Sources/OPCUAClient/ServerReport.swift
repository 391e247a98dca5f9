package import OPCUACodec

/// What `OPCUAProbe.connect` learnt about a server.
package struct ServerReport: Sendable, Equatable {
    /// All endpoints the server offers, over any transport.
    package var endpoints: [EndpointDescription] = []
    /// The one in use.
    package var endpoint: EndpointDescription?
    /// From TCP to the activated session, microseconds.
    package var connectMicroseconds: Int64 = 0

    package var applicationName = ""
    package var applicationURI = ""
    package var productURI = ""
    package var productName = ""
    package var manufacturer = ""
    package var softwareVersion = ""
    package var buildNumber = ""
    /// Part 5, 12.6 ServerState: 0 is running; nil where the server does not tell.
    package var state: ServerState?
    package var startTime: DateTime?
    /// The server's clock minus ours, microseconds, uncertain by half of `roundTripMicroseconds` and by how often the
    /// server updates its status (often once a second); nil where it does not tell.
    package var clockOffsetMicroseconds: Int64?
    package var roundTripMicroseconds: Int64 = 0
    /// 0 … 255, 200 and more is healthy (Part 4, 6.6.2.4.2).
    package var serviceLevel: UInt8?
    package var namespaces: [String] = []

    package var limits = ServerLimits()
    /// 0 from the server means no limit is stated.
    package var maxSessions: UInt32?
    package var maxSubscriptions: UInt32?
    package var maxMonitoredItems: UInt32?
    /// Requests as large as these, in bytes and chunks; 0 means no limit (Part 6, 7.1.2.4).
    package var maxMessageSize = 0
    package var maxChunkCount = 0
    /// Whether the server keeps history of values (Part 11, 5.2.3); nil where it does not tell.
    package var hasHistory: Bool?
    /// Milliseconds, as revised by the server.
    package var sessionTimeout: Double = 0

    package init() {}
}

/// A step of a probe and the time it took.
package struct StepDuration: Sendable, Equatable {
    package var step: ConnectStep
    package var microseconds: Int64

    package init(step: ConnectStep, microseconds: Int64) {
        self.step = step
        self.microseconds = microseconds
    }
}

/// A probe failed: in which step and why.
package struct ProbeError: Error, Sendable, Equatable, CustomStringConvertible {
    package var step: ConnectStep
    package var error: OPCUAClientError

    package init(step: ConnectStep, error: OPCUAClientError) {
        self.step = step
        self.error = error
    }

    package var description: String { "\(step.rawValue): \(error)" }
}

/// What to look for below a node.
package struct BrowseOptions: Sendable, Equatable {
    /// Where to begin; the Objects folder by default.
    package var start = NodeIdText.objects
    /// Levels below the start.
    package var maximumDepth = 1
    /// Nodes that match before the first one returned: the continuation of an earlier page.
    package var offset = 0
    /// Nodes returned at most.
    package var limit = 1000
    package var variablesOnly = false
    /// Part of the display name or node id, in any case; empty matches all.
    package var filter = ""
    package var readsValues = false

    package init() {}
}

/// One node found by `OPCUAProbe.browse`.
package struct ProbedNode: Sendable, Equatable {
    package var nodeID: NodeId
    /// The text form that survives a restart of the server: `nsu=…` where the namespace has a URI.
    package var stableNodeID: String
    package var parent: NodeId
    /// Display names from below the start down to this node.
    package var path: [String]
    package var browseName: QualifiedName
    package var displayName: String
    package var nodeClass: NodeClass
    package var description = ""
    package var hasChildren = false

    // Variables only.
    package var dataType: NodeId?
    /// Name of a built-in type; of a vendor's type its node id.
    package var dataTypeName = ""
    /// -1 scalar, 1 and more arrays (Part 3, 5.6.2).
    package var valueRank: Int32 = -1
    package var isReadable = false
    package var isHistoryReadable = false
    /// Display name of the EngineeringUnits property (Part 8, 5.6.3).
    package var unit = ""
    /// nil unless asked for.
    package var value: DataValue?

    package init(
        nodeID: NodeId,
        stableNodeID: String,
        parent: NodeId,
        path: [String],
        browseName: QualifiedName,
        displayName: String,
        nodeClass: NodeClass
    ) {
        self.nodeID = nodeID
        self.stableNodeID = stableNodeID
        self.parent = parent
        self.path = path
        self.browseName = browseName
        self.displayName = displayName
        self.nodeClass = nodeClass
    }
}

/// One page of nodes, level by level.
package struct ProbedPage: Sendable, Equatable {
    package var nodes: [ProbedNode] = []
    /// `offset` of the next page; nil at the end.
    package var nextOffset: Int?

    package init(nodes: [ProbedNode] = [], nextOffset: Int? = nil) {
        self.nodes = nodes
        self.nextOffset = nextOffset
    }
}

/// What `OPCUAProbe.walk` did.
package struct WalkSummary: Sendable, Equatable {
    /// Nodes that were looked at below the start.
    package var seen = 0
    /// Nodes that match, and were handed out.
    package var matched = 0
    package var end = End.complete

    package enum End: Sendable, Equatable {
        case complete
        /// `BrowseOptions.limit` nodes were handed out, and there are more.
        case limit
        /// More nodes than are remembered against circles: the rest was not looked at.
        case tooMany
        /// Whoever took the nodes wanted no more.
        case stopped
    }

    package init() {}
}

extension NodeIdText {
    /// The Objects folder.
    package static let objects = NodeIdText(WellKnownNodeId.objectsFolder)
}
