import OPCUACodec
import Testing

@testable import scada_simulator

@Suite struct SessionServiceTests {
    @Test func `services need an activated session on the channel it was activated on`() throws {
        let client = TestClient(TestClient.server())
        let read = ReadRequest(nodesToRead: [ReadValueId(nodeId: NodeId(2258), attributeId: AttributeId.value)])
        #expect(client.status(read) == .badSessionIdInvalid)
        client.token = try client.call(CreateSessionRequest(requestedSessionTimeout: 5_000)).authenticationToken
        #expect(client.status(read) == .badSessionNotActivated)
        _ = try client.call(ActivateSessionRequest())
        #expect(client.status(read) == .good)
        let first = client.peer
        client.peer = TestPeer()
        #expect(client.status(read) == .badSecureChannelIdInvalid)
        _ = try client.call(ActivateSessionRequest())
        #expect(client.status(read) == .good)
        client.peer = first
        #expect(client.status(read) == .badSecureChannelIdInvalid)
    }

    @Test func `a session ends after its timeout, not before`() throws {
        let client = TestClient(TestClient.server())
        try client.connect()
        let read = ReadRequest(nodesToRead: [ReadValueId(nodeId: NodeId(2258), attributeId: AttributeId.value)])
        client.advance(milliseconds: 59_000)
        #expect(client.status(read) == .good)
        client.advance(milliseconds: 61_000)
        #expect(client.status(read) == .badSessionIdInvalid)
    }

    @Test func `an activated session outlives its connection, another user cannot take it`() throws {
        let client = TestClient(TestClient.server())
        try client.connect(user: "pumper")
        client.server.closed(client.peer)
        client.peer = TestPeer()
        #expect(client.status(ActivateSessionRequest()) == .badIdentityChangeNotSupported)
        let token = ExtensionObject(UserNameIdentityToken(userName: "pumper"))
        #expect(client.status(ActivateSessionRequest(userIdentityToken: token)) == .good)
    }

    @Test func `unknown services and broken requests are answered with a fault`() throws {
        let client = TestClient(TestClient.server())
        let bodies: [([UInt8], StatusCode)] = [
            (RegisterNodes.body, .badServiceUnsupported),
            (Array(ReadRequest().messageBody.prefix(12)), .badDecodingError),
            ([], .badDecodingError),
        ]
        for (index, (body, status)) in bodies.enumerated() {
            let id = UInt32(1_000 + index)
            body.withUnsafeBytes { client.server.handle($0, requestID: id, from: client.peer) }
            let answer = try #require(client.peer.take(id))
            let fault = try BinaryDecoder.withBytes(answer) { (decoder) throws in
                #expect(try NodeId(from: &decoder) == ServiceFault.binaryEncodingId)
                return try ServiceFault(from: &decoder)
            }
            #expect(fault.responseHeader.serviceResult == status)
        }
    }

    private enum RegisterNodes {
        /// RegisterNodesRequest_Encoding_DefaultBinary, which no simulator needs.
        static var body: [UInt8] { NodeId(560).encoded + RequestHeader().encoded }
    }
}

@Suite struct PublishServiceTests {
    private func subscribed(
        wells: Int = 2,
        rate: Double = 200,
        limits: ServerLimits = ServerLimits()
    ) throws -> (TestClient, UInt32) {
        let client = TestClient(TestClient.server(wells: wells, rate: rate, limits: limits))
        try client.connect()
        return (client, try client.subscribe())
    }

