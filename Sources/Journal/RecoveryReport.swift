/// Something that was found wrong with a tenant's folder when it was opened. What could not be used was set aside, never
/// deleted.
package struct JournalIssue: Sendable, Equatable, CustomStringConvertible {
    package enum Kind: Sendable, Equatable {
        /// The last segment ends in the middle of a record, or in bytes that are none: usual after power loss.
        case tornTail
        /// The same in a segment that has successors: records that were durable are lost.
        case corruptRecords
        /// The segment's own header is unreadable: all of it is lost.
        case damagedHeader
        /// Segments that should be there are not.
        case missingSegments
        /// Not written by this program, or for another journal or tenant.
        case foreignFile
        /// Written by a later version of this program.
        case futureVersion
        /// The file with the journal's id was missing or unreadable; `message` says where the id comes from now.
        case identity
    }

    package var kind: Kind
    /// The file it is about, within the tenant's folder.
    package var file: String
    /// Where in the file the trouble begins, and how many bytes are affected.
    package var offset: Int64 = 0
    package var bytes: Int64 = 0
    /// The positions that are lost, when they are known: what was in them and not stored wants a gap row.
    package var lost: Range<JournalPosition>?
    /// The name under which it is kept; nil when it is where it was.
    package var setAsideAs: String?
    package var message: String

    package var description: String {
        var text = "\(file): \(message)"
        if let lost { text += "; positions \(lost.lowerBound) to \(lost.upperBound) are lost" }
        if let setAsideAs { text += "; kept as \(setAsideAs)" }
        return text
    }
}

/// What opening a tenant's journal found.
package struct RecoveryReport: Sendable {
    package var issues: [JournalIssue] = []
    package var segments = 0
    package var records = 0
    package var rows = 0
    /// Bytes of segment files.
    package var bytes = 0
    /// Whether there was a journal before.
    package var isNew = false
}
