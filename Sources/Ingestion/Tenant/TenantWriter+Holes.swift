import FoundationEssentials
import Journal
import Logging
import NIOPosix
import TimescaleStore

/// What the writer finds missing, and how it is recorded.
extension TenantWriter {
    /// The database's checkpoint is not where it was left: another database under the same name, or one restored from a
    /// backup. What of the journal is still there is stored again; what lies between is a gap.
    func recover(found: Int64?, expected: JournalPosition) async {
        logger.warning(
            "the database's checkpoint is not where it was left: it was replaced or restored",
            metadata: ["expected": "\(expected)", "found": "\(found.map(String.init) ?? "none")"]
        )
        // What is stored again may be what another replica stores again too.
        checks.check(through: journal.endPosition)
        // From here on nothing more of what the database lacks is removed.
        let start = journal.rewind(to: found.map { JournalPosition(rawValue: $0) } ?? journal.oldestPosition)
        do throws(StoreError) {
            if let found, JournalPosition(rawValue: found) < start {
                try await recordHole(from: JournalPosition(rawValue: found), to: start, .databaseRestored)
            }
            // Whatever the database does not know of the gaps either.
            for gap in await journaledGaps(isComplete: found.map { $0 >= start.rawValue } ?? false) {
                gaps.note(gap, merges: false)
            }
            if found != start.rawValue {
                try await store.setCheckpoint(in: url, journalID: journal.journalID, to: start.rawValue)
            }
            committed = start
        } catch {
            failed(error)
        }
    }

    /// Writes a gap for each connection: from what the journal has before the positions that are gone, or else the database
    /// has last, to what the journal has first behind them.
    func recordHole(
        from lower: JournalPosition,
        to upper: JournalPosition,
        _ cause: IntakeGap.Cause
    ) async throws(StoreError) {
        logger.error(
            "readings that were in the journal are gone; see scada_gaps",
            metadata: ["cause": "\(cause.rawValue)", "from": "\(lower)", "to": "\(upper)"]
        )
        let stored = try await store.storedUntil(in: url, journalID: journal.journalID)
        let bounds = await bounds(from: lower, to: upper)
        let now = WallTime.microseconds()
        let found = Set(stored.keys).union(bounds.before.keys).compactMap { connection -> GapRecord? in
            guard let start = bounds.before[connection] ?? stored[connection] else { return nil }
            return GapRecord(
                id: Self.identifier(journal.journalID, connection, lower, upper),
                connectionID: connection,
                startedAtMicros: start,
                endedAtMicros: max(start, bounds.after[connection] ?? now),
                cause: cause.rawValue
            )
        }
        try await ledger.record(found, in: url)
        for gap in found { gapFound(gap) }
    }

    /// The same hole found again, because the process ended before it could go on, is the same gap.
    private static func identifier(
        _ journal: UUID,
        _ connection: UUID,
        _ start: JournalPosition,
        _ end: JournalPosition
    ) -> UUID {
        var (high, low) = (UInt64(bitPattern: start.rawValue), UInt64(bitPattern: end.rawValue))
        for id in [journal, connection] {
            let parts = withUnsafeBytes(of: id.uuid) {
                ($0.loadUnaligned(as: UInt64.self), $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
            }
            high = (high ^ parts.0) &* 0x9E37_79B9_7F4A_7C15
            low = (low ^ parts.1) &* 0xC2B2_AE3D_27D4_EB4F
            high ^= low >> 31
            low ^= high >> 29
        }
        // Version 8 (RFC 9562, 5.8): made of what we like.
        high = high & ~0xF000 | 0x8000
        low = low & ~(3 << 62) | 1 << 63
        var id = UUID().uuid
        withUnsafeMutableBytes(of: &id) {
            $0.storeBytes(of: high.bigEndian, as: UInt64.self)
            $0.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
        }
        return UUID(uuid: id)
    }

    /// The times beside positions that are gone, of each connection, microseconds since 1970.
    private struct Bounds: Sendable {
        struct Subscription: Hashable {
            var connection: UUID
            var id: UInt32
        }

        /// The newest reading before them.
        var before: [UUID: Int64] = [:]
        /// Up to when readings in them may be stamped: the newest in the first notification of every subscription behind them.
        var after: [UUID: Int64] = [:]
        var seen: Set<Subscription> = []
    }

    private func bounds(from lower: JournalPosition, to upper: JournalPosition) async -> Bounds {
        await scan(from: journal.oldestPosition) { (bounds: inout Bounds, header, _) in
            guard header.kind == .readings, header.sequenceNumber != 0, header.rowCount > 0 else { return }
            let latest = header.latestMicroseconds
            if header.endPosition <= lower {
                bounds.before[header.source] = max(bounds.before[header.source] ?? .min, latest)
            } else if header.position >= upper {
                let subscription = Bounds.Subscription(connection: header.source, id: header.subscriptionID)
                guard bounds.seen.insert(subscription).inserted else { return }
                bounds.after[header.source] = max(bounds.after[header.source] ?? .min, latest)
            }
        } initial: {
            Bounds()
        }
    }

    /// The gaps in the journal, the latest state of each, in order.
    /// - Parameter isComplete: false: readings that filled a gap may be gone with the rest, so none counts as healed.
    private func journaledGaps(isComplete: Bool) async -> [GapRecord] {
        await scan(from: journal.oldestPosition) { (gaps: inout [GapRecord], header, payload) in
            guard header.kind == .gap, var gap = GapRecordFormat.decoded(payload) else { return }
            if !isComplete { gap.healedAtMicros = nil }
            gaps.append(gap)
        } initial: {
            []
        }
    }

    /// Goes through the journal on a thread that may wait for the disk; damaged parts are passed over.
    private func scan<State: Sendable>(
        from start: JournalPosition,
        _ visit: @escaping @Sendable (inout State, RecordHeader, UnsafeRawBufferPointer) -> Void,
        initial: @escaping @Sendable () -> State
    ) async -> State {
        let journal = journal
        let result = try? await NIOThreadPool.singleton.runIfActive {
            var state = initial()
            let reader = journal.makeReader()
            defer { reader.release() }
            var position = start
            let end = journal.durablePosition
            while position < end {
                do {
                    position = try reader.read(from: position, upTo: end) { header, payload in
                        visit(&state, header, payload)
                    }
                } catch let error as JournalError {
                    guard let resume = error.resumePosition, resume > position else { break }
                    position = resume
                }
            }
            return state
        }
        return result ?? initial()
    }

    /// Rows that cannot be read from the journal are lost. Whose they were nobody knows any more: the gap is all running
    /// connections'.
    func note(_ damage: FlushSource.Damage) {
        logger.error("readings in a damaged part of the journal are lost", metadata: ["error": "\(damage.error)"])
        let now = WallTime.microseconds()
        for connection in connections() {
            let gap = GapRecord(
                connectionID: connection,
                startedAtMicros: damage.after ?? damage.until ?? now,
                endedAtMicros: damage.until ?? now,
                cause: IntakeGap.Cause.journalDamaged.rawValue
            )
            gaps.note(gap)
            gapFound(gap)
        }
    }
}
