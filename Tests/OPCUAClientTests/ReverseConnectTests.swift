import FoundationEssentials
import Logging
import NIOCore
import NIOPosix
import OPCUACodec
import Synchronization
import Testing

@testable import OPCUAClient

/// Reverse connect, the client's side (Part 6, 7.1.2.6).
@Suite("Reverse connect", .timeLimit(.minutes(4)))
struct ReverseConnectTests {
    static let url = "opc.tcp://Plc-7:4841/plant"

    static func endpoint(_ text: String) throws -> ReverseEndpoint { ReverseEndpoint(try EndpointURL(text)) }

    // MARK: Words

    @Test(arguments: [
        ("opc.tcp://plc-7:4841/plant", true), ("OPC.TCP://PLC-7:4841/plant", true),
        ("opc.tcp://plc-7:4841/Plant", false),
        ("opc.tcp://plc-7/plant", false), ("opc.tcp://plc-8:4841/plant", false), ("opc.tcp://plc-7:4841", false),
    ])
    func matchesHostInAnyCasePortAndPath(text: String, matches: Bool) throws {
        let isSame = try Self.endpoint("reverse+" + Self.url) == Self.endpoint(text)
        #expect(isSame == matches)
    }

    @Test func aSlashAloneIsNoPath() throws {
        #expect(try Self.endpoint("opc.tcp://a") == Self.endpoint("opc.tcp://a:4840/"))
    }

    @Test func theServerIsToldItsOwnURL() throws {
        let url = try EndpointURL("Reverse+opc.tcp://a:1/x")
        #expect(url.isReverse && url.serverURL == "opc.tcp://a:1/x" && url.host == "a" && url.port == 1)
        #expect(url.description == "Reverse+opc.tcp://a:1/x")
        #expect(EndpointURL.isReverse("opc.tcp://a") == false)
        #expect(throws: OPCUAClientError.self) { try EndpointURL("reverse+reverse+opc.tcp://a") }
    }

    @Test func decodesAReverseHello() throws {
        let message = ServerDouble.reverseHello(serverURI: "urn:a", endpointURL: Self.url)
        #expect(try ReverseHello(message: message) == ReverseHello(serverURI: "urn:a", endpointURL: Self.url))
    }

    @Test(arguments: [(4096, true), (4097, false)])
    func stringsAreBounded(length: Int, fits: Bool) throws {
        let long = String(repeating: "x", count: length)
        for message in [
            ServerDouble.reverseHello(serverURI: long, endpointURL: "a"),
            ServerDouble.reverseHello(serverURI: "a", endpointURL: long),
        ] {
            let decoded = try? ReverseHello(message: message)
            #expect((decoded != nil) == fits)
        }
        #expect(throws: ReverseRefusal.self) { try ReverseHello.size(type: 0x4645_4852, announced: 8209) }
        #expect(throws: ReverseRefusal.self) { try ReverseHello.size(type: 0x4645_4852, announced: 15) }
        #expect(throws: ReverseRefusal.self) { try ReverseHello.size(type: 0x464C_4548, announced: 40) }
    }

    // MARK: Book

    @Test func aSocketWaitsForTheConnectionItIsMeantFor() throws {
        let book = Book()
        let endpoint = try Self.endpoint(Self.url)
        book.expect(endpoint)
        #expect(book.accepted(1))
        #expect(book.identified(1, as: endpoint) == Outcome(.wait, nil))
        #expect(book.claim(9, endpoint) == 1)
        #expect(book.claim(10, endpoint) == nil)
        #expect(book.accepted(2))
        #expect(book.identified(2, as: endpoint) == Outcome(.hand(to: 10), nil))
        #expect(book.socketCount == 0)
    }

