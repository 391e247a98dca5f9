import Logging
import NIOCore
import NIOPosix
import OPCUACodec
import OPCUASecurity
import Synchronization

@testable import OPCUAClient

/// A server in this process for what a good server never does. Speaks security policy None; a script decides what
/// each request is answered with.
final class ServerDouble: Sendable {
    enum Answer {
        case bytes([UInt8])
        /// The body of a message; nil is never answered.
        case body([UInt8]?)
        case close
        /// What a good server with one counter would say.
        case usual
    }

    /// A request as the script sees it.
    struct Request {
        var connection: Int
        var type: NodeId
        var header: RequestHeader
        var body: [UInt8]
        /// How many requests of this type came before, over all connections.
        var count: Int

        /// The request itself; nil when it is another one.
        func decoded<T: ServiceRequest>(as type: T.Type) -> T? {
            guard self.type == T.binaryEncodingId else { return nil }
            return try? BinaryDecoder.withBytes(body) { decoder throws(DecodingError) in
                _ = try NodeId(from: &decoder)
                return try T(from: &decoder)
            }
        }
    }

    typealias Script = @Sendable (Request) -> Answer

    let channel: any Channel

    struct State {
        var connections = 0
        var counts: [NodeId: Int] = [:]
        var sessionsOpen = 0
        var hello: [UInt8] = []
        var channels: [any Channel] = []
    }

    var port: Int { channel.localAddress?.port ?? 0 }
    var url: String { "opc.tcp://127.0.0.1:\(port)/double" }

