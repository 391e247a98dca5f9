import FoundationEssentials
import Logging
import NIOCore
import NIOPosix
import OPCUACodec
import OPCUASecurity
import Synchronization
import Testing

@testable import OPCUAClient

/// What clients were caught by in the field, each with a test named after it.
@Suite("Quirks of servers in the field", .timeLimit(.minutes(4)))
struct QuirkTests {
    static let publish = PublishRequest.binaryEncodingId

    /// Gives the first Publish of each subscription one value.
    static func oneValue(_ request: ServerDouble.Request) -> ServerDouble.Answer {
        guard request.type == publish, request.count == 0 else { return .usual }
        return .body(ServerDouble.notification(request, 1))
    }

    @Test func endpointsThatNameAnUnresolvableHost() async throws {
        let server = try await ServerDouble { request in
            guard request.type == GetEndpointsRequest.binaryEncodingId else { return Self.oneValue(request) }
            let endpoint = EndpointDescription(
                endpointUrl: "opc.tcp://plc-17.plant.invalid:4840",
                securityMode: .none,
                securityPolicyUri: SecurityPolicy.none.uri,
                userIdentityTokens: [UserTokenPolicy(policyId: "a", tokenType: .anonymous)]
            )
            return .body(
                GetEndpointsResponse(responseHeader: ServerDouble.header(request), endpoints: [endpoint]).messageBody
            )
        }
        try await ConnectionTests.with(server) { _, consumer in
            #expect(await consumer.wait { $0.values == [1] })
        }
    }

    /// Kepware refuses chunks of 65,536 bytes.
    @Test func kepwareRefusesChunksOf64KiB() async throws {
        let server = try await ServerDouble { Self.oneValue($0) }
        try await ConnectionTests.with(server) { _, consumer in
            #expect(await consumer.wait { $0.values == [1] })
        }
        let sizes = try BinaryDecoder.withBytes(server.hello) { decoder throws(DecodingError) in
            decoder.offset = 12
            return [try decoder.uint32(), try decoder.uint32()]
        }
        #expect(sizes == [65_535, 65_535])
    }

    /// gopcua issue 895: after a reconnect everything looked well, and no value came any more.
    @Test func connectedAndPublishingNothingTheWatchdogEndsIt() async throws {
        let server = try await ServerDouble { request in
            switch request.type {
            case CreateSubscriptionRequest.binaryEncodingId:
                return .body(
                    CreateSubscriptionResponse(
                        responseHeader: ServerDouble.header(request),
                        subscriptionId: UInt32(request.count) + 1,
                        revisedPublishingInterval: 10,
                        revisedLifetimeCount: 10,
                        revisedMaxKeepAliveCount: 1
                    ).messageBody
                )
            case Self.publish where request.connection == 1 && request.count == 0:
                return .body(ServerDouble.notification(request, 1))
            case Self.publish where request.connection == 2: return .body(ServerDouble.notification(request, 2))
            default: return .usual
            }
        }
        try await ConnectionTests.with(server) { _, consumer in
            #expect(await consumer.wait { $0.values.contains(2) })
            #expect(consumer.record.withLock { $0.errors }.contains(.watchdog))
        }
    }

    /// telegraf issue 18787: a client that fails must not eat up the server's sessions.
    @Test func failedAttemptsLeaveNoSessionBehind() async throws {
        let server = try await ServerDouble { request in
            switch request.type {
            case ActivateSessionRequest.binaryEncodingId where request.count < 3:
                return .body(ServerDouble.fault(request, .badUserAccessDenied))
            case ReadRequest.binaryEncodingId where request.count < 3:
                return .body(ServerDouble.fault(request, .badTooManyOperations))
            default: return .usual
            }
        }
        try await ConnectionTests.with(server) { _, consumer in
            #expect(await consumer.wait { $0.items[0] == .good })
            #expect(server.count(CreateSessionRequest.binaryEncodingId) > 3)
            #expect(server.sessionsOpen == 1)
        }
        #expect(server.sessionsOpen == 0)
    }

