import FoundationEssentials
import Journal
import Logging
import NIOCore
import NIOPosix
import OPCUAClient
import OPCUACodec
import Synchronization
import Testing
import TimescaleStore

@testable import Ingestion

/// What an intake leaves in a journal on a disk, read as the next run of the process would.
@Suite struct ConnectionIntakeTests {
    private static let connection = UUID()
    private static let url = "opc.tcp://plc:4840"
    private static let key = TagKey(wellID: UUID(), nodeID: "ns=2;s=a")
    private static let state = TagState(sourceMicroseconds: 100, storedMicroseconds: 100, subMicroseconds: 0)

    private final class Run {
        let folder: String
        let directory: JournalDirectory
        let journal: TenantJournal
        let intake: ConnectionIntake
        /// What the journal told when it was opened.
        private(set) var memory = TenantMemory()

        init(
            folder: String,
            tenant: UUID,
            restoring memory: TenantMemory.Connection? = nil,
            syncInterval: Duration = .milliseconds(50),
            events: IntakeEvents = IntakeEvents()
        ) throws {
            self.folder = folder
            var configuration = JournalConfiguration(path: folder)
            configuration.syncInterval = syncInterval
            directory = try JournalDirectory(configuration)
            var found = TenantMemory()
            journal = try directory.openJournal(tenant: tenant) { found.visit($0, $1) }.journal
            self.memory = found
            intake = ConnectionIntake(
                connectionID: ConnectionIntakeTests.connection,
                endpointURL: ConnectionIntakeTests.url,
                eventLoop: MultiThreadedEventLoopGroup.singleton.next(),
                journal: journal,
                buffers: directory.buffers,
                events: events,
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            )
            intake.restore(memory ?? found.connection(ConnectionIntakeTests.connection))
        }
    }

    /// What one run writes and the next one finds of the connection.
    private func next(
        after memory: TenantMemory.Connection,
        _ body: @escaping @Sendable (ConnectionIntake) -> Void
    ) async throws -> TenantMemory.Connection {
        try await self.memory(after: memory, body).connection(Self.connection)
    }

    private func memory(
        after memory: TenantMemory.Connection,
        events: IntakeEvents = IntakeEvents(),
        _ body: @escaping @Sendable (ConnectionIntake) -> Void
    ) async throws -> TenantMemory {
        let folder = FileManager.default.temporaryDirectory.path + "/intake-test-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let tenant = UUID()
        let run = try Run(folder: folder, tenant: tenant, restoring: memory, events: events)
        let intake = run.intake
        try await intake.eventLoop.submit { body(intake) }.get()
        try await run.directory.close()
        let later = try Run(folder: folder, tenant: tenant)
        try await later.directory.close()
        return later.memory
    }

    private static func subscription(_ id: UInt32, handles: [UInt32] = [0]) -> RestoredSubscription {
        RestoredSubscription(
            subscriptionID: id,
            publishingInterval: 500,
            maximumKeepAliveCount: 10,
            lifetimeCount: 1000,
            handles: handles,
            lastDurableSequenceNumber: 0
        )
    }

    /// As an earlier run leaves it: a tag with a reading, received by a subscription.
    private var remembered: TenantMemory.Connection {
        var memory = TenantMemory.Connection()
        memory.states = [Self.key: Self.state]
        memory.lastReceivedAt = 120
        memory.subscriptions = SubscriptionsRecord(
            endpointURL: Self.url,
            lastReceivedAt: 110,
            subscriptions: [Self.subscription(7)],
            handles: [(0, Self.key)]
        )
        memory.sequenceNumbers = [7: 31]
        return memory
    }

    @Test func aSnapshotBeforeTheServerIsReachedKeepsTheSubscriptions() async throws {
        let found = try await next(after: remembered) { $0.appendSnapshot() }
        #expect(found.states[Self.key]?.storedMicroseconds == 100)
        #expect(found.lastReceivedAt == 120)
        #expect(found.restorable(endpointURL: Self.url).map(\.lastDurableSequenceNumber) == [31])
        #expect(found.subscriptions?.handles.map(\.key) == [Self.key])
    }

    @Test func aSnapshotAfterwardsHasTheNewOnes() async throws {
        let found = try await next(after: remembered) { intake in
            intake.subscriptionsCreated([Self.subscription(8)])
            intake.appendSnapshot()
        }
        #expect(found.restorable(endpointURL: Self.url).map(\.subscriptionID) == [8])
    }

    @Test func otherSubscriptionsThanBeforeAreABreak() async throws {
        let found = try await next(after: remembered) { $0.subscriptionsCreated([Self.subscription(8)]) }
        #expect(found.openGap?.cause == .subscriptionLost && found.openGap?.startedAt == 120)
        #expect(found.openGap?.awaited == [Self.key: 100])
    }

