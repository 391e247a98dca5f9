/// How many rows lie below a position, and how old the record there is, in bounded memory.
///
/// Exact while the backlog has at most `capacity` records, and at its ends always; beyond that every second mark goes and
/// values between two marks are interpolated, an error of at most two parts in `capacity` of the backlog.
struct RowIndex {
    private struct Mark {
        /// Start of the first record the mark stands for.
        var position: Int64
        /// Where the record before it ended: less than `position` when positions were skipped in between.
        var previousEnd: Int64
        /// Rows of all records before it.
        var rowsBefore: Int64
        var receivedAt: Int64
    }

    private var marks: [Mark] = []
    /// Bytes a mark covers at least.
    private var granularity: Int64 = 0
    private let capacity: Int
    private(set) var end: Int64 = 0
    /// Rows of all records ever noted, less those removed.
    private(set) var total: Int64 = 0

    /// At most the capacity.
    var markCount: Int { marks.count }

    init(capacity: Int = 1024) {
        self.capacity = capacity
    }

    /// Notes the record from `position` to `end`, the last so far.
    mutating func append(position: Int64, end: Int64, rows: Int64, receivedAt: Int64) {
        if marks.last.map({ position - $0.position >= granularity }) ?? true {
            if marks.count >= capacity { thin() }
            let previousEnd = marks.isEmpty ? position : self.end
            marks.append(
                Mark(position: position, previousEnd: previousEnd, rowsBefore: total, receivedAt: receivedAt)
            )
        }
        self.end = end
        total += rows
    }

    /// Rows of records before `position`.
    func rows(below position: Int64) -> Int64 {
        guard position < end, let first = marks.first else { return total }
        guard position > first.position else { return first.rowsBefore }
        let index = index(covering: position)
        let mark = marks[index]
        let (nextEnd, nextRows) =
            index + 1 < marks.count ? (marks[index + 1].previousEnd, marks[index + 1].rowsBefore) : (end, total)
        guard position < nextEnd else { return nextRows }
        return mark.rowsBefore
            + Self.part(nextRows - mark.rowsBefore, position - mark.position, nextEnd - mark.position)
    }

    /// When the first record at or after `position` was received; nil when there is none.
    func receivedAt(from position: Int64) -> Int64? {
        guard position < end, let first = marks.first else { return nil }
        guard position > first.position else { return first.receivedAt }
        let index = index(covering: position)
        let mark = marks[index]
        guard index + 1 < marks.count else { return mark.receivedAt }
        let next = marks[index + 1]
        guard position < next.previousEnd else { return next.receivedAt }
        return mark.receivedAt
            + Self.part(next.receivedAt - mark.receivedAt, position - mark.position, next.position - mark.position)
    }

    /// Where a run of whole records from `position` ends that holds `maximumRows` rows at most, or else the shortest run
    /// that is known: a record's end, not behind `limit`, which must be one itself.
    /// - Returns: `limit` when it is not behind `position`; the rows, like ``rows(below:)``, interpolated at most at the ends.
    func boundary(from position: Int64, limit: Int64, maximumRows: Int64) -> (end: Int64, rows: Int64) {
        let limit = min(limit, end)
        guard position < limit else { return (position, 0) }
        let before = rows(below: position)
        let all = rows(below: limit) - before
        // The mark that `position` falls to, or the first, begins the run; those behind it may end it.
        var low = marks.isEmpty || position < marks[0].position ? 0 : index(covering: position)
        // After skipped positions, the mark behind them begins the run too.
        if low + 1 < marks.count, marks[low + 1].previousEnd <= position { low += 1 }
        guard all > maximumRows, low + 1 < marks.count, marks[low + 1].previousEnd < limit else { return (limit, all) }
        low += 1
        var high = marks.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if marks[middle].previousEnd < limit && marks[middle].rowsBefore - before <= maximumRows {
                low = middle
            } else {
                high = middle
            }
        }
        return (marks[low].previousEnd, marks[low].rowsBefore - before)
    }

    /// Marks wholly below `position` are not needed any more.
    mutating func forget(below position: Int64) {
        guard position < end else {
            marks.removeAll(keepingCapacity: true)
            granularity = 0
            return
        }
        guard let first = marks.first, position > first.position else { return }
        marks.removeFirst(index(covering: position))
    }

    /// The `rows` rows of `range` were given up.
    mutating func remove(_ range: Range<Int64>, rows: Int64) {
        guard !range.isEmpty else { return }
        total -= rows
        let first = marks.first { $0.position >= range.lowerBound }
        let previousEnd = first.flatMap { $0.position == range.lowerBound ? $0.previousEnd : nil } ?? range.lowerBound
        // Records behind the range may have no mark of their own but stand under one in it: that moves to the range's end.
        if let last = marks.lastIndex(where: { $0.position < range.upperBound }), range.contains(marks[last].position),
            last + 1 < marks.count ? marks[last + 1].previousEnd > range.upperBound : end > range.upperBound
        {
            marks[last].receivedAt = receivedAt(from: range.upperBound) ?? marks[last].receivedAt
            marks[last].rowsBefore = self.rows(below: range.upperBound)
            marks[last].position = range.upperBound
        }
        marks.removeAll { range.contains($0.position) }
        for index in marks.indices where marks[index].position >= range.upperBound {
            marks[index].rowsBefore -= rows
            if marks[index].previousEnd <= range.upperBound { marks[index].previousEnd = previousEnd }
        }
        if end <= range.upperBound { end = previousEnd }
        if marks.isEmpty { granularity = 0 }
    }

    /// The last mark at or before `position`, which lies behind the first mark.
    private func index(covering position: Int64) -> Int {
        var low = 0
        var high = marks.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if marks[middle].position <= position { low = middle } else { high = middle }
        }
        return low
    }

    private mutating func thin() {
        marks = marks.enumerated().compactMap { $0.offset.isMultiple(of: 2) ? $0.element : nil }
        guard let first = marks.first, let last = marks.last else { return }
        granularity = max(granularity * 2, (last.position - first.position) / Int64(max(marks.count, 1)))
    }

    /// `whole` × `numerator` / `denominator` without overflow.
    private static func part(_ whole: Int64, _ numerator: Int64, _ denominator: Int64) -> Int64 {
        guard denominator > 0 else { return 0 }
        return Int64(Double(whole) * (Double(numerator) / Double(denominator)))
    }
}
