package import FoundationEssentials

/// A row of `scada_connections` with its tags. Endpoint, mode and policy are what the row says: judging them is not the
/// store's business. The description leaves the password out.
package struct ConnectionRecord: Sendable, Equatable, CustomStringConvertible, CustomReflectable {
    package var id: UUID
    package var name: String?
    package var endpointURL: String
    package var securityMode: String
    package var securityPolicy: String
    package var username: String?
    /// As stored: encrypted, or plain text in a database filled by hand.
    package var password: String?
    /// nil: the program's default.
    package var publishingIntervalMilliseconds: Int32?
    package var tags: [TagRecord]

    package init(
        id: UUID,
        name: String? = nil,
        endpointURL: String,
        securityMode: String = "None",
        securityPolicy: String = "None",
        username: String? = nil,
        password: String? = nil,
        publishingIntervalMilliseconds: Int32? = nil,
        tags: [TagRecord] = []
    ) {
        self.id = id
        self.name = name
        self.endpointURL = endpointURL
        self.securityMode = securityMode
        self.securityPolicy = securityPolicy
        self.username = username
        self.password = password
        self.publishingIntervalMilliseconds = publishingIntervalMilliseconds
        self.tags = tags
    }

    package var description: String { "connection \(id) (\(tags.count) tags)" }
    package var customMirror: Mirror { Mirror(self, children: ["id": id, "tags": tags.count]) }
}

/// A row of `tag_mappings`; nil means the program's default.
package struct TagRecord: Sendable, Equatable {
    package var id: UUID
    package var wellID: UUID
    /// The node id in text form, as stored (`ns=2;s=…`, `nsu=…`).
    package var nodeID: String
    package var dataType: String?
    package var name: String?
    package var unit: String?
    package var samplingIntervalMilliseconds: Double?
    package var queueSize: UInt32?
    package var deadbandAbsolute: Double?
    package var deadbandPercent: Double?

    package init(
        id: UUID,
        wellID: UUID,
        nodeID: String,
        dataType: String? = nil,
        name: String? = nil,
        unit: String? = nil,
        samplingIntervalMilliseconds: Double? = nil,
        queueSize: UInt32? = nil,
        deadbandAbsolute: Double? = nil,
        deadbandPercent: Double? = nil
    ) {
        self.id = id
        self.wellID = wellID
        self.nodeID = nodeID
        self.dataType = dataType
        self.name = name
        self.unit = unit
        self.samplingIntervalMilliseconds = samplingIntervalMilliseconds
        self.queueSize = queueSize
        self.deadbandAbsolute = deadbandAbsolute
        self.deadbandPercent = deadbandPercent
    }
}
