import Journal
import OPCUAClient
import OPCUACodec
import TimescaleStore

/// A gap on its way to be filled from the server's history.
///
/// A value; it is kept in the journal too, so that a restart goes on where it ended and reads nothing twice.
struct Healing: Equatable {
    var gap: GapRecord
    /// What is still missing; `after` moves as history is read, oldest first.
    var holes: [TagHole]

    /// How much older than the newest reading before the gap a missing value may be: servers and gateways may deliver late.
    static let lateness: Int64 = 60_000_000
    /// More holes than this are not kept apart: the gap stays one row for all tags.
    static let separateHoles = 100

    /// The interval to ask for, for all tags at once: from the newest reading before the gap, less what may have been on
    /// its way, to the last first reading after it. By the server's clock, whatever ours says; but a gap in which several
    /// breaks have become one began before the newest reading there is before one of them.
    var interval: (start: Int64, end: Int64) {
        let newest = holes.map(\.after).max() ?? 0
        let oldest = holes.map(\.after).min() ?? 0
        return (max(oldest, min(newest, gap.startedAtMicros) - Self.lateness), holes.map(\.until).max() ?? 0)
    }

    /// Whether the hole of this tag that holds `microseconds` has been read up to there.
    mutating func advance(_ key: TagKey, to microseconds: Int64) {
        guard
            let index = holes.firstIndex(where: {
                $0.key == key && $0.after < microseconds && microseconds < $0.until
            })
        else { return }
        holes[index].after = microseconds
    }

    /// The values that belong in a hole, with the timestamps to store them with: strictly after the last one, so that
    /// distinct values of one timestamp stay apart.
    func fitting(_ values: [DataValue], hole index: Int) -> [(microseconds: Int64, value: DataValue)] {
        let hole = holes[index]
        var last = hole.after
        var result: [(microseconds: Int64, value: DataValue)] = []
        var lastSource: Int64?
        for value in values {
            guard let time = value.sourceTimestamp ?? value.serverTimestamp, time.ticks > 0 else { continue }
            let source = time.unixMicroseconds
            guard source > hole.after, source < hole.until else { continue }
            let stored = source > last ? source : (source == lastSource ? last + 1 : source)
            guard stored < hole.until else { continue }
            lastSource = source
            last = max(last, stored)
            result.append((stored, value))
        }
        return result
    }

    /// Servers that keep no history of a node may answer "good" and no values. One that keeps it knows at least the readings
    /// beside the hole, which are in the table already: where these lie in the interval asked for and nothing came, there
    /// is no history.
    func credible(_ outcomes: [HistoryOutcome], asked: (start: Int64, end: Int64)) -> [HistoryOutcome] {
        zip(holes, outcomes).map { hole, outcome in
            guard outcome == .complete(values: 0), hole.after >= asked.start || hole.until < asked.end else {
                return outcome
            }
            return .refused(.goodNoData, values: 0)
        }
    }

    /// The gap's rows after history was read.
    /// - Parameter outcomes: one for each hole.
    /// - Returns: the gap itself first; then the gaps of single tags whose history could not be had, while the others are
    ///   healed.
    func settled(_ outcomes: [HistoryOutcome], recovered: Int64, now: Int64) -> [GapRecord] {
        var whole = gap
        whole.readingsRecovered = recovered
        let open = zip(holes, outcomes).filter { _, outcome in
            if case .complete = outcome { false } else { true }
        }
        if open.isEmpty {
            whole.healedAtMicros = now
            return [whole]
        }
        guard open.count < holes.count, open.count <= Self.separateHoles else { return [whole] }
        whole.healedAtMicros = now
        return [whole]
            + open.map { hole, _ in
                GapRecord(
                    connectionID: gap.connectionID,
                    tagNodeID: hole.key.nodeID,
                    startedAtMicros: hole.after,
                    endedAtMicros: hole.until,
                    cause: gap.cause
                )
            }
    }
}

/// ``Healing`` in the journal. Without holes: it has ended.
enum HealingRecord {
    static func encoded(_ healing: Healing) -> RowBuffer {
        var writer = FieldWriter()
        GapRecordFormat.write(healing.gap, &writer)
        writer.put(UInt32(healing.holes.count))
        for hole in healing.holes {
            writer.put(hole.key.wellID)
            writer.put(hole.key.nodeID)
            writer.put(hole.after)
            writer.put(hole.until)
        }
        return writer.buffer
    }

    static func decoded(_ bytes: UnsafeRawBufferPointer) -> Healing? {
        var reader = FieldReader(bytes)
        guard let gap = GapRecordFormat.read(&reader), let count = reader.get(UInt32.self) else { return nil }
        var holes: [TagHole] = []
        for _ in 0..<count {
            guard let well = reader.uuid(), let node = reader.text(), let after = reader.get(Int64.self),
                let until = reader.get(Int64.self)
            else { return nil }
            holes.append(TagHole(key: TagKey(wellID: well, nodeID: node), after: after, until: until))
        }
        return Healing(gap: gap, holes: holes)
    }
}