    @Test func `values arrive without a hole from the initial one on, and are acknowledged once`() throws {
        let (client, subscription) = try subscribed()
        client.advance(milliseconds: 500)
        _ = try client.monitor(subscription)
        var values: [Double] = []
        var numbers: [UInt32] = []
        var acknowledge: [(UInt32, UInt32)] = []
        for _ in 0..<20 {
            let id = client.publish(acknowledging: acknowledge)
            client.advance(milliseconds: 150)
            let response = try #require(try client.published(id))
            #expect(response.results.allSatisfy { $0 == .good })
            values += try response.notificationMessage.doubles
            numbers.append(response.notificationMessage.sequenceNumber)
            acknowledge = [(subscription, response.notificationMessage.sequenceNumber)]
        }
        // Ten values a second of 20 tags at 200/s; the tag counted to 6 before it was subscribed.
        #expect(values.first == 6)
        #expect(values == (0..<values.count).map { 6 + Double($0) })
        #expect(values.count > 25)
        #expect(numbers == Array(1...20))
        let summary = client.server.summary
        #expect(summary.published == UInt64(values.count))
        #expect(summary.dropped == 0)
        #expect(summary.acknowledged + summary.unacknowledged == summary.published)
        #expect(client.server.tagAccounting.published[0] == UInt32(values.count) + 5)
        let again = client.publish(acknowledging: [(subscription, 1), (subscription + 1, 1), acknowledge[0]])
        client.advance(milliseconds: 150)
        let results = try #require(try client.published(again)).results
        #expect(results == [.badSequenceNumberUnknown, .badSubscriptionIdInvalid, .good])
        #expect(client.server.summary.acknowledged == UInt64(values.count))
    }

    @Test func `a full queue drops, says so in the next value, and is counted`() throws {
        let (client, subscription) = try subscribed()
        _ = try client.monitor(subscription, queue: 3)
        client.advance(milliseconds: 1_000)
        let response = try #require(try client.published(client.publish()))
        let items = try response.notificationMessage.items
        #expect(try response.notificationMessage.doubles == [9, 10, 11])
        #expect(items.map(\.value.status.hasOverflow) == [true, false, false])
        #expect(client.server.summary.dropped == 8)
        #expect(client.server.tagAccounting.dropped == [8] + Array(repeating: 0, count: 19))
        #expect(client.server.tagAccounting.overwritten.allSatisfy { $0 == 0 })
        #expect(client.server.summary.published == 3)
    }

    @Test func `large messages are cut and the next request gets the rest at once`() throws {
        let (client, _) = try subscribed()
        let subscription = try client.subscribe(maximum: 4)
        _ = try client.monitor(subscription, queue: 100)
        client.advance(milliseconds: 1_000)
        // The other subscription's first keep-alive is late too.
        var sizes: [Int] = []
        var more: [Bool] = []
        for _ in 0..<4 {
            let response = try #require(try client.published(client.publish()))
            guard response.subscriptionId == subscription else { continue }
            sizes.append(try response.notificationMessage.items.count)
            more.append(response.moreNotifications)
        }
        #expect(sizes == [4, 4, 3])
        #expect(more == [true, true, false])
    }

    @Test func `keep-alives announce the next sequence number and do not use it up`() throws {
        let (client, subscription) = try subscribed(rate: 0)
        let first = client.publish()
        client.advance(milliseconds: 150)
        let alive = try #require(try client.published(first)).notificationMessage
        #expect(alive.notificationData.isEmpty && alive.sequenceNumber == 1)
        _ = try client.monitor(subscription)
        let second = client.publish()
        client.advance(milliseconds: 150)
        #expect(try client.published(second)?.notificationMessage.sequenceNumber == 1)
        let third = client.publish()
        client.advance(milliseconds: 850)
        #expect(try client.published(third) == nil)
        client.advance(milliseconds: 100)
        #expect(try client.published(third)?.notificationMessage.sequenceNumber == 2)
    }

