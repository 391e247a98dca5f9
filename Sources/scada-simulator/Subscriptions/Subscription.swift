import OPCUACodec

/// One subscription (Part 4, 5.13): its items, what of them is to be sent, and what was sent and not acknowledged.
///
/// Confined to its server's event loop. Lives on without a session until its life time is over or another session
/// takes it.
final class Subscription {
    let id: UInt32
    weak var session: Session?
    /// Who may take it over (Part 4, 5.13.7.1): only the same user.
    let user: String?

    /// Nanoseconds.
    var publishingInterval: Int64
    var maximumNotifications: Int
    var isEnabled: Bool
    var priority: UInt8
    var publishing: PublishingStateMachine
    /// Nanoseconds of the run.
    var nextPublish: Int64

    /// A free slot keeps its last item; `slots` says which are in use.
    private(set) var items: [MonitoredItem] = []
    private(set) var slots: [UInt32: Int] = [:]
    private var freeSlots: [Int] = []
    /// Slots with notifications, in the order in which they got them.
    private var ready: [Int32] = []
    private var readyHead = 0
    /// Items that are no tags and have to be looked at in every cycle.
    private(set) var polled: [Int] = []

    var retransmission = RetransmissionQueue()
    private(set) var nextSequenceNumber: UInt32 = 1

    init(
        id: UInt32,
        session: Session,
        publishingInterval: Int64,
        maximumNotifications: Int,
        isEnabled: Bool,
        priority: UInt8,
        publishing: PublishingStateMachine,
        now: Int64
    ) {
        self.id = id
        self.session = session
        user = session.user
        self.publishingInterval = publishingInterval
        self.maximumNotifications = maximumNotifications
        self.isEnabled = isEnabled
        self.priority = priority
        self.publishing = publishing
        nextPublish = now + publishingInterval
    }

    /// Has the cycles begin at `phase` of the interval, counted from the beginning of the run; the first of them after `now`.
    func keepPhase(_ phase: Double, now: Int64) {
        let offset = Int64(phase * Double(publishingInterval))
        let since = (now - offset) % publishingInterval
        nextPublish = now - since + (since < 0 ? 0 : publishingInterval)
    }

    var itemCount: Int { slots.count }
    var hasNotifications: Bool { readyHead < ready.count }

    // MARK: Items

    /// Returns the slot.
    func add(_ item: MonitoredItem) -> Int {
        let slot: Int
        if let free = freeSlots.popLast() {
            slot = free
            items[slot] = item
        } else {
            slot = items.count
            items.append(item)
        }
        slots[item.id] = slot
        if case .attribute = item.target { polled.append(slot) }
        return slot
    }

    func remove(_ itemID: UInt32) -> (item: MonitoredItem, slot: Int)? {
        guard let slot = slots.removeValue(forKey: itemID) else { return nil }
        let item = items[slot]
        polled.removeAll { $0 == slot }
        if item.isReady {
            // Its slot may be taken again before the next message: no stale entry may stay.
            ready = ready[readyHead...].filter { $0 != Int32(slot) }
            readyHead = 0
        }
        freeSlots.append(slot)
        return (item, slot)
    }

    func modify(slot: Int, _ change: (inout MonitoredItem) -> Void) {
        change(&items[slot])
        if items[slot].isReporting, items[slot].hasNotifications { markReady(slot) }
    }

    /// A tag of the item at `slot` has a new sample.
    @inline(__always)
    func offer(_ sample: Sample, slot: Int) -> MonitoredItem.Outcome {
        var becameReady = false
        let outcome = items[slot].offer(sample, &becameReady)
        if becameReady { ready.append(Int32(truncatingIfNeeded: slot)) }
        return outcome
    }

    func offer(encoded value: [UInt8], slot: Int) {
        guard items[slot].offer(encoded: value), items[slot].isReporting else { return }
        markReady(slot)
    }

    @inline(__always)
    private func markReady(_ slot: Int) {
        if items[slot].isReady { return }
        items[slot].isReady = true
        ready.append(Int32(truncatingIfNeeded: slot))
    }

    // MARK: Messages

    /// The sequence number of a keep-alive: that of the next message, which is not used up (Part 4, 5.13.1.1).
    var keepAliveSequenceNumber: UInt32 { nextSequenceNumber }

    static func sequenceNumber(after number: UInt32) -> UInt32 { number == .max ? 1 : number + 1 }

    /// Takes up to `limit` notifications and encodes them as one NotificationMessage (Part 4, 7.26).
    ///
    /// - Parameter time: the publish time and the values' server timestamp, in ticks.
    func takeMessage(limit: Int, time: Int64) -> RetransmissionQueue.Message {
        let number = nextSequenceNumber
        nextSequenceNumber = Self.sequenceNumber(after: number)
        var writer = NotificationMessageWriter(sequenceNumber: number, publishTime: time)
        var marks: [RetransmissionQueue.Mark] = []
        marks.reserveCapacity(min(limit, ready.count - readyHead))
        var values = 0
        while readyHead < ready.count, writer.count < limit {
            let slot = Int(ready[readyHead])
            if case .tag(let tag) = items[slot].target {
                let last = items[slot].drain(limit: limit - writer.count, time: time, into: &writer)
                values += last.values
                marks.append(RetransmissionQueue.Mark(tag: Int32(truncatingIfNeeded: tag), count: last.count))
                if !items[slot].queue.isEmpty { break }
            } else if let value = items[slot].encodedValue {
                items[slot].encodedValue = nil
                writer.append(clientHandle: items[slot].template.clientHandle, encoded: value)
            }
            items[slot].isReady = false
            readyHead += 1
        }
        if readyHead == ready.count {
            ready.removeAll(keepingCapacity: true)
            readyHead = 0
        }
        return RetransmissionQueue.Message(
            sequenceNumber: number,
            bytes: writer.finish(),
            values: values,
            marks: marks
        )
    }

    /// A message that takes a sequence number but carries no values, such as a StatusChangeNotification.
    func takeSequenceNumber() -> UInt32 {
        let number = nextSequenceNumber
        nextSequenceNumber = Self.sequenceNumber(after: number)
        return number
    }

    /// Values that were queued or sent and never acknowledged: gone when the subscription goes.
    var unacknowledgedValues: (queued: Int, sent: Int) {
        (slots.values.reduce(0) { $0 + items[$1].queue.count }, retransmission.values)
    }
}

extension MonitoredItem {
    /// Moves up to `limit` queued samples into a message; says how many and which update was the last.
    fileprivate mutating func drain(
        limit: Int,
        time: Int64,
        into writer: inout NotificationMessageWriter
    ) -> (values: Int, count: UInt32) {
        var values = 0
        var last: UInt32 = 0
        while values < limit, let sample = queue.popFirst() {
            writer.append(sample, template, serverTime: time)
            values += 1
            last = sample.count
        }
        return (values, last)
    }
}
