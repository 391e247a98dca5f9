package import NIOCore
package import OPCUACodec

/// Which items to create next, in calls as large as the server bears, and what became of each.
///
/// Items are addressed by their index, which is valid until `update`. `update` must not be called while a batch is in
/// flight.
package struct MonitoredItemBatcher: Sendable {
    package enum ItemState: Sendable, Equatable {
        case pending
        case inFlight
        /// `id` 0: taken over from an earlier run of the process; the server's id is not known.
        case active(slot: UInt16, id: UInt32)
        case bad(StatusCode, retryAt: NIODeadline)
    }

    package struct Item: Sendable {
        package var specification: MonitoredItemSpecification
        package var state = ItemState.pending
        /// The server refused the deadband: ask without.
        package var isDeadbandRefused = false
        /// Seconds until the next retry once it is bad.
        var retrySeconds: UInt16 = 0
    }

    package struct Batch: Sendable, Equatable {
        package var slot: Int
        package var items: [Int]
    }

    package enum Next: Sendable, Equatable {
        case batch(Batch)
        /// All subscriptions are full: make another one, then call `addSlot`.
        case needsSubscription
        case nothing
    }

    package struct Result: Sendable, Equatable {
        package var status: StatusCode
        package var id: UInt32

        package init(status: StatusCode, id: UInt32) {
            self.status = status
            self.id = id
        }
    }

    package enum Event: Sendable, Equatable {
        case active(Int)
        case bad(Int, StatusCode)
        case deadbandRefused(Int)
    }

    package enum Refusal: Sendable, Equatable {
        /// The items are in the queue again, for smaller calls or another subscription.
        case retry
        /// The single item of the batch is bad.
        case bad(Int, StatusCode)
        case subscriptionLost
    }

    /// What `update` found to do at the server.
    package struct Changes: Sendable, Equatable {
        /// Server's item ids to delete, by slot.
        package var deletions: [Int: [UInt32]] = [:]
        /// Items whose parameters changed.
        package var modifications: [Int] = []
    }

    struct Slot: Sendable {
        /// Items in it, those in flight included.
        var count = 0
        /// Items the server has confirmed.
        var active = 0
        var isFull = false
    }

    package private(set) var items: [Item]
    private(set) var slots: [Slot] = []
    /// Indexes of pending items; `head` is the next.
    private var queue: [Int]
    private var head = 0
    private var itemsPerSubscription: Int
    /// What the server stated or showed, without our own wish for moderate subscriptions.
    private var serverItemsPerSubscription = Int.max
    private var itemsPerCall: Int
    /// Limits that were learnt from refusals: to be remembered.
    package private(set) var learntItemsPerCall: Int?
    package private(set) var learntItemsPerSubscription: Int?
    /// How often the connection broke during calls of a size: once may be chance, twice is the server.
    private var dropsAtSize: [Int: Int] = [:]
    private var sizeAfterDrop: Int?

    static let firstRetrySeconds: UInt16 = 30
    static let lastRetrySeconds: UInt16 = 1800

    package init(items: [MonitoredItemSpecification], itemsPerCall: Int, itemsPerSubscription: Int) {
        self.items = items.map { Item(specification: $0) }
        self.itemsPerCall = max(1, itemsPerCall)
        self.itemsPerSubscription = max(1, itemsPerSubscription)
        queue = Array(items.indices)
    }

    /// Limits as the server of this session states them.
    /// - Parameters:
    ///   - itemsPerSubscription: the smaller of the server's limit and our own.
    ///   - stated: the server's limit; nil where it states none.
    package mutating func setLimits(itemsPerCall: Int, itemsPerSubscription: Int, stated: Int? = nil) {
        self.itemsPerCall = max(1, min(itemsPerCall, learntItemsPerCall ?? itemsPerCall))
        serverItemsPerSubscription = stated ?? .max
        self.itemsPerSubscription = max(
            1,
            min(itemsPerSubscription, learntItemsPerSubscription ?? itemsPerSubscription)
        )
    }

    package var batchSize: Int { min(itemsPerCall, sizeAfterDrop ?? itemsPerCall) }

    package var activeCount: Int {
        items.count { if case .active = $0.state { true } else { false } }
    }
    package var badCount: Int {
        items.count { if case .bad = $0.state { true } else { false } }
    }

    package func slot(of index: Int) -> Int? {
        if case .active(let slot, _) = items[index].state { return Int(slot) }
        return nil
    }

    /// Handles of the active items, by slot.
    package func handlesBySlot() -> [[UInt32]] {
        var result = [[UInt32]](repeating: [], count: slots.count)
        for item in items {
            if case .active(let slot, _) = item.state { result[Int(slot)].append(item.specification.handle) }
        }
        return result
    }

    // MARK: Subscriptions

    /// A subscription has been made; its slot is the next index.
    package mutating func addSlot() { slots.append(Slot()) }

    /// All subscriptions are gone: every item has to be created again.
    package mutating func reset() {
        slots = []
        queue = []
        head = 0
        for i in items.indices {
            items[i].state = .pending
            queue.append(i)
        }
    }

    /// One subscription is gone. Its slot stays, empty, for its successor.
    package mutating func resetSlot(_ slot: Int) {
        guard slots.indices.contains(slot) else { return }
        slots[slot] = Slot()
        for i in items.indices {
            if case .active(let its, _) = items[i].state, Int(its) == slot {
                items[i].state = .pending
                queue.append(i)
            }
        }
    }

    /// The connection broke: nothing is in flight any more. What the server made of calls in flight is not known; an
    /// item it did create reports twice under one handle, which the consumer recognises like every repetition.
    package mutating func connectionLost() {
        var lost: [Int] = []
        for i in items.indices where items[i].state == .inFlight {
            items[i].state = .pending
            lost.append(i)
        }
        for slot in slots.indices { slots[slot].count = slots[slot].active }
        guard !lost.isEmpty else { return }
        let size = batchSize
        dropsAtSize[size, default: 0] += 1
        sizeAfterDrop = max(1, size / 2)
        if (dropsAtSize[size] ?? 0) >= 2 { learn(itemsPerCall: max(1, size / 2)) }
        requeue(lost)
    }

    /// Takes over subscriptions of an earlier run: their items need not be created.
    package mutating func restore(_ subscriptions: [RestoredSubscription]) {
        var byHandle: [UInt32: Int] = [:]
        for i in items.indices { byHandle[items[i].specification.handle] = i }
        slots = subscriptions.map { _ in Slot() }
        for (slot, subscription) in subscriptions.enumerated() {
            for handle in subscription.handles {
                guard let i = byHandle[handle] else { continue }
                items[i].state = .active(slot: UInt16(slot), id: 0)
                slots[slot].count += 1
                slots[slot].active += 1
            }
        }
        queue = items.indices.filter { items[$0].state == .pending }
        head = 0
    }

    /// Slots with items whose server ids are not known: to be resolved before `update`.
    package var unresolvedSlots: [Int] {
        var found: Set<Int> = []
        for item in items { if case .active(let slot, 0) = item.state { found.insert(Int(slot)) } }
        return found.sorted()
    }

    /// What the server holds in a slot, as GetMonitoredItems (Part 5, 9.1) tells it.
    package mutating func resolve(slot: Int, idsByHandle: [UInt32: UInt32]) {
        for i in items.indices {
            guard case .active(let its, 0) = items[i].state, Int(its) == slot else { continue }
            if let id = idsByHandle[items[i].specification.handle] {
                items[i].state = .active(slot: its, id: id)
            } else {
                remove(fromSlot: slot)
                items[i].state = .pending
                queue.append(i)
            }
        }
    }

    /// An active item leaves its slot.
    private mutating func remove(fromSlot slot: Int) {
        slots[slot].count -= 1
        slots[slot].active -= 1
        slots[slot].isFull = false
    }

    /// The server gives no further subscription. Those there are take more than we would have liked; what even they
    /// cannot take is bad for now.
    package mutating func subscriptionsExhausted(_ status: StatusCode, now: NIODeadline) -> [Event] {
        if itemsPerSubscription < serverItemsPerSubscription, learntItemsPerSubscription == nil {
            itemsPerSubscription = serverItemsPerSubscription
            return []
        }
        var events: [Event] = []
        while head < queue.count {
            events.append(markBad(queue[head], status, now: now))
            head += 1
        }
        return events
    }

    // MARK: Batches

    /// The next call. Items whose retry is due are included.
    package mutating func next(now: NIODeadline) -> Next {
        if head >= queue.count { collectRetries(now: now) }
        guard head < queue.count else {
            queue.removeAll(keepingCapacity: false)
            head = 0
            return .nothing
        }
        var best: Int?
        for i in slots.indices where !slots[i].isFull && slots[i].count < itemsPerSubscription {
            best = i
            break
        }
        guard let slot = best else { return .needsSubscription }
        let room = itemsPerSubscription - slots[slot].count
        let count = min(batchSize, room, queue.count - head)
        let chosen = Array(queue[head..<head + count])
        head += count
        for i in chosen { items[i].state = .inFlight }
        // Counted now, so that calls in flight at the same time do not overfill the subscription.
        slots[slot].count += count
        return .batch(Batch(slot: slot, items: chosen))
    }

    private mutating func collectRetries(now: NIODeadline) {
        guard items.contains(where: { if case .bad(_, let at) = $0.state { at <= now } else { false } }) else { return }
        queue = []
        head = 0
        for i in items.indices {
            if case .bad(_, let at) = items[i].state, at <= now {
                items[i].state = .pending
                queue.append(i)
            }
        }
    }

    /// When the next bad item is due; nil when none is.
    package var nextRetry: NIODeadline? {
        var earliest: NIODeadline?
        for item in items {
            if case .bad(_, let at) = item.state { earliest = min(earliest ?? at, at) }
        }
        return earliest
    }

    package var hasPending: Bool { head < queue.count }

    /// An item cannot even be asked for: its namespace URI is not in the server's table.
    package mutating func unresolvable(_ index: Int, slot: Int, now: NIODeadline) -> Event {
        slots[slot].count -= 1
        return markBad(index, .badNodeIdUnknown, now: now)
    }

    /// The call was answered, with one result for each item.
    package mutating func completed(_ batch: Batch, _ results: [Result], now: NIODeadline) -> [Event] {
        var events: [Event] = []
        var again: [Int] = []
        var tooMany: [Int] = []
        var created = 0
        for (i, result) in zip(batch.items, results) {
            if !result.status.isBad {
                items[i].state = .active(slot: UInt16(batch.slot), id: result.id)
                items[i].retrySeconds = 0
                slots[batch.slot].active += 1
                created += 1
                events.append(.active(i))
                continue
            }
            slots[batch.slot].count -= 1
            switch result.status.withoutInfoBits {
            case .badTooManyMonitoredItems: tooMany.append(i)
            case .badFilterNotAllowed, .badMonitoredItemFilterUnsupported, .badMonitoredItemFilterInvalid,
                .badDeadbandFilterInvalid:
                if items[i].specification.deadband != .none && !items[i].isDeadbandRefused {
                    items[i].isDeadbandRefused = true
                    events.append(.deadbandRefused(i))
                    again.append(i)
                } else {
                    events.append(markBad(i, result.status, now: now))
                }
            default: events.append(markBad(i, result.status, now: now))
            }
        }
        if !tooMany.isEmpty {
            if slots[batch.slot].active > 0 {
                full(batch.slot)
                again += tooMany
            } else {
                // Not even an empty subscription takes them: the server as a whole is full.
                for i in tooMany { events.append(markBad(i, .badTooManyMonitoredItems, now: now)) }
            }
        }
        // A server that answers with fewer results than items.
        let unanswered = batch.items.dropFirst(results.count)
        for i in unanswered {
            slots[batch.slot].count -= 1
            events.append(markBad(i, .badUnexpectedError, now: now))
        }
        if let size = sizeAfterDrop, created > 0, batch.items.count >= size {
            // It worked at half the size; the break may have had nothing to do with the size.
            let larger = size * 2
            if larger >= itemsPerCall {
                if (dropsAtSize[itemsPerCall] ?? 0) < 2 { sizeAfterDrop = nil }
            } else if (dropsAtSize[larger] ?? 0) < 2 {
                sizeAfterDrop = larger
            }
        }
        requeue(again)
        return events
    }

    /// The call as a whole was refused.
    package mutating func refused(_ batch: Batch, _ status: StatusCode, now: NIODeadline) -> Refusal {
        slots[batch.slot].count -= batch.items.count
        switch status.withoutInfoBits {
        case .badTooManyOperations, .badEncodingLimitsExceeded, .badRequestTooLarge, .badResponseTooLarge,
            .badTcpMessageTooLarge:
            if batch.items.count > 1 {
                learn(itemsPerCall: max(1, batch.items.count / 2))
                requeue(batch.items)
                return .retry
            }
        case .badTooManyMonitoredItems:
            if slots[batch.slot].active > 0 {
                full(batch.slot)
                requeue(batch.items)
                return .retry
            }
            if batch.items.count > 1 {
                // More than fits into one subscription at once.
                learn(itemsPerCall: max(1, batch.items.count / 2))
                requeue(batch.items)
                return .retry
            }
        case .badSubscriptionIdInvalid, .badNoSubscription:
            requeue(batch.items)
            return .subscriptionLost
        default:
            // Some item makes the server refuse the whole call: find it by halves, for this connection only.
            if batch.items.count > 1 {
                sizeAfterDrop = max(1, batch.items.count / 2)
                requeue(batch.items)
                return .retry
            }
        }
        _ = markBad(batch.items[0], status, now: now)
        return .bad(batch.items[0], status)
    }

    private mutating func full(_ slot: Int) {
        slots[slot].isFull = true
        learntItemsPerSubscription = max(1, min(learntItemsPerSubscription ?? .max, slots[slot].active))
    }

    private mutating func learn(itemsPerCall size: Int) {
        itemsPerCall = min(itemsPerCall, size)
        learntItemsPerCall = itemsPerCall
    }

    private mutating func markBad(_ index: Int, _ status: StatusCode, now: NIODeadline) -> Event {
        let seconds = items[index].retrySeconds == 0 ? Self.firstRetrySeconds : items[index].retrySeconds
        items[index].state = .bad(status, retryAt: now + .seconds(Int64(seconds)))
        items[index].retrySeconds = min(Self.lastRetrySeconds, seconds * 2)
        return .bad(index, status)
    }

    /// Puts items in front of those that wait.
    private mutating func requeue(_ indexes: [Int]) {
        guard !indexes.isEmpty else { return }
        for i in indexes { items[i].state = .pending }
        queue.replaceSubrange(0..<head, with: indexes)
        head = 0
    }

    // MARK: Changes of the configuration

    /// Replaces the list of items.
    package mutating func update(_ specifications: [MonitoredItemSpecification]) -> Changes {
        var changes = Changes()
        var old: [UInt32: Item] = [:]
        old.reserveCapacity(items.count)
        for item in items { old[item.specification.handle] = item }
        var updated: [Item] = []
        updated.reserveCapacity(specifications.count)
        func delete(_ item: Item) {
            guard case .active(let slot, let id) = item.state else { return }
            if id != 0 { changes.deletions[Int(slot), default: []].append(id) }
            remove(fromSlot: Int(slot))
        }
        for specification in specifications {
            guard var item = old.removeValue(forKey: specification.handle) else {
                updated.append(Item(specification: specification))
                continue
            }
            if item.specification == specification {
                updated.append(item)
                continue
            }
            let isSameNode = item.specification.nodeID == specification.nodeID
            if item.specification.deadband != specification.deadband { item.isDeadbandRefused = false }
            if case .active = item.state, isSameNode {
                changes.modifications.append(updated.count)
            } else {
                delete(item)
                item = Item(specification: specification)
            }
            item.specification = specification
            updated.append(item)
        }
        for item in old.values { delete(item) }
        items = updated
        queue = items.indices.filter { items[$0].state == .pending }
        head = 0
        return changes
    }

    /// A modification was refused because of its deadband: the server goes on without a filter.
    package mutating func deadbandRefused(_ index: Int) { items[index].isDeadbandRefused = true }

    /// The server does not know the item any more: create it again.
    package mutating func vanished(_ index: Int) {
        if case .active(let slot, _) = items[index].state { remove(fromSlot: Int(slot)) }
        items[index].state = .pending
        queue.append(index)
    }
}