    @Test(arguments: [0, 90, 100, 130, 299])
    func `a server that takes its turn publishes at its place in the interval, whenever it was asked to`(
        milliseconds: Int64
    ) throws {
        let client = TestClient(TestClient.server(phase: 0.25))
        try client.connect()
        let server = client.server
        server.now = milliseconds * 1_000_000
        let id = try client.subscribe(interval: 400)
        let subscription = try #require(server.subscriptions[id])
        #expect(subscription.nextPublish == (milliseconds < 100 ? 100 : 500) * 1_000_000)
        let modify = ModifySubscriptionRequest(
            subscriptionId: id,
            requestedPublishingInterval: 1_000,
            requestedLifetimeCount: 30,
            requestedMaxKeepAliveCount: 10
        )
        _ = try client.call(modify)
        #expect(subscription.nextPublish == (milliseconds < 250 ? 250 : 1_250) * 1_000_000)
        client.advance(milliseconds: 2_000)
        #expect(subscription.nextPublish % 1_000_000_000 == 250_000_000)
    }

    @Test func `what was not acknowledged can be had again, byte for byte`() throws {
        let (client, subscription) = try subscribed()
        _ = try client.monitor(subscription)
        client.advance(milliseconds: 200)
        let message = try #require(try client.published(client.publish())).notificationMessage
        let request = RepublishRequest(subscriptionId: subscription, retransmitSequenceNumber: 1)
        #expect(try client.call(request).notificationMessage == message)
        #expect(client.server.summary.republished == UInt64(try message.items.count))
        _ = client.publish(acknowledging: [(subscription, 1)])
        #expect(client.status(request) == .badMessageNotAvailable)
    }

    @Test func `a subscription nobody asks about expires, and says so to the session`() throws {
        let (client, subscription) = try subscribed()
        _ = try client.monitor(subscription)
        client.advance(milliseconds: 3_100)
        #expect(client.server.summary.subscriptions == 0)
        let response = try #require(try client.published(client.publish()))
        #expect(try response.notificationMessage.statusChange == .badTimeout)
        #expect(response.subscriptionId == subscription)
        #expect(client.status(PublishRequest()) == .badNoSubscription)
        let summary = client.server.summary
        #expect(summary.abandoned == 10 && summary.published == 0)
        #expect(client.server.watchers.allSatisfy { $0.isEmpty })
    }

    @Test func `too many waiting requests push out the oldest, late ones time out`() throws {
        var limits = ServerLimits()
        limits.publishRequests = 2
        let (client, _) = try subscribed(rate: 0, limits: limits)
        // Past the first keep-alive.
        let first = client.publish()
        client.advance(milliseconds: 150)
        _ = try client.published(first)
        let calls = (0..<3).map { _ in client.publish() }
        #expect(throws: Refused(status: .badTooManyPublishRequests)) { try client.published(calls[0]) }
        #expect(try client.published(calls[1]) == nil)
        let hurried = client.send(PublishRequest(), timeoutHint: 100)
        client.advance(milliseconds: 200)
        #expect(throws: Refused(status: .badTimeout)) { try client.published(hurried) }
    }

    @Test func `another session takes a subscription with what it was owed`() throws {
        let (client, subscription) = try subscribed()
        _ = try client.monitor(subscription)
        client.advance(milliseconds: 200)
        let lost = try #require(try client.published(client.publish())).notificationMessage
        let waiting = client.publish()
        let heir = TestClient(client.server)
        try heir.connect()
        let request = TransferSubscriptionsRequest(subscriptionIds: [subscription, 999], sendInitialValues: false)
        let results = try heir.call(request).results
        #expect(results.map(\.statusCode) == [.good, .badSubscriptionIdInvalid])
        #expect(results[0].availableSequenceNumbers == [1])
        let farewell = try #require(try client.published(waiting))
        #expect(try farewell.notificationMessage.statusChange == .goodSubscriptionTransferred)
        let again = RepublishRequest(subscriptionId: subscription, retransmitSequenceNumber: 1)
        #expect(try heir.call(again).notificationMessage == lost)
        let id = heir.publish(acknowledging: [(subscription, 1)])
        heir.advance(milliseconds: 200)
        let next = try #require(try heir.published(id)).notificationMessage
        #expect(try next.doubles.first == (try lost.doubles.last ?? 0) + 1)
        #expect(client.status(again) == .badSubscriptionIdInvalid)
    }

