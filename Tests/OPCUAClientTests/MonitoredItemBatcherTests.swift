import NIOCore
import OPCUACodec
import Testing

@testable import OPCUAClient

@Suite("Monitored item batcher")
struct MonitoredItemBatcherTests {
    static let start = NIODeadline.uptimeNanoseconds(1_000_000_000)

    static func item(_ handle: UInt32, node: UInt32? = nil, deadband: Double? = nil) -> MonitoredItemSpecification {
        MonitoredItemSpecification(
            handle: handle,
            nodeID: try! NodeIdText(parsing: "i=\(node ?? handle)"),
            deadband: deadband.map { .absolute($0) } ?? .none
        )
    }

    static func batcher(_ count: Int, call: Int = 1000, subscription: Int = 5000, slots: Int = 1)
        -> MonitoredItemBatcher
    {
        var batcher = MonitoredItemBatcher(
            items: (0..<UInt32(count)).map { item($0) },
            itemsPerCall: call,
            itemsPerSubscription: subscription
        )
        for _ in 0..<slots { batcher.addSlot() }
        return batcher
    }

    static func next(_ batcher: inout MonitoredItemBatcher, now: NIODeadline = start) throws
        -> MonitoredItemBatcher.Batch
    {
        let next = batcher.next(now: now)
        guard case .batch(let batch) = next else { throw Unexpected(next: "\(next)") }
        return batch
    }

    struct Unexpected: Error { var next: String }

    static func good(_ batch: MonitoredItemBatcher.Batch) -> [MonitoredItemBatcher.Result] {
        batch.items.map { .init(status: .good, id: UInt32($0) + 100) }
    }

    static func all(_ batch: MonitoredItemBatcher.Batch, _ status: StatusCode) -> [MonitoredItemBatcher.Result] {
        batch.items.map { _ in .init(status: status, id: 0) }
    }

    /// A server in miniature: answers batches until there are none.
    static func run(
        _ batcher: inout MonitoredItemBatcher,
        calls: Int = 10_000,
        _ serve: (MonitoredItemBatcher.Batch, inout MonitoredItemBatcher) -> Void
    ) -> (calls: Int, subscriptions: Int, ended: Bool) {
        var made = 0
        var subscriptions = 0
        while made + subscriptions < calls {
            switch batcher.next(now: start) {
            case .batch(let batch):
                made += 1
                serve(batch, &batcher)
            case .needsSubscription:
                subscriptions += 1
                batcher.addSlot()
            case .nothing: return (made, subscriptions, true)
            }
        }
        return (made, subscriptions, false)
    }

    // MARK: Batches

    @Test func makesCallsAndSubscriptionsOfTheAllowedSize() {
        var batcher = Self.batcher(2500, call: 1000, subscription: 1200, slots: 0)
        var sizes: [Int] = []
        let end = Self.run(&batcher) { batch, batcher in
            sizes.append(batch.items.count)
            _ = batcher.completed(batch, Self.good(batch), now: Self.start)
        }
        #expect(end.ended)
        #expect(sizes == [1000, 200, 1000, 200, 100])
        #expect(end.subscriptions == 3)
        #expect(batcher.activeCount == 2500)
        #expect(batcher.handlesBySlot().map(\.count) == [1200, 1200, 100])
    }

    @Test func callsInFlightDoNotOverfillASubscription() throws {
        var batcher = Self.batcher(30, call: 10, subscription: 20)
        _ = try Self.next(&batcher)
        _ = try Self.next(&batcher)
        #expect(batcher.next(now: Self.start) == .needsSubscription)
    }

    @Test func oneVanishedNodeIsAloneBad() throws {
        var batcher = Self.batcher(3)
        let batch = try Self.next(&batcher)
        var results = Self.good(batch)
        results[1] = .init(status: .badNodeIdUnknown, id: 0)
        let events = batcher.completed(batch, results, now: Self.start)
        #expect(events == [.active(0), .bad(1, .badNodeIdUnknown), .active(2)])
        #expect(batcher.activeCount == 2)
        #expect(batcher.badCount == 1)
    }

    @Test func badItemsAreRetriedAfterThirtySecondsDoublingToThirtyMinutes() throws {
        var batcher = Self.batcher(1)
        var now = Self.start
        for seconds in [30, 60, 120, 240, 480, 960, 1800, 1800] as [Int64] {
            let batch = try Self.next(&batcher, now: now)
            _ = batcher.completed(batch, Self.all(batch, .badNodeIdUnknown), now: now)
            #expect(batcher.nextRetry == now + .seconds(seconds))
            #expect(batcher.next(now: now + .seconds(seconds) - .nanoseconds(1)) == .nothing)
            now = now + .seconds(seconds)
        }
        let batch = try Self.next(&batcher, now: now)
        _ = batcher.completed(batch, Self.good(batch), now: now)
        #expect(batcher.nextRetry == nil)
        batcher.reset()
        batcher.addSlot()
        let again = try Self.next(&batcher, now: now)
        _ = batcher.completed(again, Self.all(again, .badNodeIdUnknown), now: now)
        #expect(batcher.nextRetry == now + .seconds(30), "once it worked it begins anew")
    }

