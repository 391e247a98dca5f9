import Testing

@testable import Journal

/// What ``RowIndex`` stands for, record by record.
private struct NaiveIndex {
    struct Record {
        var start: Int64
        var end: Int64
        var rows: Int64
        var receivedAt: Int64
    }

    var records: [Record] = []
    /// Rows of records that are not there any more but still count as below every position.
    var goneRows: Int64 = 0

    func rows(below position: Int64) -> Int64 {
        goneRows + records.filter { $0.start < position }.reduce(0) { $0 + $1.rows }
    }

    var total: Int64 { goneRows + records.reduce(0) { $0 + $1.rows } }

    func receivedAt(from position: Int64) -> Int64? {
        records.first { $0.start >= position }?.receivedAt
    }

    mutating func forget(below position: Int64) {
        goneRows += records.filter { $0.end <= position }.reduce(0) { $0 + $1.rows }
        records.removeAll { $0.end <= position }
    }

    mutating func remove(_ range: Range<Int64>) -> Int64 {
        let rows = records.filter { range.contains($0.start) }.reduce(0) { $0 + $1.rows }
        records.removeAll { range.contains($0.start) }
        return rows
    }

    func boundary(from position: Int64, limit: Int64, maximumRows: Int64) -> (end: Int64, rows: Int64) {
        var end = position
        var rows: Int64 = 0
        var count = 0
        for record in records where record.start >= position && record.end <= limit {
            if count > 0 && rows + record.rows > maximumRows { break }
            end = record.end
            rows += record.rows
            count += 1
        }
        return (end, rows)
    }
}

@Suite struct RowIndexTests {
    @Test func anEmptyIndexHasNothing() {
        let index = RowIndex()
        #expect(index.total == 0)
        #expect(index.rows(below: 0) == 0)
        #expect(index.rows(below: 1000) == 0)
        #expect(index.receivedAt(from: 0) == nil)
        #expect(index.boundary(from: 0, limit: 0, maximumRows: 10) == (0, 0))
    }