    @Test func aSocketForNobodyIsRefused() throws {
        let book = Book()
        let endpoint = try Self.endpoint(Self.url)
        #expect(book.accepted(1))
        #expect(book.identified(1, as: endpoint) == Outcome(.refuse(.badTcpEndpointUrlInvalid), nil))
        #expect(book.claim(5, endpoint) == nil)
        book.ended(claim: 5, endpoint)
        #expect(book.accepted(2))
        #expect(
            book.identified(2, as: endpoint) == Outcome(.refuse(.badTcpEndpointUrlInvalid), nil),
            "nobody waits any more"
        )
        book.expect(endpoint)
        book.expect(endpoint)
        #expect(book.unexpect(endpoint) == [])
        #expect(book.accepted(3))
        #expect(book.identified(3, as: endpoint) == Outcome(.wait, nil))
        #expect(book.unexpect(endpoint) == [3])
        #expect(book.socketCount == 0)
    }

    @Test func waitingSocketsAreBounded() throws {
        let book = Book()
        let endpoint = try Self.endpoint(Self.url)
        book.expect(endpoint)
        let most = UInt64(ReverseConnectBook.maximumPerEndpoint)
        for id in 1...most {
            #expect(book.accepted(id))
            #expect(book.identified(id, as: endpoint) == Outcome(.wait, nil))
        }
        #expect(book.accepted(100))
        #expect(book.identified(100, as: endpoint) == Outcome(.wait, 1), "the oldest goes")
        book.closed(100)
        #expect(book.claim(1, endpoint) == most)
        for id in 1000..<1000 + UInt64(ReverseConnectBook.maximumSockets - book.socketCount) {
            #expect(book.accepted(id))
        }
        #expect(!book.accepted(5000))
        book.closed(1000)
        #expect(book.accepted(5000))
    }

    // MARK: Sockets

    /// Runs a connection that waits for the server, and a listener; `body` gets the port to dial.
    static func with(
        _ server: ServerDouble,
        _ body: (Int, OPCUAConnection, RecordingConsumer, LogLines) async throws -> Void
    ) async throws {
        let lines = LogLines()
        let listener = ReverseListener(
            eventLoop: MultiThreadedEventLoopGroup.singleton.next(),
            logger: Logger(label: "test") { _ in lines.handler }
        )
        let port = try await listener.start(host: "127.0.0.1", port: 0)
        var configuration = ConnectionConfiguration(
            id: UUID(),
            endpointURLs: ["reverse+" + Self.url],
            items: [MonitoredItemSpecification(handle: 0, nodeID: .objects)]
        )
        configuration.publishingInterval = 100
        configuration.reconnectDelay = 20
        configuration.maximumReconnectDelay = 50
        configuration.connectionTimeout = 60_000
        let consumer = RecordingConsumer()
        let connection = OPCUAConnection(
            configuration: configuration,
            eventLoop: listener.eventLoop,
            consumer: consumer,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            reverse: listener,
            jitterSeed: 1
        )
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await connection.run() }
            let result: Result<Void, any Error>
            do { result = .success(try await body(port, connection, consumer, lines)) } catch {
                result = .failure(error)
            }
            await connection.shutdown(keepSubscriptions: false)
            try await group.waitForAll()
            try result.get()
        }
        await listener.stop()
        await server.close()
    }

    @Test func takesTheServerThatDialsInAndTakesItAgainAfterABreak() async throws {
        let server = try await ServerDouble { request in
            guard request.type == PublishRequest.binaryEncodingId, request.count == 0 else { return .usual }
            return .body(ServerDouble.notification(request, 1))
        }
        try await Self.with(server) { port, connection, consumer, _ in
            try await server.dial(port: port, endpointURL: Self.url.uppercased().replacing("/PLANT", with: "/plant"))
            #expect(await consumer.wait { $0.values == [1] })
            #expect(server.hello.suffix(Self.url.utf8.count) == Array(Self.url.utf8)[...], "without reverse+")
            #expect(await connection.status.endpointURL == "reverse+" + Self.url)
            await server.dropConnections()
            #expect(await consumer.wait { $0.statuses.last?.state == .connecting })
            try await server.dial(port: port, endpointURL: Self.url)
            #expect(await consumer.wait { $0.statuses.last?.connects == 2 })
            #expect(server.sessionsOpen == 1)
        }
        #expect(server.sessionsOpen == 0)
    }

    /// What the listener answers to bytes, until it closes.
    static func answer(port: Int, _ bytes: [UInt8]) async throws -> [UInt8] {
        let received = Received()
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Received.Handler(received))
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
        // In two parts, as a network may.
        try? await channel.writeAndFlush(ByteBuffer(bytes: bytes.prefix(5)))
        try? await channel.writeAndFlush(ByteBuffer(bytes: bytes.dropFirst(5)))
        try await channel.closeFuture.get()
        return received.bytes.withLock { $0 }
    }

    static func expect(_ bytes: [UInt8], on port: Int, isRefusedWith status: StatusCode) async throws {
        let received = try await answer(port: port, bytes)
        #expect(received == errorMessage(status))
    }

    static func errorMessage(_ status: StatusCode) -> [UInt8] {
        var encoder = BinaryEncoder()
        encoder.bytes += Array("ERRF".utf8)
        encoder.integer(UInt32(16))
        encoder.integer(status.rawValue)
        encoder.integer(Int32(-1))
        return encoder.bytes
    }

    @Test func refusesWhoeverIsNotMeant() async throws {
        let server = try await ServerDouble()
        try await Self.with(server) { port, _, _, lines in
            let stranger = ServerDouble.reverseHello(serverURI: "urn:stranger", endpointURL: "opc.tcp://stranger:1")
            for _ in 0..<3 {
                try await Self.expect(stranger, on: port, isRefusedWith: .badTcpEndpointUrlInvalid)
            }
            #expect(lines.count { $0.contains("no connection is configured") } == 1, "said once")
            #expect(lines.count { $0.contains("reverse+opc.tcp://stranger:1") } == 1, "with the remedy")
            let noURL = ServerDouble.reverseHello(serverURI: "urn:stranger", endpointURL: "http://a")
            try await Self.expect(noURL, on: port, isRefusedWith: .badTcpEndpointUrlInvalid)
            let http = Array("GET / HTTP/1.1\r\n\r\n".utf8)
            try await Self.expect(http, on: port, isRefusedWith: .badTcpMessageTypeInvalid)
            let large = Array("RHEF".utf8) + [0xFF, 0xFF, 0xFF, 0x7F]
            try await Self.expect(large, on: port, isRefusedWith: .badTcpMessageTooLarge)
            let broken = Array("RHEF".utf8) + [16, 0, 0, 0, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]
            try await Self.expect(broken, on: port, isRefusedWith: .badDecodingError)
        }
    }

    @Test func withoutAListenerItIsAnErrorThatSaysWhatToSet() async throws {
        let server = try await ServerDouble()
        try await ConnectionTests.with(server) {
            $0.endpointURLs = ["reverse+" + Self.url]
        } _: { connection, consumer in
            #expect(await consumer.wait { !$0.errors.isEmpty })
            let error = await connection.status.lastError
            #expect(error?.code == .invalidConfiguration)
            #expect(error?.description.contains("OPC_REVERSE_LISTEN") == true)
        }
    }

    @Test func aProbeWaitsForTheServerAndSaysWhenNoneCame() async throws {
        let server = try await ServerDouble()
        try await Self.with(server) { port, _, _, _ in
            // Nobody dials.
            let listener = ReverseListener(
                eventLoop: MultiThreadedEventLoopGroup.singleton.next(),
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            )
            let other = try await listener.start(host: "127.0.0.1", port: 0)
            #expect(other != port)
            var configuration = ConnectionConfiguration(id: UUID(), endpointURLs: ["reverse+opc.tcp://probed:1"])
            configuration.connectionTimeout = 50
            let late = OPCUAProbe(configuration: configuration, eventLoop: listener.eventLoop, reverse: listener)
            let error = await #expect(throws: ProbeError.self) { try await late.connect() }
            #expect(error?.step == .awaitServer)
            #expect(error?.error.code == .noReverseHello)
            await late.close()
            configuration.connectionTimeout = 60_000
            let probe = OPCUAProbe(configuration: configuration, eventLoop: listener.eventLoop, reverse: listener)
            // The socket waits for the probe, whichever comes first.
            await listener.expect(try Self.endpoint("opc.tcp://probed:1"))
            try await server.dial(port: other, endpointURL: "opc.tcp://PROBED:1/")
            _ = try await probe.connect()
            #expect(server.sessionsOpen == 1)
            await probe.close()
            await listener.stop()
        }
    }
}

