import OPCUACodec

/// What the server takes and refuses. Changeable while it runs, to see how clients cope.
struct ServerLimits: Equatable, Sendable {
    var sessions = 1_000
    var subscriptionsPerSession = 1_000
    var itemsPerSubscription = 200_000
    /// Operations in one call of CreateMonitoredItems, ModifyMonitoredItems or DeleteMonitoredItems.
    var itemsPerCall = 10_000
    /// Nodes in one call of Read, Browse, TranslateBrowsePaths or HistoryRead.
    var nodesPerCall = 10_000
    /// Publish requests waiting in one session.
    var publishRequests = 100
    /// Largest queue of a monitored item.
    var queueSize: UInt32 = 10_000
    /// Bytes of one chunk the server takes and sends; at least 8192 (Part 6, 7.1.2.3).
    var chunkSize = 65_535
    /// Bytes of one request's body over all chunks.
    var messageSize = 16 * 1_024 * 1_024
    /// Notifications in one message where the client names no number.
    var notificationsPerMessage = 20_000
    var historyValuesPerCall = 10_000
    /// Answer every deadband with BadFilterNotAllowed, as some controllers do.
    var refusesDeadband = false
    /// Whether the nodes under ServerCapabilities tell the limits.
    var areAnnounced = true
    /// Milliseconds.
    var publishingInterval: ClosedRange<Double> = 50...3_600_000
    var sessionTimeout: ClosedRange<Double> = 1_000...3_600_000
    var channelLifetime: ClosedRange<UInt32> = 1_000...3_600_000
}

/// A service call or one of its operations that the server refuses.
struct ServiceFailure: Error, Equatable, Sendable {
    var status: StatusCode
    init(_ status: StatusCode) { self.status = status }
}
