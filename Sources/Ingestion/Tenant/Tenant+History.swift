import FoundationEssentials
import Journal
import Logging
import NIOCore
import OPCUAClient
import OPCUACodec
import TimescaleStore

/// Filling gaps from the servers' history.
extension Tenant {
    func startHealer(_ id: UUID) {
        guard healers[id] == nil, !(healings[id] ?? []).isEmpty, !isStopping else { return }
        healers[id] = Task { await self.heal(id) }
    }

    /// Fills the gaps of a connection from its server's history, one after the other.
    func heal(_ id: UUID) async {
        defer { healers[id] = nil }
        var delay = Duration.milliseconds(500)
        while let healing = healings[id]?.first, let running = connections[id], !isStopping, !Task.isCancelled {
            do {
                try await heal(healing, running)
                delay = .milliseconds(500)
            } catch {
                // Not connected just now, or the connection broke: what was read is kept, the rest is asked for again.
                logger.debug("history cannot be read now", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: delay)
                delay = min(delay * 2, .seconds(30))
            }
        }
    }

    func heal(_ healing: Healing, _ running: ManagedConnection) async throws {
        let id = running.record.id
        let nodes = healing.holes.map { try? NodeIdText(parsing: $0.key.nodeID) }
        let (start, end) = healing.interval
        // Indexes of holes go with the list of nodes: every configured node id could be parsed.
        let asked = nodes.compactMap { $0 }
        guard asked.count == nodes.count else { return await finish(healing.gap.id, of: id, []) }
        let outcomes = try await running.connection.readHistory(
            of: asked,
            from: DateTime(unixMicroseconds: start),
            to: DateTime(unixMicroseconds: end),
            maximumValues: Self.historyBound
        ) { index, values in
            try await self.take(values, hole: index, of: healing.gap.id, running)
        }
        logger.debug(
            "history was read",
            metadata: [
                "connection_id": "\(id.uuidString.lowercased())", "from": "\(start)", "to": "\(end)",
                "first_hole": "\(healing.holes.first.map { "\($0.key.nodeID) \($0.after) \($0.until)" } ?? "none")",
                "first_outcome": "\(outcomes.first.map { "\($0)" } ?? "none")",
            ]
        )
        await finish(healing.gap.id, of: id, healing.credible(outcomes, asked: (start, end)))
    }

    func take(
        _ values: [DataValue],
        hole index: Int,
        of gap: UUID,
        _ running: ManagedConnection
    ) async throws {
        let id = running.record.id
        guard let journal, let healing = healings[id]?.first, healing.gap.id == gap else { throw CancellationError() }
        let fitting = healing.fitting(values, hole: index)
        guard let last = fitting.last else { return }
        let intake = running.intake
        let key = healing.holes[index].key
        guard let record = try await intake.eventLoop.submit({ intake.historyRecord(fitting, of: key) }).get() else {
            return
        }
        if let pass = running.grant?.pass, !pass.isValid { throw LeaseGate.Closed() }
        writer?.checks.begin()
        defer { writer?.checks.end(through: journal.endPosition) }
        _ = try await journal.append(record)
        // Nobody else works on this connection's gaps.
        healings[id]?[0].holes[index].after = last.microseconds
        healings[id]?[0].gap.readingsRecovered = (healing.gap.readingsRecovered ?? 0) + Int64(fitting.count)
        running.recovered.add(fitting.count)
    }

    func finish(_ gap: UUID, of id: UUID, _ outcomes: [HistoryOutcome]) async {
        guard let healing = healings[id]?.first, healing.gap.id == gap else { return }
        healings[id]?.removeFirst()
        let recovered = healing.gap.readingsRecovered ?? 0
        let isKept = outcomes.contains { if case .complete = $0 { true } else { false } }
        withoutHistory[id] = isKept || outcomes.isEmpty ? nil : .now + Self.historyPause
        let rows = healing.settled(outcomes, recovered: recovered, now: WallTime.microseconds())
        for row in rows {
            writer?.gaps.note(row, merges: false)
            shared.note(row)
            await append(.gap, of: id, GapRecordFormat.encoded(row))
        }
        await append(.healing, of: id, HealingRecord.encoded(Healing(gap: healing.gap, holes: [])))
        writer?.doorbell.ring()
        let isHealed = rows.first?.healedAtMicros != nil
        logger.log(
            level: isHealed ? .notice : .warning,
            isHealed ? "gap filled from the server's history" : "gap stays: the server has no history of it",
            metadata: [
                "connection_id": "\(id.uuidString.lowercased())", "count": "\(recovered)",
                "tags_without_history": "\(isHealed ? rows.count - 1 : healing.holes.count)",
            ]
        )
    }
}