    /// Below its capacity the index is exact at every record's start and end, whatever is forgotten, dropped or skipped.
    @Test(arguments: 1...8) func agreesWithTheNaiveModelBelowItsCapacity(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var index = RowIndex(capacity: 1 << 20)
        var model = NaiveIndex()
        var end: Int64 = 0
        var forgotten: Int64 = 0
        for step in 0..<250 {
            switch Int.random(in: 0..<10, using: &random) {
            case 0:
                // Positions are skipped.
                end += Int64.random(in: 1...500, using: &random)
            case 1:
                guard let record = model.records.randomElement(using: &random) else { continue }
                forgotten = max(forgotten, Bool.random(using: &random) ? record.start : record.end)
                index.forget(below: forgotten)
                model.forget(below: forgotten)
            case 2:
                guard Int.random(in: 0..<3, using: &random) == 0, model.records.count > 4 else { continue }
                let first = Int.random(in: 0..<model.records.count - 1, using: &random)
                let last = Int.random(in: first..<min(model.records.count, first + 5), using: &random)
                let range = model.records[first].start..<model.records[last].end
                index.remove(range, rows: model.remove(range))
            default:
                let length = Int64.random(in: 64...300, using: &random)
                let rows = Int64.random(in: 0...9, using: &random)
                let receivedAt = Int64(step * 10)
                index.append(position: end, end: end + length, rows: rows, receivedAt: receivedAt)
                model.records.append(.init(start: end, end: end + length, rows: rows, receivedAt: receivedAt))
                end += length
            }
            #expect(index.total == model.total, "seed \(seed), step \(step)")
            for record in model.records {
                for position in [record.start, record.end] where position >= forgotten {
                    #expect(
                        index.rows(below: position) == model.rows(below: position),
                        "seed \(seed), step \(step), position \(position)"
                    )
                    #expect(
                        index.receivedAt(from: position) == model.receivedAt(from: position),
                        "seed \(seed), step \(step), position \(position)"
                    )
                }
            }
            guard let from = model.records.randomElement(using: &random),
                let limit = model.records.randomElement(using: &random)?.end
            else { continue }
            let maximum = Int64.random(in: 0...40, using: &random)
            for position in [from.start, from.end] {
                let expected = model.boundary(from: position, limit: limit, maximumRows: maximum)
                let found = index.boundary(from: position, limit: limit, maximumRows: maximum)
                #expect(
                    found.end == expected.end && found.rows == expected.rows,
                    "seed \(seed), step \(step), from \(position), limit \(limit), at most \(maximum) rows"
                )
            }
        }
    }

    /// Beyond its capacity: memory stays bounded, the ends stay exact, the middle is near, a boundary is a record's end.
    @Test(arguments: 1...5) func staysBoundedAndNearBeyondItsCapacity(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let capacity = 64
        var index = RowIndex(capacity: capacity)
        var model = NaiveIndex()
        var end: Int64 = 0
        for step in 0..<5000 {
            let length = Int64.random(in: 100...200, using: &random)
            index.append(position: end, end: end + length, rows: 10, receivedAt: Int64(step))
            model.records.append(.init(start: end, end: end + length, rows: 10, receivedAt: Int64(step)))
            end += length
        }
        #expect(index.markCount <= capacity)
        #expect(index.rows(below: 0) == 0)
        #expect(index.rows(below: end) == 50_000)
        let tolerance = Int64(50_000 * 4 / capacity)
        let ends = Set(model.records.map(\.end))
        for _ in 0..<200 {
            guard let record = model.records.randomElement(using: &random) else { return }
            #expect(abs(index.rows(below: record.start) - model.rows(below: record.start)) <= tolerance)
            if let received = index.receivedAt(from: record.start) {
                #expect(abs(received - record.receivedAt) <= tolerance / 10)
            } else {
                Issue.record("seed \(seed): nothing at \(record.start)")
            }
            guard let limit = model.records.randomElement(using: &random)?.end, limit > record.start else { continue }
            let maximum = Int64.random(in: 1...20_000, using: &random)
            let (boundary, rows) = index.boundary(from: record.start, limit: limit, maximumRows: maximum)
            #expect(boundary > record.start && boundary <= limit, "seed \(seed)")
            #expect(ends.contains(boundary), "seed \(seed): \(boundary) is no record's end")
            #expect(rows <= max(maximum, tolerance), "seed \(seed)")
            #expect(abs(rows - (model.rows(below: boundary) - model.rows(below: record.start))) <= tolerance)
        }
        // The whole backlog is walked through from boundary to boundary, and no row is counted twice or left out.
        var position: Int64 = 0
        var rows: Int64 = 0
        while position < end {
            let next = index.boundary(from: position, limit: end, maximumRows: 3000)
            #expect(next.end > position)
            guard next.end > position else { return }
            rows += next.rows
            position = next.end
        }
        #expect(rows == 50_000)
    }

    @Test func aDroppedSegmentTakesItsRowsAlong() {
        var index = RowIndex(capacity: 4)
        for record in 0..<64 {
            index.append(
                position: Int64(record) * 100,
                end: Int64(record + 1) * 100,
                rows: 1,
                receivedAt: Int64(record)
            )
        }
        // Far fewer marks than records: the rest stands under marks that lie in what is removed.
        index.remove(0..<1000, rows: 10)
        #expect(index.total == 54)
        #expect(index.rows(below: 1000) == 0)
        #expect(index.rows(below: 6400) == 54)
        index.remove(1000..<6400, rows: 54)
        #expect(index.total == 0)
        #expect(index.rows(below: 5000) == 0)
        #expect(index.receivedAt(from: 0) == nil)
        index.append(position: 6400, end: 6500, rows: 7, receivedAt: 99)
        #expect(index.rows(below: 6400) == 0)
        #expect(index.boundary(from: 6400, limit: 6500, maximumRows: 1) == (6500, 7))
    }
}
