package import FoundationEssentials
package import OPCUACodec

/// Everything that is configured for one server connection. Durations are in milliseconds.
package struct ConnectionConfiguration: Sendable, Equatable {
    /// Who logs in (Part 4, 7.40).
    package enum Identity: Sendable, Equatable {
        case anonymous
        case userName(String, password: Secret)
        /// Paths of the user's certificate (DER or PEM) and its private key (PEM).
        case x509(certificatePath: String, privateKeyPath: String)
    }

    package var id: UUID
    /// The endpoint URLs: one, or several servers of a redundant set in order of preference.
    package var endpointURLs: [String]
    package var securityMode: MessageSecurityMode
    /// Full URI of the security policy, for example `http://opcfoundation.org/UA/SecurityPolicy#None`.
    package var securityPolicyURI: String
    package var identity: Identity

    package var publishingInterval: Double = 500
    package var sessionTimeout: Double = 60_000
    /// TCP, Hello, secure channel and session together; also the patience for one service call.
    package var connectionTimeout: Int64 = 10_000
    package var reconnectDelay: Int64 = 5_000
    package var maximumReconnectDelay: Int64 = 60_000
    /// Failures in a row before the connection is reported down. Attempts go on.
    package var maximumAttempts: Int = 5
    /// Silence after which the server sends a keep-alive.
    package var keepAlive: Double = 10_000
    /// Lifetime asked for secure channel tokens; renewed at 75 % of what the server grants.
    package var channelLifetime: UInt32 = 3_600_000
    /// Monitored items of one subscription at most.
    package var maximumItemsPerSubscription: Int = 5_000
    /// Notifications the consumer has taken and not made durable yet before publishing pauses.
    package var maximumUnacknowledged: Int = 256

    package var items: [MonitoredItemSpecification]
    /// Subscriptions of the process's previous run that the server may still hold.
    package var restored: [RestoredSubscription] = []

    package var allowPlaintextPassword = false
    package var allowDeprecatedPolicies = false
    package var applicationName = "scada-ingestion"
    /// Must equal the URI in the own certificate's subject alternative name.
    package var applicationURI = "urn:scada-ingestion"
    package var productURI = "urn:scada-ingestion"

    package init(
        id: UUID,
        endpointURLs: [String],
        securityMode: MessageSecurityMode = .none,
        securityPolicyURI: String = "http://opcfoundation.org/UA/SecurityPolicy#None",
        identity: Identity = .anonymous,
        items: [MonitoredItemSpecification] = []
    ) {
        self.id = id
        self.endpointURLs = endpointURLs
        self.securityMode = securityMode
        self.securityPolicyURI = securityPolicyURI
        self.identity = identity
        self.items = items
    }
}

/// One tag to watch.
package struct MonitoredItemSpecification: Sendable, Equatable {
    package enum Deadband: Sendable, Equatable, Hashable {
        case none
        /// In the value's own unit.
        case absolute(Double)
        /// In percent of the tag's EURange (Part 8, 6.3).
        case percent(Double)
    }

    /// Chosen by the consumer, unique within the connection and stable over reconnects: the client handle of every
    /// notification.
    package var handle: UInt32
    package var nodeID: NodeIdText
    /// Milliseconds; nil means the publishing interval.
    package var samplingInterval: Double?
    /// nil means enough for two publishing intervals, at least 10.
    package var queueSize: UInt32?
    package var deadband: Deadband

    package init(
        handle: UInt32,
        nodeID: NodeIdText,
        samplingInterval: Double? = nil,
        queueSize: UInt32? = nil,
        deadband: Deadband = .none
    ) {
        self.handle = handle
        self.nodeID = nodeID
        self.samplingInterval = samplingInterval
        self.queueSize = queueSize
        self.deadband = deadband
    }

    /// The queue size to ask for: what two publishing intervals can hold, at least 10 (a late
    /// response must not lose values), at most 10,000.
    func requestedQueueSize(publishingInterval: Double) -> UInt32 {
        if let queueSize { return max(1, queueSize) }
        let sampling = samplingInterval ?? publishingInterval
        guard sampling > 0, sampling.isFinite, publishingInterval.isFinite else { return 100 }
        return UInt32(max(10, min(10_000, (2 * publishingInterval / sampling).rounded(.up))))
    }
}

/// A subscription a consumer remembers over restarts of the process, so that its notifications can be fetched again.
package struct RestoredSubscription: Sendable, Equatable {
    package var subscriptionID: UInt32
    /// Milliseconds, as revised by the server.
    package var publishingInterval: Double
    /// Keep-alive and lifetime counts as revised by the server.
    package var maximumKeepAliveCount: UInt32
    package var lifetimeCount: UInt32
    /// Handles of the items in it.
    package var handles: [UInt32]
    /// The last sequence number whose notification is durable; 0 when there was none.
    package var lastDurableSequenceNumber: UInt32

    package init(
        subscriptionID: UInt32,
        publishingInterval: Double,
        maximumKeepAliveCount: UInt32,
        lifetimeCount: UInt32,
        handles: [UInt32],
        lastDurableSequenceNumber: UInt32
    ) {
        self.subscriptionID = subscriptionID
        self.publishingInterval = publishingInterval
        self.maximumKeepAliveCount = maximumKeepAliveCount
        self.lifetimeCount = lifetimeCount
        self.handles = handles
        self.lastDurableSequenceNumber = lastDurableSequenceNumber
    }
}
