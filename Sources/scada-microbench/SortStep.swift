import Journal
import TimescaleStore

/// Rows as they arrive, one of each tag in turn, into the order of the table's index.
struct SortStep {
    private static let tags = 1_000
    private static let rowsOfTag = 10

    private let rows = RowBuffer()

    init() throws {
        var step = try DecodeStep(values: Self.tags)
        for _ in 0..<Self.rowsOfTag { try step.encode(into: rows) }
    }

    /// - Returns: rows sorted.
    func run(_ rounds: Int) throws -> Int {
        var bytes = 0
        for _ in 0..<rounds {
            var sorter = RowSorter(for: .columnstore)
            try rows.withUnsafeBytes { try sorter.add($0) { bytes += $0.count } }
            try sorter.finish { bytes += $0.count }
        }
        guard bytes == rounds * rows.count else { throw StepError("rows were lost") }
        return rounds * rows.rowCount
    }
}
