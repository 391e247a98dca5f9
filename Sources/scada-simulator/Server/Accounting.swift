import OPCUACodec

/// What became of the values, counted exactly (one server, or the sum of several).
///
/// `published` = `acknowledged` + `unacknowledged` + `forgotten` at any moment.
struct Accounting: Codable, Equatable, Sendable {
    /// Values put into a sent notification, initial values included; a Republish does not count again.
    var published: UInt64 = 0
    /// Values in notifications that the client acknowledged.
    var acknowledged: UInt64 = 0
    /// Values lost in full queues: the value after them carries the Overflow bit.
    var dropped: UInt64 = 0
    /// Values replaced by newer ones in queues of one, which is what such a queue is for.
    var overwritten: UInt64 = 0
    /// Values queued when their item or subscription was deleted or timed out.
    var abandoned: UInt64 = 0
    /// Values in sent notifications that went unacknowledged with their subscription, or from a full retransmission queue.
    var forgotten: UInt64 = 0
    /// Values in sent notifications that wait for an acknowledgement now.
    var unacknowledged: UInt64 = 0
    var republished: UInt64 = 0
    var notifications: UInt64 = 0
    var keepAlives: UInt64 = 0
    /// Updates that the tags had, watched or not, and those left out because the process was stopped or too slow.
    var generated: UInt64 = 0
    var skipped: UInt64 = 0
    var sessions = 0
    var subscriptions = 0
    var monitoredItems = 0
    var connections = 0
    var wells = 0
    var tags = 0

    enum CodingKeys: String, CodingKey {
        case published, acknowledged, dropped, overwritten, abandoned, forgotten, unacknowledged, republished
        case notifications
        case keepAlives = "keep_alives"
        case generated, skipped, sessions, subscriptions
        case monitoredItems = "monitored_items"
        case connections, wells, tags
    }

    static func += (total: inout Accounting, part: Accounting) {
        total.published += part.published
        total.acknowledged += part.acknowledged
        total.dropped += part.dropped
        total.overwritten += part.overwritten
        total.abandoned += part.abandoned
        total.forgotten += part.forgotten
        total.unacknowledged += part.unacknowledged
        total.republished += part.republished
        total.notifications += part.notifications
        total.keepAlives += part.keepAlives
        total.generated += part.generated
        total.skipped += part.skipped
        total.sessions += part.sessions
        total.subscriptions += part.subscriptions
        total.monitoredItems += part.monitoredItems
        total.connections += part.connections
        total.wells += part.wells
        total.tags += part.tags
    }
}

/// Per tag, the number of the last update published and acknowledged, in counter mode the values themselves, and how many
/// were lost in full queues (``Accounting/dropped`` and ``Accounting/overwritten``, tag by tag).
struct TagAccounting: Equatable, Sendable {
    private(set) var published: [UInt32]
    private(set) var acknowledged: [UInt32]
    private(set) var dropped: [UInt32]
    private(set) var overwritten: [UInt32]

    init(tags: Int) {
        published = Array(repeating: 0, count: tags)
        acknowledged = published
        dropped = published
        overwritten = published
    }

    mutating func lose(_ tag: Int, overwritten isOverwritten: Bool) {
        if isOverwritten { overwritten[tag] &+= 1 } else { dropped[tag] &+= 1 }
    }

    mutating func publish(_ marks: [RetransmissionQueue.Mark]) {
        for mark in marks { published[Int(mark.tag)] = max(published[Int(mark.tag)], mark.count) }
    }

    mutating func acknowledge(_ marks: [RetransmissionQueue.Mark]) {
        for mark in marks { acknowledged[Int(mark.tag)] = max(acknowledged[Int(mark.tag)], mark.count) }
    }
}
