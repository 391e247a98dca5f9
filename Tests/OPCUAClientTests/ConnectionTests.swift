import FoundationEssentials
import Logging
import NIOCore
import NIOPosix
import OPCUACodec
import Synchronization
import Testing

@testable import OPCUAClient

/// What no good server does, and what the connection makes of it. The real servers are met in the system tests.
@Suite("Connection against a server that misbehaves", .timeLimit(.minutes(4)))
struct ConnectionTests {
    /// Runs a connection with one tag against the server until `body` returns, then shuts it down.
    static func with(
        _ server: ServerDouble,
        timeout: Int64 = 60_000,
        consumer: RecordingConsumer = RecordingConsumer(),
        configure: (inout ConnectionConfiguration) -> Void = { _ in },
        _ body: (OPCUAConnection, RecordingConsumer) async throws -> Void
    ) async throws {
        var configuration = ConnectionConfiguration(
            id: UUID(),
            endpointURLs: [server.url],
            items: [MonitoredItemSpecification(handle: 0, nodeID: .objects)]
        )
        configuration.publishingInterval = 100
        configuration.reconnectDelay = 20
        configuration.maximumReconnectDelay = 50
        configuration.connectionTimeout = timeout
        configure(&configuration)
        let connection = OPCUAConnection(
            configuration: configuration,
            eventLoop: MultiThreadedEventLoopGroup.singleton.next(),
            consumer: consumer,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            jitterSeed: 1
        )
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await connection.run() }
            let result: Result<Void, any Error>
            do { result = .success(try await body(connection, consumer)) } catch { result = .failure(error) }
            await connection.shutdown(keepSubscriptions: false)
            try await group.waitForAll()
            try result.get()
        }
        await server.close()
    }

    static let publish = PublishRequest.binaryEncodingId
    static let republish = RepublishRequest.binaryEncodingId

    @Test func deliversInOrderAndClosesItsSession() async throws {
        let server = try await ServerDouble { request in
            guard request.type == Self.publish, request.count < 5 else { return .usual }
            return .body(ServerDouble.notification(request, UInt32(request.count) + 1))
        }
        try await Self.with(server) { _, consumer in
            #expect(await consumer.wait { $0.values.count == 5 })
            #expect(consumer.record.withLock { $0.values } == [1, 2, 3, 4, 5])
            #expect(server.sessionsOpen == 1)
        }
        #expect(server.sessionsOpen == 0)
    }

    /// Without a task in between, where the consumer need not wait.
    @Test func messagesAreCompletedAtOnce() async throws {
        let server = try await ServerDouble { request in
            guard request.type == Self.publish, request.count < 5 else { return .usual }
            return .body(ServerDouble.notification(request, UInt32(request.count) + 1))
        }
        try await Self.with(server) { _, consumer in
            #expect(await consumer.wait { $0.contexts.count == 5 })
            #expect(consumer.record.withLock { $0.atOnce } == 5)
        }
    }

    @Test func whatCannotBeCompletedAtOnceKeepsItsPlace() async throws {
        let server = try await ServerDouble { request in
            guard request.type == Self.publish, request.count < 6 else { return .usual }
            return .body(ServerDouble.notification(request, UInt32(request.count) + 1))
        }
        let consumer = RecordingConsumer()
        consumer.record.withLock { $0.reluctant = [2, 5] }
        try await Self.with(server, consumer: consumer) { _, consumer in
            #expect(await consumer.wait { $0.contexts.count == 6 })
            #expect(consumer.record.withLock { $0.values } == [1, 2, 3, 4, 5, 6])
            #expect(consumer.record.withLock { $0.contexts.map(\.sequenceNumber) } == [1, 2, 3, 4, 5, 6])
            #expect(consumer.record.withLock { (1...4).contains($0.atOnce) && $0.aborted == 0 })
        }
    }

    /// A message that was decoded, and could not be completed at once, when the run ends: the consumer is told that the rest will not
    /// come, and once only.
    @Test func whatIsNotCompletedWhenTheRunEndsIsAborted() async throws {
        let server = try await ServerDouble { _ in .usual }
        let consumer = RecordingConsumer()
        try await Self.with(server, consumer: consumer) { connection, consumer in
            #expect(await consumer.wait { $0.statuses.last?.state == .connected })
            await Self.endTheRun(
                of: connection,
                with: NotificationContext(
                    subscriptionID: 1,
                    sequenceNumber: 1,
                    publishTime: .null,
                    receivedAtUnixMicroseconds: 1,
                    isRepublished: false,
                    incarnation: 1
                )
            )
            #expect(await consumer.wait { $0.aborted > 0 })
        }
        #expect(consumer.record.withLock { $0.aborted == 1 && $0.contexts.isEmpty })
    }

    /// Before the pump has seen the message.
    private static func endTheRun(of connection: isolated OPCUAConnection, with context: NotificationContext) {
        connection.enqueue(.completion(context, ended: nil))
        connection.stopPump()
    }

    /// Publishing stops at the bound, asks for acknowledgements, and goes on when they come.
    @Test func publishingPausesUntilNotificationsAreDurable() async throws {
        let server = try await ServerDouble { request in
            guard request.type == Self.publish, request.count < 6 else { return .usual }
            return .body(ServerDouble.notification(request, UInt32(request.count) + 1))
        }
        try await Self.with(server, configure: { $0.maximumUnacknowledged = 3 }) { connection, consumer in
            #expect(await consumer.wait { $0.acknowledgementsAsked > 0 })
            // Two more were asked for before the third came.
            #expect(await consumer.wait { (3...4).contains($0.contexts.count) })
            #expect(server.count(Self.publish) <= 4)
            for number in 1... {
                guard await consumer.wait(until: { $0.contexts.count >= number }) else { break }
                let context = consumer.record.withLock { $0.contexts[number - 1] }
                await connection.acknowledge(context)
                if number == 6 { break }
            }
            #expect(consumer.record.withLock { $0.values } == [1, 2, 3, 4, 5, 6])
        }
    }

    /// The server is silent for long: what it holds for us is acknowledged with the request after its keep-alive.
    @Test func aKeepAliveAsksForAcknowledgements() async throws {
        let server = try await ServerDouble { request in
            guard request.type == Self.publish, request.count < 2 else { return .usual }
            if request.count == 0 { return .body(ServerDouble.notification(request, 1)) }
            return .body(
                PublishResponse(
                    responseHeader: ServerDouble.header(request),
                    subscriptionId: 1,
                    notificationMessage: NotificationMessage(sequenceNumber: 2)
                ).messageBody
            )
        }
        try await Self.with(server) { _, consumer in
            #expect(await consumer.wait { $0.acknowledgementsAsked == 1 })
            #expect(consumer.record.withLock { $0.values } == [1])
        }
    }

    /// A large message's memory serves the next one, once its values are taken.
    @Test func theMemoryOfALargeMessageIsKept() async throws {
        while MessagePool.shared.count > 0 { _ = MessagePool.shared.take(capacity: 0) }
        let server = try await ServerDouble { request in
            guard request.type == Self.publish, request.count < 3 else { return .usual }
            return .body(ServerDouble.notification(request, UInt32(request.count) + 1, count: 10_000))
        }
        try await Self.with(server) { _, consumer in
            #expect(await consumer.wait { $0.contexts.count == 3 })
            #expect(consumer.record.withLock { $0.values.count } == 30_000)
            let deadline = ContinuousClock.now + .seconds(10)
            while MessagePool.shared.count == 0, .now < deadline { try await Task.sleep(for: .milliseconds(5)) }
            #expect(MessagePool.shared.count > 0)
        }
    }

    @Test(
        arguments: [
            (Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8), OPCUAClientError.Code.protocolViolation),
            ([0, 0, 0, 0, 0, 0, 0, 0], .protocolViolation),
            (Array("ACKF".utf8) + [0xFF, 0xFF, 0xFF, 0x7F], .protocolViolation),
            (Array("ACKF".utf8) + [8, 0, 0, 0], .protocolViolation),
            (Array("MSGF".utf8) + [8, 0, 0, 0], .protocolViolation),
            (Array("ERRF".utf8) + [16, 0, 0, 0, 0, 0, 0x0F, 0x80, 0xFF, 0xFF, 0xFF, 0xFF], .serverError),
        ] as [([UInt8], OPCUAClientError.Code)]
    )
    func namesWhatIsNotOPCUA(bytes: [UInt8], code: OPCUAClientError.Code) async throws {
        let server = try await ServerDouble(raw: bytes)
        try await Self.with(server) { _, consumer in
            #expect(await consumer.wait { !$0.errors.isEmpty })
            #expect(consumer.record.withLock { $0.errors.first } == code)
        }
    }

    @Test func aServerThatNeverAnswersTimesOut() async throws {
        let server = try await ServerDouble { _ in .body(nil) }
        try await Self.with(server, timeout: 200) { _, consumer in
            #expect(await consumer.wait { $0.errors.contains(.timeout) })
        }
    }

    @Test(arguments: ["token", "sequence", "type"])
    func aBrokenChunkClosesTheConnectionWithAName(what: String) async throws {
        let server = try await ServerDouble { request in
            guard request.type == Self.publish, request.count == 0 else { return .usual }
            let body = ServerDouble.notification(request, 1)
            switch what {
            case "token": return .bytes(ServerDouble.chunk(body, requestID: 1, sequence: 1000, token: 99))
            case "sequence": return .bytes(ServerDouble.chunk(body, requestID: 1, sequence: 1000))
            default: return .bytes(Array("XXXF".utf8) + [8, 0, 0, 0])
            }
        }
        try await Self.with(server) { _, consumer in
            #expect(await consumer.wait { $0.errors.contains(.protocolViolation) })
            #expect(
                await consumer.wait { $0.statuses.last?.state == .connected && $0.events.contains(.reactivated) }
            )
        }
    }

    /// gopcua issue 895 in its other form: the session is well, the subscriptions are not.
    @Test func forgottenSubscriptionsAreMadeAnewInTheSameSession() async throws {
        let subscriptions = Atomic(0)
        let answered = Atomic(0)
        let server = try await ServerDouble { request in
            if request.type == CreateSubscriptionRequest.binaryEncodingId { subscriptions.add(1, ordering: .relaxed) }
            guard request.type == Self.publish else { return .usual }
            let subscription = subscriptions.load(ordering: .relaxed)
            if answered.load(ordering: .relaxed) == subscription {
                // The second is forgotten by nobody.
                return subscription == 1 ? .body(ServerDouble.fault(request, .badNoSubscription)) : .usual
            }
            answered.store(subscription, ordering: .relaxed)
            return .body(ServerDouble.notification(request, 1, subscription: UInt32(subscription)))
        }
        try await Self.with(server) { _, consumer in
            #expect(await consumer.wait { $0.values.count == 2 })
            #expect(server.count(CreateSubscriptionRequest.binaryEncodingId) == 2)
            #expect(server.count(CreateSessionRequest.binaryEncodingId) == 1)
            #expect(server.connections == 1)
            let events = consumer.record.withLock { $0.events }
            #expect(events.count == 1)
            guard case .recreated(_, let handles)? = events.first else {
                Issue.record("\(events)")
                return
            }
            #expect(handles == [0])
        }
    }

    @Test func missingNotificationsAreRepublishedOrReported() async throws {
        let server = try await ServerDouble { request in
            switch request.type {
            case Self.publish where request.count == 0: return .body(ServerDouble.notification(request, 1))
            case Self.publish where request.count == 1: return .body(ServerDouble.notification(request, 5))
            case Self.republish:
                if request.count == 1 { return .body(ServerDouble.fault(request, .badMessageNotAvailable)) }
                return .body(
                    RepublishResponse(
                        responseHeader: ServerDouble.header(request),
                        notificationMessage: ServerDouble.message(UInt32(request.count) + 2)
                    ).messageBody
                )
            default: return .usual
            }
        }
        try await Self.with(server) { _, consumer in
            #expect(await consumer.wait { $0.values.contains(5) })
            #expect(consumer.record.withLock { $0.values } == [1, 2, 4, 5])
            #expect(
                consumer.record.withLock { $0.events } == [
                    .notificationsLost(subscriptionID: 1, sequenceNumbers: 3...3, handles: [0])
                ]
            )
            // Told where it is: the hole ends with the next value.
            #expect(consumer.record.withLock { $0.valuesBefore } == [2])
            #expect(consumer.record.withLock { $0.contexts.map(\.isRepublished) } == [false, true, true, false])
        }
    }

    @Test func aNotificationThatCannotBeDecodedIsGivenUpTheSecondTime() async throws {
        let poison = PublishResponse(
            subscriptionId: 1,
            notificationMessage: NotificationMessage(
                sequenceNumber: 1,
                notificationData: [
                    ExtensionObject(
                        typeId: DataChangeNotification.binaryEncodingId,
                        body: .binary([255, 255, 255, 127])
                    )
                ]
            )
        )
        let server = try await ServerDouble { request in
            switch request.type {
            case Self.publish where request.connection <= 2 && request.count % 2 == 0: return .body(poison.messageBody)
            case Self.publish where request.connection == 3: return .body(ServerDouble.notification(request, 2))
            case Self.republish: return .body(ServerDouble.fault(request, .badMessageNotAvailable))
            default: return .usual
            }
        }
        try await Self.with(server) { _, consumer in
            #expect(await consumer.wait { $0.values.contains(2) })
            #expect(consumer.record.withLock { $0.aborted } == 2)
            // It came before the item was confirmed: no handle is concerned.
            let lost = consumer.record.withLock { record in
                record.events.contains {
                    if case .notificationsLost(1, 1...1, _) = $0 { true } else { false }
                }
            }
            #expect(lost)
        }
    }

    /// A restart of the process: the server still holds the subscription, and what was not acknowledged.
    @Test func aRestoredSubscriptionIsTransferredAndGoesOn() async throws {
        let deleted = Mutex<[UInt32]>([])
        let server = try await ServerDouble { request in
            let header = ServerDouble.header(request)
            switch request.type {
            case TransferSubscriptionsRequest.binaryEncodingId:
                let result = TransferResult(statusCode: .good, availableSequenceNumbers: [4, 5, 6])
                return .body(TransferSubscriptionsResponse(responseHeader: header, results: [result]).messageBody)
            case Self.republish:
                guard let number = request.decoded(as: RepublishRequest.self)?.retransmitSequenceNumber, number <= 6
                else { return .body(ServerDouble.fault(request, .badMessageNotAvailable)) }
                return .body(
                    RepublishResponse(
                        responseHeader: header,
                        notificationMessage: ServerDouble.message(number)
                    ).messageBody
                )
            case Self.publish where request.count == 0:
                return .body(ServerDouble.notification(request, 7, subscription: 33))
            case CallRequest.binaryEncodingId:
                let lists = [[801, 802], [0, 1]].map { list in
                    Variant.array(type: .uint32, elements: list.map { .uint32($0) }, dimensions: [])
                }
                let result = CallMethodResult(statusCode: .good, outputArguments: lists)
                return .body(CallResponse(responseHeader: header, results: [result]).messageBody)
            case DeleteMonitoredItemsRequest.binaryEncodingId:
                let ids = request.decoded(as: DeleteMonitoredItemsRequest.self)?.monitoredItemIds ?? []
                deleted.withLock { $0 += ids }
                return .body(DeleteMonitoredItemsResponse(responseHeader: header, results: [.good]).messageBody)
            default: return .usual
            }
        }
        let items = [0, 1].map { MonitoredItemSpecification(handle: $0, nodeID: .objects) }
        try await Self.with(server) {
            $0.items = items
            $0.restored = [
                RestoredSubscription(
                    subscriptionID: 33,
                    publishingInterval: 100,
                    maximumKeepAliveCount: 100,
                    lifetimeCount: 1000,
                    handles: [0, 1],
                    lastDurableSequenceNumber: 4
                )
            ]
        } _: { connection, consumer in
            #expect(await consumer.wait { $0.values.count == 3 })
            #expect(consumer.record.withLock { $0.values } == [5, 6, 7])
            #expect(consumer.record.withLock { $0.events } == [.transferred])
            #expect(consumer.record.withLock { $0.subscriptions.last?.first?.handles } == [0, 1])
            #expect(server.count(CreateMonitoredItemsRequest.binaryEncodingId) == 0)
            await connection.update(items: [items[0]])
            #expect(await consumer.wait { _ in deleted.withLock { $0 == [802] } })
        }
    }

    @Test func shutdownDoesNotWaitForAServerThatIsSilent() async throws {
        let server = try await ServerDouble { request in
            request.type == CreateSessionRequest.binaryEncodingId ? .body(nil) : .usual
        }
        try await Self.with(server, timeout: 1_000_000) { _, consumer in
            #expect(await consumer.wait { _ in server.count(CreateSessionRequest.binaryEncodingId) == 1 })
        }
    }
}
