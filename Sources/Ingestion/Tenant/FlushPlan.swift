import Journal

/// How the rows that wait are divided into flushes: one, or several made at the same time, each with a connection of its own.
///
/// A value without journal or database.
struct FlushPlan: Equatable {
    struct Part: Equatable {
        var from: JournalPosition
        var end: JournalPosition
        var rows: Int
    }

    /// Rows below which another COPY stream costs more than it saves: it is a transaction and a sync of its own.
    static let minimumRows = 2_500

    /// In the order in which they are to be committed, without holes; empty when there is nothing to store.
    private(set) var parts: [Part] = []

    var rows: Int { parts.reduce(0) { $0 + $1.rows } }
    var end: JournalPosition? { parts.last?.end }

    /// - Parameters:
    ///   - rows: those that wait.
    ///   - streams: flushes at the same time, at most.
    ///   - maximumRows: rows of one flush, at most, as far as records can be divided.
    ///   - boundary: where whole records from a position on end that have so many rows at most, and how many they have, see
    ///     ``TenantJournal/flushBoundary(from:maximumRows:)``.
    init(
        from start: JournalPosition,
        rows: Int,
        streams: Int,
        maximumRows: Int,
        boundary: (_ from: JournalPosition, _ maximumRows: Int) -> (end: JournalPosition, rows: Int)
    ) {
        let count = max(1, min(streams, rows / Self.minimumRows))
        var position = start
        var left = rows
        for streams in (1...count).reversed() {
            // The last one takes what has come meanwhile too.
            let share = streams == 1 ? maximumRows : min(maximumRows, (left + streams - 1) / streams)
            var found = boundary(position, share)
            guard found.end > position else { return }
            if streams > 1 {
                // One record more may come nearer to the share: the longest part is what the others wait for.
                let next = boundary(found.end, 1)
                let rows = found.rows + next.rows
                if next.end > found.end, rows <= maximumRows, rows - share < share - found.rows {
                    found = (next.end, rows)
                }
            }
            left = max(0, left - found.rows)
            parts.append(Part(from: position, end: found.end, rows: found.rows))
            position = found.end
        }
    }
}
