import OPCUACodec
import Testing

@testable import scada_simulator

/// A client without a socket: keeps what the server answers.
final class TestPeer: Peer {
    var maximumResponseSize = 0
    private(set) var responses: [UInt32: [UInt8]] = [:]

    private(set) var isCut = false

    func respond(_ requestID: UInt32, _ body: [UInt8]) { if !isCut { responses[requestID] = body } }
    func cut() { isCut = true }
    func take(_ requestID: UInt32) -> [UInt8]? { responses.removeValue(forKey: requestID) }
}

/// What a service answered that is not its response.
struct Refused: Error, Equatable {
    var status: StatusCode
}

/// Calls a ``FieldServer`` as a client does, on a clock that the test moves.
final class TestClient {
    let server: FieldServer
    var peer = TestPeer()
    var token = NodeId.null
    private var nextRequestID: UInt32 = 1

    init(_ server: FieldServer) { self.server = server }

    static let epoch: Int64 = 133_000_000_000_000_000

    static func server(
        wells: Int = 2,
        rate: Double = 20,
        counters: Bool = true,
        phase: Double? = nil,
        limits: ServerLimits = ServerLimits()
    ) -> FieldServer {
        FieldServer(
            FieldServer.Configuration(
                layout: FieldLayout(seed: 1, wells: 0..<wells, counters: counters),
                rate: rate,
                endpointURL: "opc.tcp://localhost:4840",
                applicationURI: "urn:test",
                epoch: epoch,
                publishingPhase: phase
            ),
            limits: limits
        )
    }

    /// Moves the clock in steps of the server's tick.
    func advance(milliseconds: Int64) {
        let end = server.now + milliseconds * 1_000_000
        while server.now < end {
            server.now = min(server.now + 50_000_000, end)
            server.tick()
        }
    }

    /// Sends a request; the answer may come later.
    func send<Request: ServiceRequest>(_ request: Request, timeoutHint: UInt32 = 0) -> UInt32 {
        var request = request
        let id = nextRequestID
        nextRequestID += 1
        request.requestHeader.authenticationToken = token
        request.requestHeader.requestHandle = id
        request.requestHeader.timeoutHint = timeoutHint
        request.messageBody.withUnsafeBytes { server.handle($0, requestID: id, from: peer) }
        return id
    }

    /// The answer to a request; nil while there is none.
    func answer<Response: ServiceResponse>(_ id: UInt32, as type: Response.Type) throws -> Response? {
        guard let body = peer.take(id) else { return nil }
        return try BinaryDecoder.withBytes(body) { (decoder) throws in
            let type = try NodeId(from: &decoder)
            if type == ServiceFault.binaryEncodingId {
                throw Refused(status: try ServiceFault(from: &decoder).responseHeader.serviceResult)
            }
            #expect(type == Response.binaryEncodingId)
            let response = try Response(from: &decoder)
            #expect(response.responseHeader.requestHandle == id)
            #expect(decoder.bytesLeft == 0)
            return response
        }
    }

    func call<Request: ServiceRequest>(_ request: Request) throws -> Request.Response {
        let id = send(request)
        return try #require(try answer(id, as: Request.Response.self))
    }

    func status(_ request: some ServiceRequest) -> StatusCode? {
        do {
            _ = try call(request)
            return .good
        } catch let refused as Refused {
            return refused.status
        } catch {
            return nil
        }
    }

    func connect(user: String? = nil) throws {
        let created = try call(CreateSessionRequest(sessionName: "test", requestedSessionTimeout: 60_000))
        token = created.authenticationToken
        let identity = user.map { ExtensionObject(UserNameIdentityToken(userName: $0)) } ?? .null
        _ = try call(ActivateSessionRequest(userIdentityToken: identity))
    }

    func subscribe(
        interval: Double = 100,
        lifetime: UInt32 = 30,
        keepAlive: UInt32 = 10,
        maximum: UInt32 = 0
    ) throws -> UInt32 {
        try call(
            CreateSubscriptionRequest(
                requestedPublishingInterval: interval,
                requestedLifetimeCount: lifetime,
                requestedMaxKeepAliveCount: keepAlive,
                maxNotificationsPerPublish: maximum,
                publishingEnabled: true
            )
        ).subscriptionId
    }

    static let tag = "Well-00001.CasingPressure"

    func monitor(
        _ subscription: UInt32,
        _ tags: [String] = [tag],
        queue: UInt32 = 10,
        discardOldest: Bool = true,
        sampling: Double = 0,
        filter: ExtensionObject = .null,
        timestamps: TimestampsToReturn = .both
    ) throws -> [MonitoredItemCreateResult] {
        let items = tags.enumerated().map { index, tag in
            MonitoredItemCreateRequest(
                itemToMonitor: ReadValueId(nodeId: NodeId(2, tag), attributeId: AttributeId.value),
                monitoringMode: .reporting,
                requestedParameters: MonitoringParameters(
                    clientHandle: UInt32(100 + index),
                    samplingInterval: sampling,
                    filter: filter,
                    queueSize: queue,
                    discardOldest: discardOldest
                )
            )
        }
        return try call(
            CreateMonitoredItemsRequest(
                subscriptionId: subscription,
                timestampsToReturn: timestamps,
                itemsToCreate: items
            )
        ).results
    }

    func publish(acknowledging: [(subscription: UInt32, number: UInt32)] = []) -> UInt32 {
        send(
            PublishRequest(
                subscriptionAcknowledgements: acknowledging.map {
                    SubscriptionAcknowledgement(subscriptionId: $0.subscription, sequenceNumber: $0.number)
                }
            )
        )
    }

    func published(_ id: UInt32) throws -> PublishResponse? { try answer(id, as: PublishResponse.self) }
}

extension NotificationMessage {
    /// The notifications of its one DataChangeNotification.
    var items: [MonitoredItemNotification] {
        get throws {
            try notificationData.first?.decoded(as: DataChangeNotification.self)?.monitoredItems ?? []
        }
    }

    var doubles: [Double] {
        get throws {
            try items.map { item in
                guard case .double(let value) = item.value.value else { return .nan }
                return value
            }
        }
    }

    var statusChange: StatusCode? {
        get throws { try notificationData.first?.decoded(as: StatusChangeNotification.self)?.status }
    }
}
