import FoundationEssentials
import Journal
import Logging
import NIOCore
import OPCUAClient
import TimescaleStore

/// What a tenant must not forget: the states for its next run, and what is missing.
extension Tenant {
    // MARK: Memory for the next run

    func append(_ kind: RecordKind, of source: UUID, _ payload: RowBuffer) async {
        guard let journal else { return }
        do throws(JournalError) {
            _ = try await journal.append(.note(kind, source: source, payload), priority: .reserve)
        } catch {
            logger.error("the journal refused a record", metadata: ["error": "\(error)"])
        }
    }

    /// Writes the states of all tags, so that what lies before in the journal is not needed for recovery any more.
    func writeSnapshot() async {
        guard let journal, !isSnapshotting else { return }
        isSnapshotting = true
        defer { isSnapshotting = false }
        let start = journal.endPosition
        for (id, remembered) in dormant where connections[id] == nil {
            let states = remembered.states.map { (key: $0.key, state: $0.value) }
            await append(.tagStates, of: id, TagStateRecord(states: states).encoded())
            // There after a start whose configuration has not been read yet.
            if let gap = remembered.openGap { await append(.openGap, of: id, gap.encoded()) }
            if let subscriptions = remembered.continuedSubscriptions {
                await append(.subscriptions, of: id, subscriptions.encoded())
            }
        }
        let byLoop = Dictionary(grouping: connections.values.map(\.intake)) { ObjectIdentifier($0.eventLoop) }
        for intakes in byLoop.values {
            // Not each by itself, which would be a thousand times there and back; nor all at once, which would take long.
            for start in stride(from: 0, to: intakes.count, by: 32) {
                let some = intakes[start...].prefix(32)
                do {
                    try await intakes[start].eventLoop.submit { for intake in some { intake.appendSnapshot() } }.get()
                } catch {
                    return
                }
            }
        }
        for healing in healings.values.joined() {
            await append(.healing, of: healing.gap.connectionID, HealingRecord.encoded(healing))
        }
        // What lies before may go only when this is on the disk.
        await environment.journals.syncNow()
        guard journal.durablePosition >= start else { return }
        journal.retain(from: start)
        snapshotPosition = start
    }

    // MARK: Gaps

    func record(_ gap: IntakeGap, of id: UUID) async {
        var found = gap.record(of: id)
        if gap.cause == .ownerLost {
            takeovers.remove(id)
            if gap.isEmpty {
                found.healedAtMicros = WallTime.microseconds()
                found.readingsRecovered = 0
            }
        }
        var heals = !gap.holes.isEmpty && healings[id, default: []].count < Self.healingBound
        // Queues may overflow again and again: a server without history is not asked each time.
        if gap.cause == .queueOverflow, let until = withoutHistory[id], ContinuousClock.now < until { heals = false }
        await record(found, merges: !heals)
        guard heals else { return }
        let healing = Healing(gap: found, holes: gap.holes)
        healings[id, default: []].append(healing)
        await append(.healing, of: id, HealingRecord.encoded(healing))
        startHealer(id)
    }

    /// Brings a gap into the journal and, with the next flush, into the database.
    /// - Parameter merges: whether it may be counted with others of its kind; see ``GapBook``.
    func record(_ gap: GapRecord, merges: Bool) async {
        guard let writer else { return }
        let (noted, isNew) = writer.gaps.note(gap, merges: merges)
        if isNew {
            metrics.gap(gap.cause)
            logger.warning("gap", metadata: Self.metadata(gap))
        }
        shared.note(noted)
        await append(.gap, of: gap.connectionID, GapRecordFormat.encoded(noted))
        writer.doorbell.ring()
    }

    func record(_ gaps: [GapRecord]) async {
        for gap in gaps { await record(gap, merges: true) }
    }

    /// What a full journal gives up, by connection.
    static func abandoned(_ records: [RecordHeader]) -> [GapRecord] {
        var gaps: [UUID: GapRecord] = [:]
        for record in records where record.kind == .readings && record.rowCount > 0 {
            let known = gaps[record.source]
            gaps[record.source] = GapRecord(
                id: known?.id ?? UUID(),
                connectionID: record.source,
                startedAtMicros: min(known?.startedAtMicros ?? .max, record.earliestMicroseconds),
                endedAtMicros: max(known?.endedAtMicros ?? .min, record.latestMicroseconds),
                cause: IntakeGap.Cause.journalFull.rawValue,
                readingsLost: (known?.readingsLost ?? 0) + Int64(record.rowCount)
            )
        }
        return Array(gaps.values)
    }

    static func metadata(_ gap: GapRecord) -> Logger.Metadata {
        let end = gap.endedAtMicros ?? gap.startedAtMicros
        return [
            "connection_id": "\(gap.connectionID.uuidString.lowercased())", "cause": "\(gap.cause)",
            "duration_ms": "\((end - gap.startedAtMicros) / 1000)", "tag_node_id": "\(gap.tagNodeID ?? "all")",
        ]
    }
}