    /// telegraf issues 19186 and 13296: one vanished node ended all data.
    @Test func oneVanishedNodeDoesNotEndTheOthers() async throws {
        let server = try await ServerDouble { request in
            guard request.type == CreateMonitoredItemsRequest.binaryEncodingId else { return Self.oneValue(request) }
            return .body(
                CreateMonitoredItemsResponse(
                    responseHeader: ServerDouble.header(request),
                    results: [
                        MonitoredItemCreateResult(statusCode: .badNodeIdUnknown),
                        MonitoredItemCreateResult(statusCode: .good, monitoredItemId: 2),
                    ]
                ).messageBody
            )
        }
        try await ConnectionTests.with(server) {
            $0.items = [
                MonitoredItemSpecification(handle: 7, nodeID: .objects),
                MonitoredItemSpecification(handle: 0, nodeID: .objects),
            ]
        } _: { connection, consumer in
            #expect(await consumer.wait { $0.values == [1] && $0.items.count == 2 })
            #expect(consumer.record.withLock { $0.items } == [7: .badNodeIdUnknown, 0: .good])
            #expect(await consumer.wait { $0.statuses.last?.itemsBad == 1 })
            #expect(await connection.status.state == .connected)
        }
    }

    /// Industrial-IoT issues 1306 and 2042: namespace indexes move when the server restarts.
    @Test func namespaceIndexesThatMoveAtARestart() async throws {
        let nodes = Mutex<[NodeId]>([])
        let server = try await ServerDouble { request in
            switch request.type {
            case ReadRequest.binaryEncodingId:
                guard let read = request.decoded(as: ReadRequest.self),
                    read.nodesToRead.first?.nodeId == WellKnownNodeId.serverNamespaceArray
                else { return .usual }
                let table = request.connection == 1 ? ["ua", "urn:wells"] : ["ua", "urn:other", "urn:wells"]
                let value = Variant.array(type: .string, elements: table.map { .string($0) }, dimensions: [])
                return .body(
                    ReadResponse(responseHeader: ServerDouble.header(request), results: [DataValue(value)]).messageBody
                )
            case CreateMonitoredItemsRequest.binaryEncodingId:
                let items = request.decoded(as: CreateMonitoredItemsRequest.self)?.itemsToCreate ?? []
                nodes.withLock { $0 += items.map(\.itemToMonitor.nodeId) }
                return .usual
            case ActivateSessionRequest.binaryEncodingId where request.connection == 2 && request.count == 1:
                return .body(ServerDouble.fault(request, .badSessionIdInvalid))
            default: return .usual
            }
        }
        let node = try NodeIdText(parsing: "nsu=urn:wells;s=Casing")
        try await ConnectionTests.with(server) {
            $0.items = [MonitoredItemSpecification(handle: 0, nodeID: node)]
        } _: { _, consumer in
            #expect(await consumer.wait { _ in nodes.withLock { $0.count == 1 } })
            await server.dropConnections()
            #expect(await consumer.wait { _ in nodes.withLock { $0.count == 2 } })
            #expect(nodes.withLock { $0 } == [NodeId(1, "Casing"), NodeId(2, "Casing")])
        }
    }

    /// Siemens answers BadFilterNotAllowed to deadbands.
    @Test func siemensRefusesDeadbands() async throws {
        let server = try await ServerDouble { request in
            guard let create = request.decoded(as: CreateMonitoredItemsRequest.self) else { return .usual }
            return .body(
                CreateMonitoredItemsResponse(
                    responseHeader: ServerDouble.header(request),
                    results: create.itemsToCreate.map {
                        let isRefused = $0.requestedParameters.filter != .null
                        return MonitoredItemCreateResult(
                            statusCode: isRefused ? .badFilterNotAllowed : .good,
                            monitoredItemId: 1
                        )
                    }
                ).messageBody
            )
        }
        try await ConnectionTests.with(server) {
            $0.items = [MonitoredItemSpecification(handle: 3, nodeID: .objects, deadband: .absolute(1))]
        } _: { _, consumer in
            #expect(await consumer.wait { $0.items[3] == .good })
            #expect(consumer.record.withLock { $0.deadbandsRefused } == [3])
        }
    }

