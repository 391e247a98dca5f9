import FoundationEssentials
import Logging
import NIOCore
import NIOPosix
import OPCUAClient
import OPCUACodec
import Synchronization
import Testing

@testable import scada_simulator

/// Collects the counter values of each tag, in the order in which they were delivered.
private final class CountingConsumer: NotificationConsumer {
    private struct State {
        var pending: [UInt32: [Double]] = [:]
        var values: [UInt32: [Double]] = [:]
        var events: [ContinuityEvent] = []
    }

    private let state = Mutex(State())

    var values: [UInt32: [Double]] { state.withLock(\.values) }
    var events: [ContinuityEvent] { state.withLock(\.events) }

    func dataChange(_ body: UnsafeRawBufferPointer, _ context: NotificationContext) throws(DecodingError) {
        var decoder = BinaryDecoder(body)
        var part: [(UInt32, Double)] = []
        for _ in 0..<(try decoder.arrayLength()) {
            let item = try MonitoredItemNotification(from: &decoder)
            if case .double(let value) = item.value.value { part.append((item.clientHandle, value)) }
        }
        let read = part
        state.withLock { state in for (handle, value) in read { state.pending[handle, default: []].append(value) } }
    }

    func completeAtOnce(_ context: NotificationContext) throws -> Bool {
        state.withLock { state in
            for (handle, values) in state.pending { state.values[handle, default: []] += values }
            state.pending = [:]
        }
        return true
    }

    func notificationComplete(_ context: NotificationContext) async throws { _ = try completeAtOnce(context) }

    func acknowledgeDurable() {}
    func notificationAborted(_ context: NotificationContext) { state.withLock { $0.pending = [:] } }
    func continuity(_ event: ContinuityEvent) async { state.withLock { $0.events.append(event) } }
    func statusChanged(_ status: ConnectionStatus) {}
    func itemStatus(handle: UInt32, _ status: StatusCode) {}
    func takeUnknownStructures() -> [NodeId] { [] }
    func structuresDescribed(_ types: StructureTypes) {}
    func deadbandRefused(handle: UInt32, range: Double?) {}
    func subscriptionsCreated(_ subscriptions: [RestoredSubscription]) {}
}

/// The simulator's sockets against the project's own client.
@Suite(.timeLimit(.minutes(2)))
struct EndToEndTests {
    private let group = MultiThreadedEventLoopGroup.singleton

    private func start(_ layout: FieldLayout) async throws -> (NIOLoopBound<ServerDriver>, any EventLoop, Int) {
        let clock = RunClock()
        let loop = group.next()
        let configuration = FieldServer.Configuration(
            layout: layout,
            rate: Double(layout.tagCount) * 10,
            endpointURL: "opc.tcp://127.0.0.1",
            applicationURI: "urn:scada-simulator:test",
            epoch: clock.epoch
        )
        let driver = try await ServerDriver.start(configuration, host: "127.0.0.1", port: 0, loop: loop, clock: clock)
        return (driver, loop, try await loop.submit { driver.value.port }.get())
    }

    private func until(_ what: String, _ condition: () -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        while !condition() {
            try #require(ContinuousClock.now < deadline, "\(what) did not happen")
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    @Test func `cut connections lose no value and repeat none`() async throws {
        let layout = FieldLayout(seed: 1, wells: 0..<10, counters: true)
        let (driver, loop, port) = try await start(layout)
        let consumer = CountingConsumer()
        var configuration = ConnectionConfiguration(
            id: UUID(),
            endpointURLs: ["opc.tcp://127.0.0.1:\(port)"],
            items: try (0..<layout.tagCount).map { tag in
                MonitoredItemSpecification(
                    handle: UInt32(tag),
                    nodeID: try NodeIdText(parsing: "ns=2;s=\(layout.identifier(ofTag: tag))"),
                    samplingInterval: 0,
                    queueSize: 1_000
                )
            }
        )
        configuration.publishingInterval = 100
        configuration.reconnectDelay = 100
        let connection = OPCUAConnection(
            configuration: configuration,
            eventLoop: group.next(),
            consumer: consumer,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
        let running = Task { await connection.run() }
        for cut in 1...3 {
            try await until("\(20 * cut) values of every tag") {
                let values = consumer.values
                return values.count == layout.tagCount && values.values.allSatisfy { $0.count >= 20 * cut }
            }
            try await loop.submit { driver.value.dropConnections() }.get()
        }
        try await until("20 values after the last cut") { consumer.values.values.allSatisfy { $0.count >= 80 } }
        await connection.shutdown(keepSubscriptions: false)
        await running.value
        for (tag, values) in consumer.values {
            let first = try #require(values.first)
            #expect(values == (0..<values.count).map { first + Double($0) }, "tag \(tag)")
        }
        #expect(consumer.events.contains(.reactivated))
        let summary = try await ServerDriver.summary(driver, loop)
        #expect(summary.dropped == 0 && summary.sessions == 0 && summary.subscriptions == 0)
        #expect(summary.published == summary.acknowledged + summary.forgotten)
        try await loop.submit { driver.value.stop() }.get()
    }
}
