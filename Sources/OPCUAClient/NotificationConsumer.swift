package import OPCUACodec

/// Takes what a connection receives. Every call is made on the connection's event loop, one after another.
package protocol NotificationConsumer: AnyObject, Sendable {
    /// One DataChangeNotification (Part 4, 7.25.2), encoded, in place: NoOfMonitoredItems, the items, diagnostics.
    /// The bytes are gone when this returns. A throw closes the connection: the server sent garbage. What was taken from
    /// the same NotificationMessage before is then to be thrown away: see `notificationAborted`.
    func dataChange(_ body: UnsafeRawBufferPointer, _ context: NotificationContext) throws(DecodingError)

    /// After all parts of a NotificationMessage: what ``notificationComplete(_:)`` does, where that need not wait.
    /// - Returns: false where it would have to: then that is called, before anything else that concerns notifications.
    /// - Throws: as that does.
    func completeAtOnce(_ context: NotificationContext) throws -> Bool

    /// After all parts of a NotificationMessage: append what they made to the journal. While it is suspended no further
    /// notification is processed, and once the PublishRequests in flight are answered the server queues: back pressure.
    /// A throw means the message was not taken: the connection is dropped and the message fetched again.
    nonisolated(nonsending) func notificationComplete(_ context: NotificationContext) async throws

    /// Acknowledge what is durable (``OPCUAConnection/acknowledge(_:)``), and what is not as soon as it is: publishing is paused
    /// until then, or about to end, or the server has nothing new. Otherwise it is enough, and costs least, to do so when the
    /// next notification is completed, because acknowledgements ride on the PublishRequest that follows it.
    func acknowledgeDurable()

    /// The parts of this message given to `dataChange` so far are void.
    func notificationAborted(_ context: NotificationContext)

    func statusChanged(_ status: ConnectionStatus)

    /// Good when the item is created (again), else why it has no values for now. It is retried.
    func itemStatus(handle: UInt32, _ status: StatusCode)

    /// The server refuses the configured deadband for this item; it reports every change and the consumer must filter.
    /// - Parameter range: the width of the tag's EURange (Part 8, 5.6.2), for a deadband in percent; nil for an absolute
    ///   one. A percentage of a range that the server does not tell cannot be filtered: there is no call for it.
    func deadbandRefused(handle: UInt32, range: Double?)

    /// Encoding ids of structures in the parts taken since the last call whose types are not known. The message is then
    /// aborted, the server asked, and the message given again; what is unknown still stays as it is.
    func takeUnknownStructures() -> [NodeId]

    /// All that is known of the server's structures in this session; empty at its beginning.
    func structuresDescribed(_ types: StructureTypes)

    /// All subscriptions in use now, with their items; called after creation, transfer and changes of items. Remember
    /// them durably to survive a restart of the process without a hole.
    func subscriptionsCreated(_ subscriptions: [RestoredSubscription])

    /// What happened to the stream of notifications at a break.
    nonisolated(nonsending) func continuity(_ event: ContinuityEvent) async
}

/// Which notification the bytes belong to.
package struct NotificationContext: Sendable, Equatable {
    package var subscriptionID: UInt32
    package var sequenceNumber: UInt32
    package var publishTime: DateTime
    /// When its bytes were taken from the socket, microseconds since 1970.
    package var receivedAtUnixMicroseconds: Int64
    /// Fetched again by Republish.
    package var isRepublished: Bool
    /// Tells the subscription from another one that bears the same id: restarted servers begin to count at 1 again.
    package var incarnation: UInt32

    package init(
        subscriptionID: UInt32,
        sequenceNumber: UInt32,
        publishTime: DateTime,
        receivedAtUnixMicroseconds: Int64,
        isRepublished: Bool,
        incarnation: UInt32
    ) {
        self.subscriptionID = subscriptionID
        self.sequenceNumber = sequenceNumber
        self.publishTime = publishTime
        self.receivedAtUnixMicroseconds = receivedAtUnixMicroseconds
        self.isRepublished = isRepublished
        self.incarnation = incarnation
    }
}

/// How continuous the stream of notifications is after a break.
package enum ContinuityEvent: Sendable, Equatable {
    /// Old session, old subscriptions: nothing is missing unless `notificationsLost` follows.
    case reactivated
    /// New session, old subscriptions: nothing is missing unless `notificationsLost` follows.
    case transferred
    /// New subscriptions: what changed between the last notification and the new items' first value is missing.
    /// `handles` nil means all items.
    case recreated(reason: String, handles: [UInt32]?)
    /// The server does not have these notifications any more.
    case notificationsLost(subscriptionID: UInt32, sequenceNumbers: ClosedRange<UInt32>, handles: [UInt32])
}
