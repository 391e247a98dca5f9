import OPCUACodec
import Testing

@testable import scada_simulator

@Suite struct ControlCommandTests {
    @Test(
        arguments: [
            ("drop", ControlCommand.drop, nil), ("  freeze  ", .freeze, nil), ("thaw\r", .thaw, nil),
            ("restart", .restart(downMilliseconds: 0), nil), ("restart 2500", .restart(downMilliseconds: 2_500), nil),
            ("lose-subscriptions", .loseSubscriptions, nil), ("limit items 7", .limit(.items, 7), nil),
            ("limit monitored-items-per-subscription 9", .limit(.monitoredItemsPerSubscription, 9), nil),
            ("limit chunk 8192", .limit(.chunk, 8_192), nil), ("reset-limits", .resetLimits, nil),
            ("announce-limits off", .announceLimits(false), nil), ("move-namespaces", .moveNamespaces, nil),
            ("remove-node ns=2;s=Well-00001.Power", .removeNode("ns=2;s=Well-00001.Power"), nil),
            ("server 2 restore-node Well-00001.Power", .restoreNode("Well-00001.Power"), 2),
            ("refuse-deadband on", .refuseDeadband(true), nil), ("corrupt 3", .corrupt(3), nil),
            ("corrupt-one-in 50", .corruptOneIn(50), nil), ("drop-on-types 2", .dropOnTypes(2), nil),
            ("server 3 service-level 0", .serviceLevel(0), 3), ("service-level 255", .serviceLevel(255), nil),
            ("stats", .stats(tags: false), nil), ("server 1 stats tags", .stats(tags: true), 1), ("quit", .quit, nil),
        ] as [(String, ControlCommand, Int?)]
    )
    func `lines are understood`(line: String, command: ControlCommand, server: Int?) throws {
        #expect(try ControlCommand.parse(line) == ControlCommand.Addressed(command: command, server: server))
    }

    @Test(
        arguments: [
            "", "   ", "dance", "drop now", "restart soon", "restart -1", "limit", "limit items", "limit items 0",
            "limit chunk 8191", "limit cats 3", "corrupt", "corrupt -1", "corrupt-one-in -1", "drop-on-types",
            "service-level 256", "refuse-deadband", "refuse-deadband maybe",
            "remove-node", "remove-node a b", "stats cats", "server", "server 1", "server 0 drop", "server x drop",
        ]
    )
    func `other lines are refused with a reason`(line: String) {
        #expect(throws: ControlError.self) { try ControlCommand.parse(line) }
    }

    @Test func `the help names every command and limit`() {
        for name in ControlCommand.Limit.allCases { #expect(ControlCommand.help.contains(name.rawValue)) }
        for name in [
            "drop", "freeze", "thaw", "restart", "lose-subscriptions", "reset-limits", "announce-limits",
            "move-namespaces", "remove-node", "restore-node", "refuse-deadband", "corrupt", "corrupt-one-in",
            "drop-on-types",
            "service-level", "stats", "quit",
        ] {
            #expect(ControlCommand.help.contains("  \(name)") || ControlCommand.help.contains("| \(name)"))
        }
    }
}

@Suite struct FaultTests {
    @Test func `lost subscriptions leave the session and are gone for good`() throws {
        let client = TestClient(TestClient.server(rate: 200))
        try client.connect()
        let subscription = try client.subscribe()
        _ = try client.monitor(subscription)
        client.advance(milliseconds: 200)
        _ = try client.published(client.publish())
        let waiting = client.publish()
        client.server.loseSubscriptions()
        #expect(throws: Refused(status: .badNoSubscription)) { try client.published(waiting) }
        #expect(client.status(PublishRequest()) == .badNoSubscription)
        let again = RepublishRequest(subscriptionId: subscription, retransmitSequenceNumber: 1)
        #expect(client.status(again) == .badSubscriptionIdInvalid)
        let new = try client.subscribe()
        #expect(new != subscription)
        let summary = client.server.summary
        #expect(summary.published == summary.acknowledged + summary.forgotten + summary.unacknowledged)
        #expect(summary.forgotten > 0)
    }