    /// The same for percentages: the range of the tag is read; without one nothing can be filtered.
    @Test(arguments: [true, false]) func siemensRefusesDeadbandsInPercent(tellsRange: Bool) async throws {
        let property = NodeId(3, 7)
        let server = try await ServerDouble { request in
            let good = ServerDouble.header(request)
            if let create = request.decoded(as: CreateMonitoredItemsRequest.self) {
                let results = create.itemsToCreate.map {
                    $0.requestedParameters.filter == .null
                        ? MonitoredItemCreateResult(statusCode: .good, monitoredItemId: 1)
                        : MonitoredItemCreateResult(statusCode: .badDeadbandFilterInvalid)
                }
                return .body(CreateMonitoredItemsResponse(responseHeader: good, results: results).messageBody)
            }
            if request.type == TranslateBrowsePathsToNodeIdsRequest.binaryEncodingId {
                let found = BrowsePathResult(
                    statusCode: .good,
                    targets: [BrowsePathTarget(targetId: ExpandedNodeId(property), remainingPathIndex: .max)]
                )
                return .body(
                    TranslateBrowsePathsToNodeIdsResponse(
                        responseHeader: good,
                        results: [tellsRange ? found : BrowsePathResult(statusCode: .badNoMatch)]
                    ).messageBody
                )
            }
            if let read = request.decoded(as: ReadRequest.self), read.nodesToRead.first?.nodeId == property {
                let range = ExtensionObject(OPCUACodec.Range(low: -50, high: 150))
                return .body(
                    ReadResponse(responseHeader: good, results: [DataValue(.extensionObject(range))]).messageBody
                )
            }
            return Self.oneValue(request)
        }
        try await ConnectionTests.with(server) {
            $0.items = [MonitoredItemSpecification(handle: 3, nodeID: .objects, deadband: .percent(10))]
        } _: { _, consumer in
            #expect(await consumer.wait { $0.items[3] == .good && $0.values == [1] })
            #expect(
                await consumer.wait { _ in server.count(TranslateBrowsePathsToNodeIdsRequest.binaryEncodingId) == 1 }
            )
            if tellsRange {
                #expect(await consumer.wait { $0.deadbandsRefused == [3] && $0.ranges == [200] })
            } else {
                // The controller reports its state when it is done with the items.
                #expect(await consumer.wait { $0.statuses.last?.itemsActive == 1 })
                #expect(consumer.record.withLock { $0.deadbandsRefused } == [])
            }
        }
    }

    /// Siemens takes 1,000 items a subscription, says so in no limit, and refuses the rest one by one.
    @Test func siemensTakesAThousandItemsASubscription() {
        var batcher = MonitoredItemBatcherTests.batcher(2500)
        var inServer: [Int: Int] = [:]
        let end = MonitoredItemBatcherTests.run(&batcher) { batch, batcher in
            let results = batch.items.map { index -> MonitoredItemBatcher.Result in
                inServer[batch.slot, default: 0] += 1
                return inServer[batch.slot, default: 0] <= 1000
                    ? .init(status: .good, id: UInt32(index) + 1) : .init(status: .badTooManyMonitoredItems, id: 0)
            }
            _ = batcher.completed(batch, results, now: MonitoredItemBatcherTests.start)
        }
        #expect(end.ended)
        #expect(batcher.activeCount == 2500)
        #expect(batcher.learntItemsPerSubscription == 1000)
    }

    /// Beckhoff and B&R allow few publish requests.
    @Test func beckhoffAllowsOnePublishRequest() async throws {
        let waiting = Atomic(0)
        let server = try await ServerDouble { request in
            guard request.type == Self.publish else { return .usual }
            let others = waiting.add(1, ordering: .relaxed).oldValue
            if others > 0 {
                waiting.subtract(1, ordering: .relaxed)
                return .body(ServerDouble.fault(request, .badTooManyPublishRequests))
            }
            return .usual
        }
        try await ConnectionTests.with(server) { connection, consumer in
            #expect(await consumer.wait { $0.statuses.contains { $0.limits.learntPublishRequests == 1 } })
            #expect(server.connections == 1)
        }
    }

    /// Sinumerik cuts sessions at about one minute, whatever it promises.
    @Test func sinumerikCutsSessionsThatAreNotUsedForAMinute() {
        #expect(SessionStateMachineTests.active(timeout: 3_600_000).keepAliveInterval <= .seconds(20))
    }

    /// WinCC drops a connection that reads types.
    @Test func winCCDropsAConnectionThatReadsTypes() async throws {
        let touched = Mutex<Set<NodeId>>([])
        let type = NodeId(1, 3000)
        let tag = NodeId(1, "Tag")
        let server = try await ServerDouble { request in
            if let browse = request.decoded(as: BrowseRequest.self) {
                touched.withLock { $0.formUnion(browse.nodesToBrowse.map(\.nodeId)) }
                func reference(_ id: NodeId, _ nodeClass: NodeClass) -> ReferenceDescription {
                    ReferenceDescription(
                        referenceTypeId: WellKnownNodeId.organizes,
                        isForward: true,
                        nodeId: ExpandedNodeId(id),
                        browseName: QualifiedName(name: "\(id)"),
                        displayName: LocalizedText("\(id)"),
                        nodeClass: nodeClass,
                        typeDefinition: ExpandedNodeId(type)
                    )
                }
                let children = [
                    reference(tag, .variable), reference(WellKnownNodeId.typesFolder, .object),
                    reference(WellKnownNodeId.server, .object),
                ]
                return .body(
                    BrowseResponse(
                        responseHeader: ServerDouble.header(request),
                        results: browse.nodesToBrowse.map {
                            BrowseResult(references: $0.nodeId == WellKnownNodeId.rootFolder ? children : [])
                        }
                    ).messageBody
                )
            }
            if let read = request.decoded(as: ReadRequest.self), read.nodesToRead.contains(where: { $0.nodeId == tag })
            {
                touched.withLock { $0.formUnion(read.nodesToRead.map(\.nodeId)) }
                return .body(
                    ReadResponse(
                        responseHeader: ServerDouble.header(request),
                        results: read.nodesToRead.map {
                            $0.nodeId == tag && $0.attributeId == AttributeId.dataType
                                ? DataValue(.nodeId(type)) : DataValue(.null, status: .badAttributeIdInvalid)
                        }
                    ).messageBody
                )
            }
            return .usual
        }
        var configuration = ConnectionConfiguration(id: UUID(), endpointURLs: [server.url])
        configuration.connectionTimeout = 60_000
        let probe = OPCUAProbe(
            configuration: configuration,
            eventLoop: MultiThreadedEventLoopGroup.singleton.next()
        )
        _ = try await probe.connect()
        var options = BrowseOptions()
        options.start = NodeIdText(WellKnownNodeId.rootFolder)
        options.maximumDepth = 5
        let page = try await probe.browse(options)
        #expect(page.nodes.count == 3)
        #expect(page.nodes.first { $0.nodeID == tag }?.dataTypeName == "ns=1;i=3000", "by its id alone")
        #expect(touched.withLock { $0.contains(type) } == false)
        await probe.close()
        #expect(server.sessionsOpen == 0)
        await server.close()
    }

    /// A second server takes over where the first one feels ill (Part 4, 6.6.2.4.2).
    @Test func theHealthierOfTwoServersIsUsed() async throws {
        func server(_ level: UInt8) async throws -> ServerDouble {
            try await ServerDouble { request in
                if let read = request.decoded(as: ReadRequest.self),
                    read.nodesToRead.contains(where: { $0.nodeId == WellKnownNodeId.serverServiceLevel })
                {
                    return .body(
                        ReadResponse(
                            responseHeader: ServerDouble.header(request),
                            results: read.nodesToRead.map { _ in DataValue(.byte(level)) }
                        ).messageBody
                    )
                }
                return Self.oneValue(request)
            }
        }
        let ill = try await server(100)
        let well = try await server(255)
        try await ConnectionTests.with(ill) {
            $0.endpointURLs.append(well.url)
        } _: { connection, consumer in
            #expect(await consumer.wait { $0.values == [1] })
            #expect(await connection.status.endpointURL == well.url)
            #expect(ill.sessionsOpen == 0)
        }
        await well.close()
    }

    /// Accounts get locked by clients that try a wrong password again and again.
    @Test func aWrongPasswordIsSaidOnceAndTriedAtTheLongestDelayOnly() async throws {
        let server = try await ServerDouble { request in
            guard request.type == ActivateSessionRequest.binaryEncodingId else { return .usual }
            return .body(ServerDouble.fault(request, .badUserAccessDenied))
        }
        let lines = LogLines()
        var configuration = ConnectionConfiguration(id: UUID(), endpointURLs: [server.url])
        configuration.connectionTimeout = 60_000
        configuration.reconnectDelay = 10
        configuration.maximumReconnectDelay = 200
        configuration.maximumAttempts = 100
        let consumer = RecordingConsumer()
        let connection = OPCUAConnection(
            configuration: configuration,
            eventLoop: MultiThreadedEventLoopGroup.singleton.next(),
            consumer: consumer,
            logger: Logger(label: "test") { _ in lines.handler },
            jitterSeed: 1
        )
        let run = Task { await connection.run() }
        #expect(await consumer.wait { $0.statuses.last?.failedAttempts ?? 0 >= 3 })
        await connection.shutdown(keepSubscriptions: false)
        await run.value
        #expect(consumer.record.withLock { $0.errors } == [.identityRejected])
        #expect(lines.count { $0.contains("connection attempt failed") } == 1)
        // The very first delay is the longest, give or take a fifth.
        #expect(lines.count { line in (160...240).contains { line.contains("\"retry_in_ms\": \($0)") } } == 1)
        #expect(server.sessionsOpen == 0)
        await server.close()
    }
}