    @Test func fewerResultsThanItemsAreBad() throws {
        var batcher = Self.batcher(3)
        let batch = try Self.next(&batcher)
        let events = batcher.completed(batch, [.init(status: .good, id: 1)], now: Self.start)
        #expect(events == [.active(0), .bad(1, .badUnexpectedError), .bad(2, .badUnexpectedError)])
    }

    @Test func aRefusedDeadbandIsAskedWithout() throws {
        var batcher = MonitoredItemBatcher(
            items: [Self.item(0, deadband: 1), Self.item(1)],
            itemsPerCall: 10,
            itemsPerSubscription: 10
        )
        batcher.addSlot()
        let batch = try Self.next(&batcher)
        #expect(
            batcher.completed(batch, Self.all(batch, .badFilterNotAllowed), now: Self.start)
                == [.deadbandRefused(0), .bad(1, .badFilterNotAllowed)]
        )
        let again = try Self.next(&batcher)
        #expect(again.items == [0])
        #expect(batcher.items[0].isDeadbandRefused)
        #expect(
            batcher.completed(again, Self.all(again, .badFilterNotAllowed), now: Self.start)
                == [.bad(0, .badFilterNotAllowed)],
            "asked without a filter and refused because of it: not again and again"
        )
    }

    // MARK: Limits

    @Test(arguments: [
        StatusCode.badTooManyOperations, .badEncodingLimitsExceeded, .badRequestTooLarge, .badResponseTooLarge,
    ])
    func halvesWhatTheServerFindsTooLargeAndRemembers(status: StatusCode) {
        var batcher = Self.batcher(2000)
        let end = Self.run(&batcher) { batch, batcher in
            if batch.items.count > 130 {
                #expect(batcher.refused(batch, status, now: Self.start) == .retry)
            } else {
                _ = batcher.completed(batch, Self.good(batch), now: Self.start)
            }
        }
        #expect(end.ended)
        #expect(batcher.activeCount == 2000)
        #expect(batcher.learntItemsPerCall == 125)
        batcher.setLimits(itemsPerCall: 1000, itemsPerSubscription: 5000)
        #expect(batcher.batchSize == 125, "remembered in the next session")
    }

    @Test func findsTheItemThatMakesTheServerRefuseAWholeCall() {
        var batcher = Self.batcher(1000)
        let end = Self.run(&batcher) { batch, batcher in
            if batch.items.contains(617) {
                _ = batcher.refused(batch, .badInternalError, now: Self.start)
            } else {
                _ = batcher.completed(batch, Self.good(batch), now: Self.start)
            }
        }
        #expect(end.ended)
        #expect(end.calls < 100, "\(end.calls) calls")
        #expect(batcher.activeCount == 999)
        #expect(batcher.badCount == 1)
        #expect(batcher.learntItemsPerCall == nil, "the size was not to blame")
    }

    @Test(arguments: [1000, 7])
    func fillsFurtherSubscriptionsWhereOneIsFull(limit: Int) {
        var batcher = Self.batcher(5 * limit / 2, call: 2 * limit)
        var inServer: [Int: Int] = [:]
        let end = Self.run(&batcher) { batch, batcher in
            let results = batch.items.map { index -> MonitoredItemBatcher.Result in
                if inServer[batch.slot, default: 0] >= limit { return .init(status: .badTooManyMonitoredItems, id: 0) }
                inServer[batch.slot, default: 0] += 1
                return .init(status: .good, id: UInt32(index) + 1)
            }
            _ = batcher.completed(batch, results, now: Self.start)
        }
        #expect(end.ended)
        #expect(batcher.activeCount == 5 * limit / 2)
        #expect(end.subscriptions == 2)
        #expect(batcher.learntItemsPerSubscription == limit)
    }

    @Test func aServerFullAsAWholeGetsNoEndlessSubscriptions() {
        var batcher = Self.batcher(3000)
        var inServer = 0
        let end = Self.run(&batcher) { batch, batcher in
            let results = batch.items.map { index -> MonitoredItemBatcher.Result in
                if inServer >= 1500 { return .init(status: .badTooManyMonitoredItems, id: 0) }
                inServer += 1
                return .init(status: .good, id: UInt32(index) + 1)
            }
            _ = batcher.completed(batch, results, now: Self.start)
        }
        #expect(end.ended)
        #expect(end.subscriptions == 1)
        #expect(batcher.activeCount == 1500)
        #expect(batcher.badCount == 1500)
    }

    @Test func whereNoFurtherSubscriptionIsGivenThoseThereTakeMore() {
        var batcher = Self.batcher(100, call: 50, subscription: 30)
        batcher.setLimits(itemsPerCall: 50, itemsPerSubscription: 30, stated: 80)
        var events: [MonitoredItemBatcher.Event] = []
        loop: while true {
            switch batcher.next(now: Self.start) {
            case .batch(let batch): _ = batcher.completed(batch, Self.good(batch), now: Self.start)
            case .needsSubscription:
                events += batcher.subscriptionsExhausted(.badTooManySubscriptions, now: Self.start)
            case .nothing: break loop
            }
        }
        #expect(batcher.activeCount == 80)
        #expect(events.count == 20)
        #expect(batcher.badCount == 20, "and these are retried")
        #expect(batcher.nextRetry == Self.start + .seconds(30))
    }

    @Test func aWholeCallRefusedAsTooManyItemsIsSplitOrMoved() throws {
        var batcher = Self.batcher(10, call: 8)
        let first = try Self.next(&batcher)
        #expect(batcher.refused(first, .badTooManyMonitoredItems, now: Self.start) == .retry)
        let half = try Self.next(&batcher)
        #expect(half.items.count == 4)
        _ = batcher.completed(half, Self.good(half), now: Self.start)
        let more = try Self.next(&batcher)
        #expect(batcher.refused(more, .badTooManyMonitoredItems, now: Self.start) == .retry)
        #expect(batcher.next(now: Self.start) == .needsSubscription)
        #expect(batcher.learntItemsPerSubscription == 4)
    }

    @Test func aConnectionThatDropsWhileCreatingHalvesAndTwiceIsRemembered() throws {
        var batcher = Self.batcher(1000, call: 800)
        _ = try Self.next(&batcher)
        batcher.connectionLost()
        #expect(batcher.batchSize == 400)
        #expect(batcher.learntItemsPerCall == nil, "once may be chance")
        let half = try Self.next(&batcher)
        #expect(half.items.first == 0, "what was in flight comes first")
        _ = batcher.completed(half, Self.good(half), now: Self.start)
        #expect(batcher.batchSize == 800, "it was chance")
        _ = try Self.next(&batcher)
        batcher.connectionLost()
        batcher.reset()
        batcher.addSlot()
        _ = try Self.next(&batcher)
        batcher.connectionLost()
        #expect(batcher.batchSize < 400)
    }

    // MARK: Subscriptions that come and go

    @Test func aLostSubscriptionsItemsAreCreatedInItsSuccessor() throws {
        var batcher = Self.batcher(20, subscription: 10, slots: 2)
        _ = Self.run(&batcher) { _ = $1.completed($0, Self.good($0), now: Self.start) }
        batcher.resetSlot(0)
        #expect(batcher.activeCount == 10)
        let batch = try Self.next(&batcher)
        #expect(batch.slot == 0)
        #expect(batch.items.count == 10)
    }

    @Test func takesOverWhatThePreviousRunLeft() throws {
        var batcher = Self.batcher(4, slots: 0)
        batcher.restore([
            RestoredSubscription(
                subscriptionID: 9,
                publishingInterval: 500,
                maximumKeepAliveCount: 1,
                lifetimeCount: 3,
                handles: [0, 1, 77],
                lastDurableSequenceNumber: 5
            )
        ])
        #expect(batcher.activeCount == 2)
        #expect(batcher.unresolvedSlots == [0])
        let batch = try Self.next(&batcher)
        #expect(batch.items == [2, 3], "only what it did not have")
        _ = batcher.completed(batch, Self.good(batch), now: Self.start)
        batcher.resolve(slot: 0, idsByHandle: [0: 41])
        #expect(batcher.items[0].state == .active(slot: 0, id: 41))
        #expect(try Self.next(&batcher).items == [1], "the server does not have it after all")
        #expect(batcher.unresolvedSlots.isEmpty)
    }

    // MARK: Changes

    @Test func updatesWithoutTouchingWhatDidNotChange() throws {
        var batcher = Self.batcher(4)
        let batch = try Self.next(&batcher)
        _ = batcher.completed(batch, Self.good(batch), now: Self.start)
        let changes = batcher.update([
            Self.item(0), Self.item(1, deadband: 2), Self.item(2, node: 99), Self.item(8),
        ])
        #expect(changes.modifications == [1])
        #expect(changes.deletions.mapValues { $0.sorted() } == [0: [102, 103]], "handle 2 moved, handle 3 went")
        #expect(batcher.items[0].state == .active(slot: 0, id: 100))
        let created = try Self.next(&batcher)
        #expect(created.items.map { batcher.items[$0].specification.handle } == [2, 8])
    }

    @Test func anItemTheServerLostIsCreatedAgain() throws {
        var batcher = Self.batcher(2)
        let batch = try Self.next(&batcher)
        _ = batcher.completed(batch, Self.good(batch), now: Self.start)
        batcher.vanished(1)
        #expect(try Self.next(&batcher).items == [1])
    }

    @Test func queuesHoldTwoPublishingIntervalsAndAtLeastTen() {
        func size(_ sampling: Double?, _ queue: UInt32? = nil) -> UInt32 {
            var specification = Self.item(0)
            specification.samplingInterval = sampling
            specification.queueSize = queue
            return specification.requestedQueueSize(publishingInterval: 500)
        }
        #expect(size(nil) == 10)
        #expect(size(10) == 100)
        #expect(size(0.001) == 10_000)
        #expect(size(0) == 100)
        #expect(size(.nan) == 100)
        #expect(size(10, 7) == 7)
        #expect(size(10, 0) == 1)
    }
}