    @Test func theSameSubscriptionsAreNone() async throws {
        let found = try await next(after: remembered) { $0.subscriptionsCreated([Self.subscription(7)]) }
        #expect(found.openGap == nil)
        #expect(found.restorable(endpointURL: Self.url).map(\.lastDurableSequenceNumber) == [31])
    }

    @Test func theFirstSubscriptionsAreNone() async throws {
        let found = try await next(after: TenantMemory.Connection()) { intake in
            _ = intake.table.handle(for: Self.key)
            intake.subscriptionsCreated([Self.subscription(1)])
        }
        #expect(found.openGap == nil && found.restorable(endpointURL: Self.url).count == 1)
    }

    /// The break is over, and its gap is in the journal before a snapshot can say that there is none: whoever is told of it may be killed
    /// before it did anything.
    @Test func aBreakThatEndedIsAGapAtOnce() async throws {
        let found = try await memory(after: remembered) { intake in
            intake.subscriptionsCreated([Self.subscription(8)])
            intake.openGap?.firstAt = 150
            intake.openGap?.holes = [TagHole(key: Self.key, after: 100, until: 140)]
            intake.closeGap(120)
            intake.appendSnapshot()
        }
        let gap = try #require(found.gaps.first)
        #expect(found.gaps.count == 1)
        #expect(gap.connectionID == Self.connection && gap.cause == "subscription_lost" && gap.tagNodeID == nil)
        #expect(gap.startedAtMicros == 100 && gap.endedAtMicros == 150 && gap.healedAtMicros == nil)
        #expect(found.connection(Self.connection).openGap == nil)
        // And what history may fill is not forgotten.
        #expect(found.healings[gap.id]?.holes == [TagHole(key: Self.key, after: 100, until: 140)])
    }

    /// What the server's queue lost during a break lies in the break's hole. Told as a hole of its own too, it would be filled from
    /// history twice, and stored twice.
    @Test func anOverflowInTheFirstValueAfterABreakIsPartOfTheBreak() async throws {
        let gaps = Mutex<[IntakeGap]>([])
        var events = IntakeEvents()
        events.gap = { gap in gaps.withLock { $0.append(gap) } }
        _ = try await memory(after: remembered, events: events) { intake in
            intake.subscriptionsCreated([Self.subscription(8)])
            intake.take(
                [
                    .overflow(handle: 0, after: 100, until: 140), .first(handle: 0, before: Self.state, at: 140),
                    .overflow(handle: 0, after: 140, until: 160),
                ],
                Self.context(1)
            )
        }
        let told = gaps.withLock { $0 }
        #expect(told.map(\.cause) == [.queueOverflow, .subscriptionLost])
        #expect(
            told.map(\.holes) == [
                [TagHole(key: Self.key, after: 140, until: 160)], [TagHole(key: Self.key, after: 100, until: 140)],
            ]
        )
    }

    private static func context(_ sequenceNumber: UInt32) -> NotificationContext {
        NotificationContext(
            subscriptionID: 1,
            sequenceNumber: sequenceNumber,
            publishTime: .null,
            receivedAtUnixMicroseconds: 100,
            isRepublished: false,
            incarnation: 1
        )
    }

    /// Told of a sync once, an event loop acknowledges what is durable of all its intakes, and asks again for the rest.
    @Test func aSyncIsToldToAllThatWait() async throws {
        let folder = FileManager.default.temporaryDirectory.path + "/intake-test-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        // Nothing but the test says what is durable.
        let run = try Run(folder: folder, tenant: UUID(), syncInterval: .seconds(3600))
        let loop = run.intake.eventLoop
        let queue = DurabilityQueue(eventLoop: loop)
        let intakes = (0..<3).map { _ in
            ConnectionIntake(
                connectionID: UUID(),
                endpointURL: Self.url,
                eventLoop: loop,
                journal: run.journal,
                buffers: run.directory.buffers,
                durability: queue,
                events: IntakeEvents(),
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            )
        }
        // Two notifications of the first, one of the second, none of the third.
        let positions = try await loop.submit { () -> [JournalPosition] in
            for (intake, number) in [(0, 1), (1, 1), (0, 2)] {
                guard try intakes[intake].completeAtOnce(Self.context(UInt32(number))) else { return [] }
                intakes[intake].acknowledgeDurable()
            }
            return intakes.flatMap { $0.appended.map(\.position) }
        }.get()
        try #require(positions.count == 3)
        func waiting() async throws -> [Int] { try await loop.submit { intakes.map(\.appended.count) }.get() }
        // Before anything of theirs; then all but the last.
        queue.journalIsDurable(upTo: .start)
        #expect(try await waiting() == [2, 1, 0])
        queue.journalIsDurable(upTo: positions[2])
        #expect(try await waiting() == [1, 0, 0])
        queue.journalIsDurable(upTo: positions[1])
        #expect(try await waiting() == [0, 0, 0])
        try await run.directory.close()
    }
}