    @Test func `a restart forgets sessions and subscriptions, the field goes on`() throws {
        let client = TestClient(TestClient.server(rate: 200))
        try client.connect()
        _ = try client.monitor(try client.subscribe())
        client.advance(milliseconds: 500)
        let counted = client.server.field.newest[0].count
        client.server.forgetEverything()
        #expect(client.status(PublishRequest()) == .badSessionIdInvalid)
        #expect(client.server.summary.subscriptions == 0)
        #expect(client.server.startTime == client.server.time)
        client.advance(milliseconds: 500)
        #expect(client.server.field.newest[0].count == counted + 5)
    }

    @Test func `a removed tag says so once, then nothing, and comes back`() throws {
        let client = TestClient(TestClient.server(rate: 200))
        try client.connect()
        let subscription = try client.subscribe()
        _ = try client.monitor(subscription, ["Well-00001.Power", "Well-00001.Vibration"])
        client.advance(milliseconds: 150)
        _ = try client.published(client.publish())
        let tag = TagKind.power.rawValue
        client.server.remove(tag)
        client.server.remove(tag)
        client.advance(milliseconds: 500)
        let message = try #require(try client.published(client.publish())).notificationMessage
        let items = try message.items.filter { $0.clientHandle == 100 }
        #expect(items.map(\.value.status).last == .badNodeIdUnknown)
        #expect(items.last?.value.value == .null)
        #expect(items.filter { $0.value.status == .badNodeIdUnknown }.count == 1)
        #expect(try message.items.filter { $0.clientHandle == 101 }.count >= 4)
        let results = try client.monitor(subscription, ["Well-00001.Power"])
        #expect(results[0].statusCode == .badNodeIdUnknown)
        client.server.space.removedTags.remove(tag)
        client.advance(milliseconds: 500)
        let after = try #require(try client.published(client.publish())).notificationMessage
        #expect(try after.items.contains { $0.clientHandle == 100 && $0.value.status == .good })
    }

    @Test func `requests for types are cut as often as was asked, others are answered`() throws {
        let client = TestClient(TestClient.server())
        let tag = NodeId(2, TestClient.tag)
        let requests: [any ServiceRequest] = [
            ReadRequest(nodesToRead: [ReadValueId(nodeId: tag, attributeId: AttributeId.dataType)]),
            ReadRequest(nodesToRead: [ReadValueId(nodeId: tag, attributeId: AttributeId.dataTypeDefinition)]),
            BrowseRequest(
                nodesToBrowse: [
                    BrowseDescription(nodeId: NodeId(24), referenceTypeId: NodeId(45), includeSubtypes: true)
                ]
            ),
        ]
        client.server.typeRequestsToCut = requests.count
        for request in requests {
            client.peer = TestPeer()
            client.token = .null
            try client.connect()
            let value = ReadRequest(nodesToRead: [ReadValueId(nodeId: tag, attributeId: AttributeId.value)])
            #expect(client.status(value) == .good)
            _ = client.send(request)
            #expect(client.peer.isCut && client.peer.responses.isEmpty)
        }
        client.peer = TestPeer()
        client.token = .null
        try client.connect()
        _ = client.send(requests[0])
        #expect(!client.peer.isCut && client.peer.responses.count == 1)
    }

    @Test func `the service level is what was set`() throws {
        let client = TestClient(TestClient.server())
        try client.connect()
        let read = ReadRequest(nodesToRead: [ReadValueId(nodeId: NodeId(2267), attributeId: AttributeId.value)])
        #expect(try client.call(read).results[0].value == .byte(255))
        client.server.serviceLevel = 7
        #expect(try client.call(read).results[0].value == .byte(7))
    }

    @Test func `limits that are not announced still hold`() throws {
        let client = TestClient(TestClient.server())
        try client.connect()
        client.server.limits.set(.items, 5)
        client.server.limits.areAnnounced = false
        let read = ReadRequest(nodesToRead: [ReadValueId(nodeId: NodeId(11714), attributeId: AttributeId.value)])
        #expect(try client.call(read).results[0].value == .uint32(0))
        client.server.limits.areAnnounced = true
        #expect(try client.call(read).results[0].value == .uint32(5))
        let tags = Array(repeating: TestClient.tag, count: 6)
        let subscription = try client.subscribe()
        #expect(throws: Refused(status: .badTooManyOperations)) { try client.monitor(subscription, tags) }
        client.server.limits = client.server.initialLimits
        #expect(try client.monitor(subscription, tags).allSatisfy { $0.statusCode == .good })
    }
}
