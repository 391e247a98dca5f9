import FoundationEssentials
import Journal
import Logging
import NIOCore
import NIOPosix
import OPCUAClient
import OPCUACodec
import Testing
import TimescaleStore

@testable import Ingestion

/// What an intake leaves for the next owner of its connection.
@Suite struct ConnectionHandoverTests {
    private let tenant = UUID()
    private let connection = UUID()
    private let well = UUID()
    private let url = "opc.tcp://plc:4840"

    private func key(_ name: String) -> TagKey { TagKey(wellID: well, nodeID: "ns=2;s=\(name)") }

    /// Of a run that had two tags, one of them with a reading, and a subscription.
    private var former: TenantMemory.Connection {
        var memory = TenantMemory.Connection()
        memory.states = [
            key("a"): TagState(sourceMicroseconds: 5, storedMicroseconds: 5, form: .number, bits: 42),
            key("b"): TagState(sourceMicroseconds: 6, storedMicroseconds: 6, form: .number, bits: 43),
        ]
        memory.lastReceivedAt = 900
        memory.subscriptions = SubscriptionsRecord(
            endpointURL: url,
            lastReceivedAt: 77,
            subscriptions: [
                RestoredSubscription(
                    subscriptionID: 9,
                    publishingInterval: 250,
                    maximumKeepAliveCount: 20,
                    lifetimeCount: 60,
                    handles: [0, 1],
                    lastDurableSequenceNumber: 31
                )
            ],
            handles: [(0, key("a")), (1, key("b"))]
        )
        memory.sequenceNumbers = [9: 33]
        return memory
    }

    /// Runs `body` on an intake's event loop with a journal of its own; what a process that opens that journal afterwards
    /// knows of the connection is the result, after what `body` returned.
    private func run<R: Sendable>(
        _ body: @escaping @Sendable (ConnectionIntake) -> R
    ) async throws -> (R, TenantMemory.Connection) {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("scada-intake-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        func open(_ directory: JournalDirectory) throws -> (TenantJournal, TenantMemory) {
            var memory = TenantMemory()
            let journal = try directory.openJournal(tenant: tenant) { memory.visit($0, $1) }.journal
            return (journal, memory)
        }
        let first = try JournalDirectory(JournalConfiguration(path: folder.path))
        let (journal, _) = try open(first)
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let intake = ConnectionIntake(
            connectionID: connection,
            endpointURL: url,
            eventLoop: loop,
            journal: journal,
            buffers: first.buffers,
            events: IntakeEvents(),
            logger: Logger(label: "test")
        )
        let result = try await loop.submit { body(intake) }.get()
        try await journal.close()
        try await first.close()
        let second = try JournalDirectory(JournalConfiguration(path: folder.path))
        let (again, memory) = try open(second)
        try await again.close()
        try await second.close()
        return (result, memory.connection(connection))
    }

    @Test func aHandoverTellsOfTheSubscriptionsAndOfABreakThatGoesOn() async throws {
        var former = former
        former.openGap = OpenGapRecord(
            id: UUID(),
            cause: .notificationsLost,
            startedAt: 800,
            firstAt: 850,
            awaited: [key("b"): 6],
            holes: [TagHole(key: key("a"), after: 4, until: 5)]
        )
        let memory = former
        let (handover, _) = try await run { intake in
            intake.restore(memory)
            return intake.handover().bytes
        }
        let (next, healings) = try #require(ConnectionHandover.decoded(handover, connection: connection))
        #expect(healings.isEmpty)
        #expect(next.openGap == former.openGap)
        #expect(next.restorable(endpointURL: url).map(\.lastDurableSequenceNumber) == [33])
        #expect(next.subscriptions?.handles.count == 2)
        #expect(ConnectionHandover.decoded(Array(handover.dropLast()), connection: connection) == nil)
        #expect(ConnectionHandover.decoded([99] + handover.dropFirst(), connection: connection) == nil)
    }

    /// A replica that takes over from a lost one and ends before the first values have come still waits for them, and does
    /// not take its silence for a hole without content.
    @Test func aTakeoverThatWasNotFinishedGoesOn() async throws {
        let (a, b) = (key("a"), key("b"))
        let gap = GapRecord(connectionID: connection, startedAtMicros: 500, cause: "owner_lost")
        let (memory, next) = try await run { intake in
            for key in [a, b] { _ = intake.table.handle(for: key) }
            intake.takeOver(gap)
            return intake.memory()
        }
        for known in [memory.openGap, next.openGap] {
            #expect(known?.id == gap.id && known?.cause == .ownerLost && known?.startedAt == 500)
            #expect(known?.awaited == [a: 500, b: 500])
        }
        // No value is taken for one that is stored already.
        #expect(next.states.count == 2 && next.states.values.allSatisfy { $0.form == .none && $0.status == .max })
    }

    @Test func whatIsLaterOfAnInterruptedTakeoverCounts() {
        var own = TenantMemory.Connection()
        own.states = [key("a"): TagState(sourceMicroseconds: 9, storedMicroseconds: 9, form: .number, bits: 1)]
        own.lastReceivedAt = 1000
        own.sequenceNumbers = [9: 40]
        let laid = own.laid(over: former)
        #expect(laid.states[key("a")]?.storedMicroseconds == 9)
        #expect(laid.states[key("b")]?.storedMicroseconds == 6)
        #expect(laid.lastReceivedAt == 1000)
        #expect(laid.restorable(endpointURL: url).map(\.lastDurableSequenceNumber) == [40])
        #expect(TenantMemory.Connection().laid(over: former).states.count == 2)
    }
}