/// What a socket received.
final class Received: Sendable {
    let bytes = Mutex<[UInt8]>([])

    final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        let received: Received
        init(_ received: Received) { self.received = received }
        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let new = Array(buffer: unwrapInboundIn(data))
            received.bytes.withLock { $0 += new }
        }
    }
}

/// Everything that was logged, a line each.
final class LogLines: Sendable {
    private let lines = Mutex<[String]>([])
    func count(_ matches: (String) -> Bool) -> Int { lines.withLock { $0.count(where: matches) } }
    var handler: any LogHandler { Handler(lines: self) }

    private struct Handler: LogHandler {
        let lines: LogLines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }
        func log(event: LogEvent) {
            lines.lines.withLock { $0.append("\(event.message) \(event.metadata ?? [:])") }
        }
    }
}

/// The book by reference: expectations cannot call what mutates a value.
private final class Book {
    var book = ReverseConnectBook()

    func expect(_ endpoint: ReverseEndpoint) { book.expect(endpoint) }
    func unexpect(_ endpoint: ReverseEndpoint) -> [UInt64] { book.unexpect(endpoint) }
    func accepted(_ socket: UInt64) -> Bool { book.accepted(socket) }
    func claim(_ id: UInt64, _ endpoint: ReverseEndpoint) -> UInt64? { book.claim(id, endpoint) }
    func ended(claim id: UInt64, _ endpoint: ReverseEndpoint) { book.ended(claim: id, endpoint) }
    func closed(_ socket: UInt64) { book.closed(socket) }
    var socketCount: Int { book.socketCount }

    func identified(_ socket: UInt64, as endpoint: ReverseEndpoint) -> Outcome {
        let (verdict, displaced) = book.identified(socket, as: endpoint)
        return Outcome(verdict, displaced)
    }
}

private struct Outcome: Equatable {
    var verdict: ReverseConnectBook.Verdict
    var displaced: UInt64?
    init(_ verdict: ReverseConnectBook.Verdict, _ displaced: UInt64? = nil) {
        self.verdict = verdict
        self.displaced = displaced
    }
}
