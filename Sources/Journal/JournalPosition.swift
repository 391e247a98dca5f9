/// A place in a tenant's journal: a logical byte offset that counts every record ever appended, over all segments and
/// restarts, and never goes backward. The end position of a record is what `ingest_checkpoints` stores (bigint).
package struct JournalPosition: RawRepresentable, Comparable, Hashable, Sendable, CustomStringConvertible {
    /// Bytes since the journal's beginning, never negative in a position that the journal gave out.
    package var rawValue: Int64

    package init(rawValue: Int64) {
        self.rawValue = rawValue
    }

    /// Where a new journal begins.
    package static let start = JournalPosition(rawValue: 0)

    /// No position a file names may lie beyond this (2^62): arithmetic on positions then cannot overflow.
    static let highest = JournalPosition(rawValue: 1 << 62)

    package static func < (left: JournalPosition, right: JournalPosition) -> Bool {
        left.rawValue < right.rawValue
    }

    package var description: String { String(rawValue) }
}
