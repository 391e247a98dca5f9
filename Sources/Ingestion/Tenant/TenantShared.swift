package import FoundationEssentials
import Journal
import NIOCore
import OPCUAClient
import OPCUACodec
import Synchronization
package import TimescaleStore

/// What others than the tenant itself see of it. Any thread; nothing here waits.
package final class TenantShared: Sendable {
    /// A running connection as it is configured.
    struct Running: Sendable {
        var record: ConnectionRecord
        var plan: ConnectionPlan
        var intake: ConnectionIntake
        var recovered: Recovered
        /// Ends with the connection.
        final class Recovered: Sendable {
            private let value = Atomic<UInt64>(0)
            func add(_ count: Int) { value.add(UInt64(max(0, count)), ordering: .relaxed) }
            var current: UInt64 { value.load(ordering: .relaxed) }
        }
    }

    struct State {
        var record: TenantRecord
        var journal: TenantJournal?
        var writer: TenantWriter?
        var running: [UUID: Running] = [:]
        /// By event loop.
        var durability: [ObjectIdentifier: DurabilityQueue] = [:]
        var problems: [RowProblem] = []
        /// When each of them was seen first, microseconds since 1970.
        var problemsSince: [RowProblem: Int64] = [:]
        /// Why the configuration could not be read.
        var configurationError: StoreError?
        var hasConfiguration = false
        /// What the database's server is, once it is known.
        var database = ""
        /// The latest last; bounded.
        var gaps: [GapRecord] = []
        /// By connection, of those that are connected.
        var silent: [UUID: SilentTags] = [:]
    }

    private static let gapsKept = 50

    package let id: UUID
    let state: Mutex<State>

    init(_ record: TenantRecord) {
        id = record.id
        state = Mutex(State(record: record))
    }

    /// Where the tenant's database is.
    package var url: DatabaseURL { state.withLock { $0.record.url } }

    package var name: String { state.withLock { Self.name($0.record) } }

    private static func name(_ record: TenantRecord) -> String {
        record.name ?? record.slug ?? record.id.uuidString.lowercased()
    }

    /// Through which the intakes on `eventLoop` learn what is durable.
    func durability(on eventLoop: any EventLoop) -> DurabilityQueue {
        state.withLock { state in
            let key = ObjectIdentifier(eventLoop)
            let queue = state.durability[key] ?? DurabilityQueue(eventLoop: eventLoop)
            state.durability[key] = queue
            return queue
        }
    }

    // MARK: Figures for people

    /// Readings received since the start, and those not stored yet. Cheap.
    package func totals() -> (received: UInt64, backlog: Int) {
        let (intakes, journal) = state.withLock { ($0.running.values.map(\.intake), $0.journal) }
        return (intakes.reduce(0) { $0 &+ $1.figures.readings }, journal?.backlogRows ?? 0)
    }

    /// Tags without values, and why.
    package func badTags(atMost limit: Int) -> [(connectionID: UUID, tag: BadTag)] {
        var result: [(connectionID: UUID, tag: BadTag)] = []
        for intake in intakes() where intake.badTagCount > 0 {
            result += intake.badTagList().prefix(limit - result.count).map { (intake.connectionID, $0) }
        }
        return result
    }

    /// Some of the silent tags, those that are quiet longest first.
    package func silentTags() -> [SilentTag] {
        state.withLock { $0.silent.values.flatMap(\.examples) }.sorted { ($1.quiet, $0.nodeID) < ($0.quiet, $1.nodeID) }
    }

    /// Some of the gaps since the start.
    package func recentGaps() -> [GapRecord] { state.withLock { $0.gaps } }

    func note(_ gap: GapRecord) {
        state.withLock { state in
            state.gaps.removeAll { $0.id == gap.id }
            state.gaps.append(gap)
            if state.gaps.count > Self.gapsKept { state.gaps.removeFirst() }
        }
    }

    func intakes() -> [ConnectionIntake] { state.withLock { $0.running.values.map(\.intake) } }

    /// Readings received by tag, a part for each connection.
    package func tagCounts() -> [TagCounts] { intakes().map(\.tagCounts) }

    func tagCount() -> Int { state.withLock { $0.running.values.reduce(0) { $0 + $1.plan.tags.count } } }

    /// The connection a tag belongs to.
    func connection(of wellID: UUID?, _ nodeID: String) -> UUID? {
        guard let wellID else { return nil }
        let key = TagKey(wellID: wellID, nodeID: nodeID)
        return state.withLock { state in
            state.running.values.first { $0.plan.tags.contains { $0.key == key } }?.record.id
        }
    }

    /// The stored row of a running connection.
    package func connectionRecord(_ id: UUID) -> ConnectionRecord? { state.withLock { $0.running[id]?.record } }

    /// - Parameter withConnections: what makes it dear where there are many; without, there are none in it.
    package func snapshot(withConnections: Bool = true) -> TenantSnapshot {
        let state = state.withLock { $0 }
        let figures = state.writer?.figures.withLock { $0 } ?? TenantWriter.Figures()
        let now = ContinuousClock.now
        let oldest = state.journal?.oldestUnforgottenReceivedAt
        var snapshot = TenantSnapshot(
            id: id,
            name: Self.name(state.record),
            state: .running,
            reason: "",
            database: state.database,
            isDatabaseReachable: figures.isReachable,
            backlog: state.journal?.backlogRows ?? 0,
            journalBytes: state.journal?.bytesOnDisk ?? 0,
            oldestUnstoredAge: oldest.map { .microseconds(max(0, WallTime.microseconds() - $0)) } ?? .zero,
            timeSinceLastFlush: figures.lastFlush.map { now - $0 },
            failingSince: figures.failingSince,
            connections: [],
            problems: state.problems.map(\.description)
        )
        if withConnections {
            snapshot.connections = state.running.values.map {
                Self.snapshot($0, silentTags: state.silent[$0.record.id]?.count ?? 0)
            }
            .sorted { $0.id < $1.id }
        }
        if let journal = state.journal, case let current = journal.currentState, current != .open {
            snapshot.state = .journalFull
            snapshot.reason = "the journal is \(current)"
        } else if let error = figures.lastError {
            snapshot.state = figures.isAttached ? .databaseAway : .starting
            snapshot.reason = "database \(state.record.url): \(error)"
            snapshot.error = error
        } else if let error = state.configurationError {
            snapshot.state = state.hasConfiguration ? .databaseAway : .starting
            snapshot.reason = "database \(state.record.url): \(error)"
            snapshot.error = error
        } else if !state.hasConfiguration || !figures.isAttached {
            snapshot.state = .starting
            snapshot.reason = "starting"
        }
        return snapshot
    }

    private static func snapshot(_ running: Running, silentTags: Int) -> ConnectionSnapshot {
        let figures = running.intake.figures
        return ConnectionSnapshot(
            id: running.record.id,
            name: running.record.name ?? "",
            endpointURL: running.record.endpointURL,
            securityMode: running.record.securityMode,
            securityPolicy: running.record.securityPolicy,
            publishingInterval: running.plan.configuration.publishingInterval,
            tags: running.plan.tags.count,
            badTags: running.intake.badTagCount,
            silentTags: silentTags,
            readings: figures.readings,
            duplicates: figures.duplicates,
            overflows: figures.overflows,
            receiveTimestamps: figures.receiveTimestamps,
            republished: running.intake.republishedCount,
            recovered: running.recovered.current,
            lastReadingAt: running.intake.lastReadingAt,
            lastErrorAt: running.intake.lastErrorAt,
            status: running.intake.status
        )
    }
}