    /// - Parameters:
    ///   - raw: answers to bytes of a new connection instead of speaking OPC UA.
    ///   - secured: offers secured endpoints too.
    init(raw: [UInt8]? = nil, secured: SecuredSide? = nil, script: @escaping Script = { _ in .usual }) async throws {
        let state = SharedState()
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        Handler(state: state, raw: raw, secured: secured, script: script)
                    )
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        shared = state
        self.script = script
    }

    private let shared: SharedState
    private let script: Script

    /// Dials a client that listens (reverse connect) and says who it is; then it serves as ever.
    /// - Returns: the connection.
    @discardableResult
    func dial(port: Int, endpointURL: String) async throws -> any Channel {
        let shared = shared
        let script = script
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        Handler(state: shared, raw: nil, secured: nil, script: script)
                    )
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
        try await channel.writeAndFlush(
            ByteBuffer(bytes: Self.reverseHello(serverURI: "urn:double", endpointURL: endpointURL))
        )
        return channel
    }

    static func reverseHello(serverURI: String, endpointURL: String) -> [UInt8] {
        var encoder = BinaryEncoder()
        encoder.bytes += Array("RHEF".utf8)
        encoder.integer(UInt32(16 + serverURI.utf8.count + endpointURL.utf8.count))
        encoder.string(serverURI)
        encoder.string(endpointURL)
        return encoder.bytes
    }

    func count(_ type: NodeId) -> Int { shared.state.withLock { $0.counts[type] ?? 0 } }
    var connections: Int { shared.state.withLock { $0.connections } }
    /// The last Hello message.
    var hello: [UInt8] { shared.state.withLock { $0.hello } }
    var sessionsOpen: Int { shared.state.withLock { $0.sessionsOpen } }

    /// Cuts every TCP connection.
    func dropConnections() async {
        let channels = shared.state.withLock { state in
            defer { state.channels = [] }
            return state.channels
        }
        for channel in channels { try? await channel.close() }
    }

    func close() async { try? await channel.close() }

    final class SharedState: Sendable { let state = Mutex(State()) }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        let state: SharedState
        let raw: [UInt8]?
        let script: Script
        var connection = 0
        var received = ByteBuffer()
        var sequence: UInt32 = 0
        let secured: SecuredSide?
        /// Of a channel under a policy other than None.
        var codec: SecureChannelCodec?

        init(state: SharedState, raw: [UInt8]?, secured: SecuredSide?, script: @escaping Script) {
            self.state = state
            self.raw = raw
            self.secured = secured
            self.script = script
        }

        func channelActive(context: ChannelHandlerContext) {
            connection = state.state.withLock { state in
                state.connections += 1
                state.channels.append(context.channel)
                return state.connections
            }
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            var bytes = unwrapInboundIn(data)
            if let raw { return send(raw, context) }
            received.writeBuffer(&bytes)
            while let size = received.getInteger(at: received.readerIndex + 4, endianness: .little, as: UInt32.self),
                let chunk = received.readBytes(length: Int(size))
            {
                handle(chunk, context)
            }
        }

        private func send(_ bytes: [UInt8], _ context: ChannelHandlerContext) {
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
        }

        private func handle(_ chunk: [UInt8], _ context: ChannelHandlerContext) {
            switch String(decoding: chunk.prefix(3), as: UTF8.self) {
            case "HEL":
                state.state.withLock { $0.hello = chunk }
                send(ServerDouble.acknowledge(), context)
            case "OPN", "MSG":
                let isOpen = chunk[0] == UInt8(ascii: "O")
                if isOpen, codec == nil, let secured { codec = secured.codec(for: chunk) }
                if codec != nil { return secure(chunk, isOpen, context) }
                // Policy None: 12 + 4 + 47 + 4 + 4 bytes before the sequence header, 16 in other messages.
                let header = isOpen ? 71 : 16
                let requestID = chunk[header + 4..<header + 8].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
                answer(Array(chunk[(header + 8)...]), requestID, isOpen, context)
            default: context.close(promise: nil)
            }
        }

        private func answer(_ body: [UInt8], _ id: UInt32, _ isOpen: Bool, _ context: ChannelHandlerContext) {
            let parsed = try? BinaryDecoder.withBytes(body) { decoder throws(DecodingError) in
                (try NodeId(from: &decoder), try RequestHeader(from: &decoder))
            }
            guard let (type, header) = parsed else {
                context.close(promise: nil)
                return
            }
            let count = state.state.withLock { state in
                state.counts[type, default: 0] += 1
                return state.counts[type, default: 0] - 1
            }
            let request = Request(connection: connection, type: type, header: header, body: body, count: count)
            switch script(request) {
            case .bytes(let bytes): send(bytes, context)
            case .close: context.close(promise: nil)
            case .body(let body?): reply(body, id, isOpen, context)
            case .body(nil): break
            case .usual:
                if let body = secured?.answer(request) ?? ServerDouble.usual(request, state) {
                    reply(body, id, isOpen, context)
                }
            }
        }

        /// A chunk of a secured channel.
        private func secure(_ chunk: [UInt8], _ isOpen: Bool, _ context: ChannelHandlerContext) {
            var chunk = chunk
            let decoded = chunk.withUnsafeMutableBytes { try? codec?.decode($0) }
            guard let decoded else {
                context.close(promise: nil)
                return
            }
            let body = Array(chunk[decoded.body])
            guard isOpen else { return answer(body, decoded.requestID, false, context) }
            guard let opened = codec.flatMap({ secured?.open(body, $0) }) else {
                context.close(promise: nil)
                return
            }
            codec = opened.codec
            reply(opened.response, decoded.requestID, true, context)
            codec = opened.installed(codec)
        }

        private func reply(_ body: [UInt8], _ id: UInt32, _ isOpen: Bool, _ context: ChannelHandlerContext) {
            if codec != nil {
                var bytes: [UInt8] = []
                body.withUnsafeBytes {
                    try? codec?.encode(
                        isOpen ? .openSecureChannel : .message,
                        requestID: id,
                        body: $0,
                        limits: ChunkLimits(),
                        into: &bytes
                    )
                }
                return send(bytes, context)
            }
            guard isOpen else {
                return send(ServerDouble.chunks(body, requestID: id, sequence: &sequence), context)
            }
            sequence += 1
            send(ServerDouble.chunk(body, requestID: id, sequence: sequence, isOpen: true), context)
        }
    }

    // MARK: Bytes

    static func acknowledge() -> [UInt8] {
        var encoder = BinaryEncoder()
        encoder.bytes += Array("ACKF".utf8)
        for number in [28, 0, 65_535, 65_535, 0, 0] as [UInt32] { encoder.integer(number) }
        return encoder.bytes
    }

    static func chunk(
        _ body: [UInt8],
        requestID: UInt32,
        sequence: UInt32,
        isOpen: Bool = false,
        token: UInt32 = 1
    ) -> [UInt8] {
        var encoder = BinaryEncoder()
        encoder.bytes += Array((isOpen ? "OPNF" : "MSGF").utf8)
        encoder.integer(UInt32(body.count + (isOpen ? 79 : 24)))
        encoder.integer(UInt32(1))
        if isOpen {
            encoder.string(SecurityPolicy.none.uri)
            encoder.byteString(nil)
            encoder.byteString(nil)
        } else {
            encoder.integer(token)
        }
        encoder.integer(sequence)
        encoder.integer(requestID)
        encoder.bytes += body
        return encoder.bytes
    }

    /// A message in as many chunks as it takes.
    /// - Parameters:
    ///   - size: most bytes of the body in one.
    ///   - sequence: of the last chunk sent.
    static func chunks(
        _ body: [UInt8],
        of size: Int = 60_000,
        requestID: UInt32,
        sequence: inout UInt32
    ) -> [UInt8] {
        var bytes: [UInt8] = []
        for start in stride(from: 0, to: body.count, by: size) {
            sequence += 1
            let end = min(start + size, body.count)
            var chunk = chunk(Array(body[start..<end]), requestID: requestID, sequence: sequence)
            if end < body.count { chunk[3] = UInt8(ascii: "C") }
            bytes += chunk
        }
        return bytes
    }

    static func fault(_ request: Request, _ status: StatusCode) -> [UInt8] {
        ServiceFault(responseHeader: header(request, status)).messageBody
    }

    static func header(_ request: Request, _ status: StatusCode = .good) -> ResponseHeader {
        ResponseHeader(requestHandle: request.header.requestHandle, serviceResult: status)
    }

    /// A notification with one value of handle 0.
    static func notification(
        _ request: Request,
        _ number: UInt32,
        subscription: UInt32 = 1,
        count: Int = 1
    ) -> [UInt8] {
        PublishResponse(
            responseHeader: header(request),
            subscriptionId: subscription,
            notificationMessage: message(number, count: count)
        ).messageBody
    }

    /// - Parameter count: how often it has its one value.
    static func message(_ number: UInt32, count: Int = 1) -> NotificationMessage {
        let item = MonitoredItemNotification(clientHandle: 0, value: DataValue(.double(Double(number))))
        return NotificationMessage(
            sequenceNumber: number,
            notificationData: [
                ExtensionObject(DataChangeNotification(monitoredItems: Array(repeating: item, count: count)))
            ]
        )
    }

    static func usual(_ request: Request, _ state: SharedState) -> [UInt8]? {
        let good = header(request)
        switch request.type {
        case OpenSecureChannelRequest.binaryEncodingId:
            return OpenSecureChannelResponse(
                responseHeader: good,
                securityToken: ChannelSecurityToken(channelId: 1, tokenId: 1, revisedLifetime: 3_600_000)
            ).messageBody
        case GetEndpointsRequest.binaryEncodingId:
            return GetEndpointsResponse(
                responseHeader: good,
                endpoints: [
                    EndpointDescription(
                        securityMode: .none,
                        securityPolicyUri: SecurityPolicy.none.uri,
                        userIdentityTokens: [UserTokenPolicy(policyId: "a", tokenType: .anonymous)]
                    )
                ]
            ).messageBody
        case CreateSessionRequest.binaryEncodingId:
            state.state.withLock { $0.sessionsOpen += 1 }
            return CreateSessionResponse(
                responseHeader: good,
                sessionId: NodeId(1, 1),
                authenticationToken: NodeId(1, 2),
                revisedSessionTimeout: 60_000
            ).messageBody
        case ActivateSessionRequest.binaryEncodingId: return ActivateSessionResponse(responseHeader: good).messageBody
        case CloseSessionRequest.binaryEncodingId:
            state.state.withLock { $0.sessionsOpen -= 1 }
            return CloseSessionResponse(responseHeader: good).messageBody
        case ReadRequest.binaryEncodingId:
            guard let read = request.decoded(as: ReadRequest.self) else { return nil }
            return ReadResponse(
                responseHeader: good,
                results: read.nodesToRead.map {
                    $0.nodeId == WellKnownNodeId.serverNamespaceArray
                        ? DataValue(
                            .array(type: .string, elements: [.string("http://opcfoundation.org/UA/")], dimensions: [])
                        )
                        : DataValue(.null, status: .badNodeIdUnknown)
                }
            ).messageBody
        case CreateSubscriptionRequest.binaryEncodingId:
            return CreateSubscriptionResponse(
                responseHeader: good,
                subscriptionId: UInt32(request.count) + 1,
                revisedPublishingInterval: 100,
                revisedLifetimeCount: 10_000,
                revisedMaxKeepAliveCount: 1000
            ).messageBody
        case CreateMonitoredItemsRequest.binaryEncodingId:
            return CreateMonitoredItemsResponse(
                responseHeader: good,
                results: [MonitoredItemCreateResult(statusCode: .good, monitoredItemId: 1)]
            ).messageBody
        case DeleteSubscriptionsRequest.binaryEncodingId:
            return DeleteSubscriptionsResponse(responseHeader: good, results: [.good]).messageBody
        case PublishRequest.binaryEncodingId: return nil
        default: return fault(request, .badServiceUnsupported)
        }
    }
}
