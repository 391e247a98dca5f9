package import FoundationEssentials
import Logging
import OPCUAClient
import Synchronization

/// A tag that is quiet far longer than its history says it should be.
package struct SilentTag: Sendable, Equatable {
    package var connectionID: UUID
    package var nodeID: String
    /// How long it has been quiet while the connection was up, and the longest it was before. As exact as the looks are apart.
    package var quiet: Duration
    package var longestBefore: Duration
}

/// The silent tags of a connection: all of them counted, some of them named.
struct SilentTags: Sendable, Equatable {
    var count = 0
    var examples: [SilentTag] = []
}

/// Looks at a tenant's tags from time to time and publishes those that fell silent. Costs the way of a reading nothing.
struct SilenceSampler {
    /// Intervals between readings are remembered for one to two of these.
    private static let period: Duration = .seconds(7 * 86_400)
    private static let named = 20

    private let shared: TenantShared
    private let interval: Duration
    private let logger: Logger
    /// By connection; the identifier is the intake's, whose handles the watch knows.
    private var watches: [UUID: (run: ObjectIdentifier, watch: SilenceWatch)] = [:]
    private var counts: [UInt64] = []

    /// - Parameter after: least time of quiet after which a tag may count as silent.
    init(shared: TenantShared, after: Duration, logger: Logger) {
        self.shared = shared
        interval = max(after / SilenceWatch.factor, .milliseconds(100))
        self.logger = logger
    }

    /// Until cancelled.
    mutating func run() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: interval)
            if !Task.isCancelled { look() }
        }
    }

    private mutating func look() {
        let intakes = shared.intakes()
        let present = Set(intakes.map(\.connectionID))
        watches = watches.filter { present.contains($0.key) }
        var found: [UUID: SilentTags] = [:]
        for intake in intakes {
            // While it is away the clock of its tags stands still, and the missing connection is what is told.
            guard intake.status.state == .connected else { continue }
            found[intake.connectionID] = look(intake)
        }
        let before = shared.state.withLock { state in
            defer { state.silent = found }
            return state.silent
        }
        for (id, tags) in found { tell(id, tags, before[id] ?? SilentTags()) }
    }

    private mutating func look(_ intake: ConnectionIntake) -> SilentTags {
        let id = intake.connectionID
        let run = ObjectIdentifier(intake)
        // Taken out and put back, so that it is changed in place.
        var watch =
            watches.removeValue(forKey: id).flatMap { $0.run == run ? $0.watch : nil }
            ?? SilenceWatch(period: Int(Self.period / interval))
        let tags = intake.tagCounts
        tags.copy(into: &counts)
        watch.look(counts, intake.judgedTags)
        let examples = watch.silent(atMost: Self.named).compactMap { silent -> SilentTag? in
            guard silent.handle < tags.keys.count, let key = tags.keys[silent.handle] else { return nil }
            return SilentTag(
                connectionID: id,
                nodeID: key.nodeID,
                quiet: interval * silent.quiet,
                longestBefore: interval * silent.longest
            )
        }
        let result = SilentTags(count: watch.silentCount, examples: examples)
        watches[id] = (run, watch)
        return result
    }

    /// Once when tags of a connection fall silent, and once when all of them are heard again.
    private func tell(_ id: UUID, _ now: SilentTags, _ before: SilentTags) {
        if now.count > 0, before.count == 0 {
            logger.warning(
                "tags are silent: quiet far longer than ever before",
                metadata: [
                    "connection_id": "\(id.uuidString.lowercased())", "count": "\(now.count)",
                    "tag_node_id": "\(now.examples.first?.nodeID ?? "")",
                ]
            )
        } else if now.count == 0, before.count > 0 {
            logger.notice(
                "no tag is silent any more",
                metadata: ["connection_id": "\(id.uuidString.lowercased())"]
            )
        }
    }
}