    @Test func `a lost connection loses nothing: the session comes back and goes on`() throws {
        let (client, subscription) = try subscribed()
        _ = try client.monitor(subscription, queue: 100)
        client.advance(milliseconds: 200)
        let before = try #require(try client.published(client.publish())).notificationMessage
        _ = client.publish()
        client.server.closed(client.peer)
        client.peer = TestPeer()
        client.advance(milliseconds: 1_000)
        _ = try client.call(ActivateSessionRequest())
        let after = try #require(try client.published(client.publish())).notificationMessage
        #expect(after.sequenceNumber == before.sequenceNumber + 1)
        #expect(try after.doubles.first == (try before.doubles.last ?? 0) + 1)
    }

    @Test func `deleting items and closing the session leave nothing behind`() throws {
        let (client, subscription) = try subscribed()
        let tags = TagKind.allCases.map { "Well-00001.\($0.name)" }
        let results = try client.monitor(subscription, tags + ["Well-00001.Nothing"])
        #expect(results.last?.statusCode == .badNodeIdUnknown)
        #expect(client.server.summary.monitoredItems == 10)
        let ids = results.prefix(5).map(\.monitoredItemId)
        let deleted = try client.call(
            DeleteMonitoredItemsRequest(subscriptionId: subscription, monitoredItemIds: ids + [ids[0]])
        )
        #expect(deleted.results == Array(repeating: .good, count: 5) + [.badMonitoredItemIdInvalid])
        // Freed places are taken again and must not carry anything over.
        _ = try client.monitor(subscription, ["Well-00002.Power"])
        client.advance(milliseconds: 200)
        let message = try #require(try client.published(client.publish())).notificationMessage
        #expect(Set(try message.items.map(\.clientHandle)) == [100, 105, 106, 107, 108, 109])
        let waiting = client.publish()
        _ = try client.call(CloseSessionRequest(deleteSubscriptions: true))
        #expect(throws: Refused(status: .badSessionClosed)) { try client.published(waiting) }
        let summary = client.server.summary
        #expect((summary.sessions, summary.subscriptions, summary.monitoredItems) == (0, 0, 0))
        #expect(summary.published == summary.acknowledged + summary.forgotten)
        #expect(client.server.watchers.allSatisfy { $0.isEmpty })
    }

    @Test func `sampling slower than the tag thins out, and hand over hand in measuring mode only`() throws {
        let server = TestClient.server(rate: 200, counters: false)
        let client = TestClient(server)
        try client.connect()
        let subscription = try client.subscribe(interval: 1_000)
        let slow = try client.monitor(subscription, sampling: 500)
        #expect(slow[0].revisedSamplingInterval == 500)
        client.advance(milliseconds: 3_050)
        let message = try #require(try client.published(client.publish())).notificationMessage
        let stamps = try message.items.compactMap(\.value.sourceTimestamp?.ticks)
        #expect((5...8).contains(stamps.count))
        #expect(zip(stamps.dropFirst(), stamps.dropFirst(2)).allSatisfy { $1 - $0 >= 4_500_000 })
    }

    @Test func `limits are answered with their codes`() throws {
        var limits = ServerLimits()
        limits.itemsPerCall = 3
        limits.itemsPerSubscription = 4
        let (client, subscription) = try subscribed(limits: limits)
        let tags = TagKind.allCases.map { "Well-00001.\($0.name)" }
        #expect(throws: Refused(status: .badTooManyOperations)) { try client.monitor(subscription, tags) }
        _ = try client.monitor(subscription, Array(tags[0..<3]))
        let results = try client.monitor(subscription, Array(tags[3..<6]))
        #expect(results.map(\.statusCode) == [.good, .badTooManyMonitoredItems, .badTooManyMonitoredItems])
        #expect(throws: Refused(status: .badNothingToDo)) { try client.monitor(subscription, []) }
    }
}
