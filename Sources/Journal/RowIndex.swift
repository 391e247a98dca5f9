/// How many rows lie below a position, and how old the record there is, in bounded memory.
///
/// Exact while the backlog has at most `capacity` records, and at its ends always; beyond that every second mark goes and
/// values between two marks are interpolated, an error of at most two parts in `capacity` of the backlog.
struct RowIndex {
    private struct Mark {
        /// Start of the first record the mark stands for.
        var position: Int64
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

    init(capacity: Int = 1024) {
        self.capacity = capacity
    }

    /// Notes the record from `position` to `end`, the last so far.
    mutating func append(position: Int64, end: Int64, rows: Int64, receivedAt: Int64) {
        if marks.last.map({ position - $0.position >= granularity }) ?? true {
            if marks.count >= capacity { thin() }
            marks.append(Mark(position: position, rowsBefore: total, receivedAt: receivedAt))
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
        let next = index + 1 < marks.count ? marks[index + 1] : Mark(position: end, rowsBefore: total, receivedAt: 0)
        return mark.rowsBefore
            + Self.part(next.rowsBefore - mark.rowsBefore, position - mark.position, next.position - mark.position)
    }

    /// When the first record at or after `position` was received; nil when there is none.
    func receivedAt(from position: Int64) -> Int64? {
        guard position < end, let first = marks.first else { return nil }
        guard position > first.position else { return first.receivedAt }
        let index = index(covering: position)
        let mark = marks[index]
        guard index + 1 < marks.count else { return mark.receivedAt }
        let next = marks[index + 1]
        return mark.receivedAt
            + Self.part(next.receivedAt - mark.receivedAt, position - mark.position, next.position - mark.position)
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
        total -= rows
        var kept: [Mark] = []
        kept.reserveCapacity(marks.count)
        for var mark in marks where !range.contains(mark.position) {
            if mark.position >= range.upperBound { mark.rowsBefore -= rows }
            kept.append(mark)
        }
        marks = kept
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
