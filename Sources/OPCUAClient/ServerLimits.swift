/// What a server can take (Part 5, 6.3.11 OperationLimits and ServerCapabilities), remembered over reconnects. nil or 0
/// from the server means no limit is stated.
package struct ServerLimits: Sendable, Equatable {
    package var maxNodesPerRead: UInt32?
    package var maxNodesPerBrowse: UInt32?
    package var maxMonitoredItemsPerCall: UInt32?
    package var maxNodesPerHistoryReadData: UInt32?
    package var maxMonitoredItemsPerSubscription: UInt32?
    package var maxSubscriptionsPerSession: UInt32?
    package var maxMonitoredItemsQueueSize: UInt32?
    package var maxBrowseContinuationPoints: UInt16?
    package var minSupportedSampleRate: Double?

    /// Learnt from refusals; smaller than or equal to what the server states.
    package var learntItemsPerCall: Int?
    package var learntItemsPerSubscription: Int?
    package var learntPublishRequests: Int?

    /// Negotiated by Hello and Acknowledge (Part 6, 7.1.2).
    package var sendChunkSize: Int?
    package var receiveChunkSize: Int?

    package init() {}

    /// Monitored items for one CreateMonitoredItems call.
    package var itemsPerCall: Int {
        min(learntItemsPerCall ?? 1000, Self.bounded(maxMonitoredItemsPerCall, 1000))
    }

    package var nodesPerRead: Int { Self.bounded(maxNodesPerRead, 1000) }
    package var nodesPerBrowse: Int { Self.bounded(maxNodesPerBrowse, 100) }
    package var nodesPerHistoryRead: Int { Self.bounded(maxNodesPerHistoryReadData, 100) }

    /// Items of one subscription, given the configured maximum.
    func itemsPerSubscription(configured: Int) -> Int {
        let stated = Self.bounded(maxMonitoredItemsPerSubscription, configured)
        return max(1, min(configured, stated, learntItemsPerSubscription ?? configured))
    }

    /// The server's own limit of items in one subscription; nil where it states none.
    var statedItemsPerSubscription: Int? {
        maxMonitoredItemsPerSubscription.flatMap { $0 > 0 ? Int($0) : nil }
    }

    private static func bounded(_ limit: UInt32?, _ maximum: Int) -> Int {
        guard let limit, limit > 0 else { return maximum }
        return min(maximum, Int(limit))
    }
}
