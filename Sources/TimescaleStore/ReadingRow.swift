package import FoundationEssentials

/// A stored reading, or a bucket of a roll-up.
package struct ReadingRow: Sendable, Equatable {
    package var wellID: UUID
    package var tagNodeID: String
    /// Microseconds since 1970; a roll-up's bucket start. The infinities are Int64's ends.
    package var timestampMicros: Int64
    /// A roll-up's average. nil when the reading is no number.
    package var value: Double?
    /// `Good`, `Uncertain` or `Bad`; of a roll-up: `Good` when all its readings are, `Bad` when none is.
    package var quality: String
    package var valueText: String?
    /// nil when Good, and for roll-ups.
    package var statusCode: Int64?
    /// Roll-ups only, as `max` and `count`.
    package var min: Double?
    package var max: Double?
    package var count: Int64?
}

/// What to ask for.
package struct ReadingsQuery: Sendable, Equatable {
    package static let largestPage = 10_000

    package enum Resolution: String, Sendable, CaseIterable {
        case raw, hourly, daily, monthly
    }

    package var wellID: UUID
    /// Microseconds since 1970, both inclusive. A roll-up gives every bucket that overlaps the range.
    package var startMicros: Int64
    package var endMicros: Int64
    /// Empty: all tags of the well.
    package var tagNodeIDs: [String]
    package var resolution: Resolution
    /// Oldest first; else newest first.
    package var ascending: Bool

    package init(
        wellID: UUID,
        startMicros: Int64,
        endMicros: Int64,
        tagNodeIDs: [String] = [],
        resolution: Resolution = .raw,
        ascending: Bool = false
    ) {
        self.wellID = wellID
        self.startMicros = startMicros
        self.endMicros = endMicros
        self.tagNodeIDs = tagNodeIDs
        self.resolution = resolution
        self.ascending = ascending
    }

    /// Fingerprint for page tokens.
    var scope: UInt64 {
        PageToken.scope(
            of: [
                "readings", wellID.uuidString, "\(startMicros)", "\(endMicros)", resolution.rawValue,
                ascending ? "asc" : "desc",
            ] + tagNodeIDs.sorted()
        )
    }
}

package struct ReadingsPage: Sendable {
    package var readings: [ReadingRow]
    /// nil after the last page.
    package var nextPageToken: String?
}
