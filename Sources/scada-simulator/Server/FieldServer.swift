import OPCUACodec

/// One simulated OPC UA server: its field, sessions and subscriptions, and the services on them.
///
/// No sockets and no clock inside: the driver sets ``now`` and calls ``handle(_:requestID:from:)`` for requests and
/// ``tick()`` at a steady rhythm; answers go to the ``Peer`` of a request. Confined to one event loop.
final class FieldServer {
    let configuration: Configuration
    var limits: ServerLimits
    let initialLimits: ServerLimits
    /// Nanoseconds since the start of the run; set by the driver before each call.
    var now: Int64 = 0

    var field: Field
    var space: AddressSpace
    /// nil where none is kept.
    private(set) var history: History?
    /// When the server, not the run, started: in ticks.
    var startTime: Int64
    /// Per tag, the monitored items on it.
    var watchers: [Watchers]
    var sessions: [NodeId: Session] = [:]
    var subscriptions: [UInt32: Subscription] = [:]
    /// Subscriptions in the order of their ids, which is the order of publishing.
    var publishOrder: [Subscription] = []

    var accounting = Accounting()
    var tagAccounting: TagAccounting
    /// What the node ServiceLevel says.
    var serviceLevel: UInt8 = 255
    /// Requests for types that are yet to be answered by closing the connection.
    var typeRequestsToCut = 0

    var nextSessionNumber: UInt32 = 1
    var nextSubscriptionID: UInt32
    var nextItemID: UInt32 = 1
    private var nextChannelID: UInt32 = 1
    private var updates: [Field.Update] = []

    struct Configuration: Sendable {
        var layout: FieldLayout
        /// Values a second of all automatic tags together.
        var rate: Double
        /// `opc.tcp://host:port`, as clients reach it.
        var endpointURL: String
        var applicationURI: String
        /// OPC UA ticks of the wall clock at time 0 of the run.
        var epoch: Int64
        /// Minutes of history to keep; 0 for none.
        var historyMinutes = 0.0
        /// Milliseconds: how often ``FieldServer/tick()`` is called, and the shortest publishing interval.
        var tick = 50
        /// Where in the publishing interval the cycles begin, 0 to below 1 of it; nil: where the subscription was made.
        var publishingPhase: Double?
        var security = ServerSecurity()
        /// Clients to dial.
        var reverseTargets: [(host: String, port: Int)] = []
    }

    init(_ configuration: Configuration, limits: ServerLimits = ServerLimits()) {
        self.configuration = configuration
        var limits = limits
        limits.publishingInterval =
            min(Double(configuration.tick), limits.publishingInterval.upperBound)...limits.publishingInterval.upperBound
        self.limits = limits
        initialLimits = limits
        startTime = configuration.epoch
        let layout = configuration.layout
        field = Field(layout: layout, rate: configuration.rate, epoch: configuration.epoch)
        space = AddressSpace(layout: layout, applicationURI: configuration.applicationURI)
        if configuration.historyMinutes > 0 {
            // Rounded up, with room for hand-entered gauges.
            let samples = configuration.historyMinutes * 60 / min(field.interval, 180)
            history = History(tags: layout.tagCount, capacity: Int(samples) + 16)
            for (tag, sample) in field.newest.enumerated() { history?.append(sample, tag: tag) }
        }
        watchers = Array(repeating: Watchers(), count: layout.tagCount)
        tagAccounting = TagAccounting(tags: layout.tagCount)
        // Not the same ids after a restart: a client that mixes them up is found out.
        nextSubscriptionID = UInt32.random(in: 1...1_000_000)
        accounting.wells = layout.wellCount
        accounting.tags = layout.tagCount
    }

    /// The wall clock in ticks, derived from the run's own clock: it never jumps.
    var time: Int64 { configuration.epoch + now / 100 }

    func newChannelID() -> UInt32 {
        defer { nextChannelID = nextChannelID == .max ? 1 : nextChannelID + 1 }
        return nextChannelID
    }

    /// The accounting with the figures that are not counted but looked up.
    var summary: Accounting {
        var summary = accounting
        summary.sessions = sessions.count
        summary.subscriptions = subscriptions.count
        summary.monitoredItems = publishOrder.reduce(0) { $0 + $1.itemCount }
        summary.unacknowledged = summary.published - summary.acknowledged - summary.forgotten
        summary.generated = field.generated
        summary.skipped = field.skipped
        return summary
    }

    // MARK: Time

    /// Brings the field up to ``now``, publishes what is due, ends what timed out.
    func tick() {
        var more = true
        while more {
            // Batches that stay in the processor's cache between being computed and being queued.
            updates.removeAll(keepingCapacity: true)
            more = field.advance(to: now, limit: 4_096, into: &updates)
            deliver(updates)
        }
        for subscription in publishOrder where subscription.nextPublish <= now { publishCycle(subscription) }
        expireCalls()
        expireSessions()
    }

    private func deliver(_ updates: [Field.Update]) {
        if history != nil {
            for update in updates { history?.append(update.sample, tag: update.tag) }
        }
        // Looked up once, not for each value.
        let removed = space.removedTags
        let watchers = watchers
        for update in updates {
            if !removed.isEmpty, removed.contains(update.tag) { continue }
            watchers[update.tag].forEach { subscription, slot in
                count(subscription.offer(update.sample, slot: slot), tag: update.tag)
            }
        }
    }

    @inline(__always)
    func count(_ outcome: MonitoredItem.Outcome, tag: Int) {
        guard case .overflowed(let overwritten) = outcome else { return }
        if overwritten { accounting.overwritten += 1 } else { accounting.dropped += 1 }
        tagAccounting.lose(tag, overwritten: overwritten)
    }
}
