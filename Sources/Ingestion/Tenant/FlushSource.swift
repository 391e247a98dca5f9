import Journal
import NIOCore
import Synchronization
import TimescaleStore

/// The rows of one flush, read back from the journal on the database thread.
final class FlushSource: Sendable {
    private let journal: TenantJournal
    private let from: JournalPosition

    private struct State {
        var end: JournalPosition
        var began = NIODeadline.now()
        /// Timestamps of some rows, microseconds since 1970, and for how many rows each stands.
        var samples: [(microseconds: Int64, rows: Int)] = []
        var damage: [Damage] = []
    }

    /// A part of the journal that could not be read, and the times of what lies beside it, microseconds since 1970.
    struct Damage {
        var error: JournalError
        var after: Int64?
        var until: Int64?
    }

    private let state: Mutex<State>

    /// One row in so many is looked at for the delay.
    private static let sampling = 16

    init(journal: TenantJournal, from: JournalPosition, to: JournalPosition) {
        self.journal = journal
        self.from = from
        state = Mutex(State(end: to))
    }

    /// Where the rows end.
    var end: JournalPosition { state.withLock { $0.end } }

    /// When it was settled where they end: what came later is for another flush.
    var began: NIODeadline { state.withLock { $0.began } }

    /// Takes as many more rows as have come meanwhile, `maximumRows` at most, unless `mayTake` says no, which is asked after that.
    func extend(maximumRows: Int, mayTake: () -> Bool) {
        // The shortest run there is may be longer than no rows.
        let found = maximumRows > 0 ? journal.flushBoundary(from: end, maximumRows: maximumRows).end : end
        let takes = mayTake()
        state.withLock { state in
            state.began = .now()
            if takes { state.end = max(state.end, found) }
        }
    }

    /// Hands all rows to `sink`. Damaged parts of the journal are passed over and remembered. May be called again.
    func read(_ sink: (UnsafeRawBufferPointer) throws -> Void) throws {
        var state = state.withLock { State(end: $0.end, began: $0.began) }
        let to = state.end
        let reader = journal.makeReader()
        var position = from
        var latest: Int64?
        while position < to {
            do {
                position = try reader.read(from: position, upTo: to) { header, payload in
                    position = header.endPosition
                    if let last = state.damage.indices.last, state.damage[last].until == nil {
                        state.damage[last].until = header.latestMicroseconds
                    }
                    latest = max(latest ?? .min, header.latestMicroseconds)
                    guard header.kind == .readings, header.rowCount > 0 else { return }
                    try sink(payload)
                    // What comes from history is late by nature and says nothing about this program.
                    if header.sequenceNumber != 0 { Self.sample(header, payload, &state.samples) }
                }
            } catch let error as JournalError {
                guard let resume = error.resumePosition, resume > position else { throw error }
                state.damage.append(Damage(error: error, after: latest))
                position = resume
            }
        }
        self.state.withLock { $0 = state }
    }

    /// The first sixteenth of a record's rows stands for all of them: a notification's values are of one time, as a rule.
    private static func sample(
        _ header: RecordHeader,
        _ payload: UnsafeRawBufferPointer,
        _ samples: inout [(microseconds: Int64, rows: Int)]
    ) {
        let rows = Int(header.rowCount)
        let looked = (rows + sampling - 1) / sampling
        var rest = payload[...]
        for index in 0..<looked {
            let bytes = UnsafeRawBufferPointer(rebasing: rest)
            // Our own rows, protected by the journal's checksum.
            guard bytes.count > 30, let length = try? CopyRow.length(prefixOf: bytes) else { return }
            // Column count 2, well id 4 + 16, node id 4 + its length, timestamp 4 + 8.
            let node = Int(Int32(bigEndian: bytes.loadUnaligned(fromByteOffset: 22, as: Int32.self)))
            let offset = 30 + max(0, node)
            guard offset + 8 <= length else { return }
            let micros = Int64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Int64.self))
            samples.append((micros &+ RowFormat.epochMicroseconds, min(sampling, rows - index * sampling)))
            rest = rest.dropFirst(length)
        }
    }

    /// Seconds from the sampled rows' timestamps to `committed`, and for how many rows each stands.
    func delays(at committed: Int64) -> [(seconds: Double, rows: Int)] {
        state.withLock { state in
            state.samples.map { (Double(max(0, committed &- $0.microseconds)) / 1e6, $0.rows) }
        }
    }

    var damage: [Damage] { state.withLock { $0.damage } }
}
