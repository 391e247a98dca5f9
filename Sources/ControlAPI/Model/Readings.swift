package import FoundationEssentials

/// What readings are made from.
package enum Resolution: UInt32, Sendable, CaseIterable {
    case raw = 0
    case hourly = 1
    case daily = 2
    case monthly = 3
}

/// The OPC UA severity of a StatusCode (Part 4, 7.39), as stored in `scada_readings.quality`.
package enum ReadingQuality: String, Sendable, CaseIterable {
    case good = "Good"
    case uncertain = "Uncertain"
    case bad = "Bad"
}

/// A range of time, both ends inclusive, in microseconds since 1970. nil = unbounded on that side.
package struct TimeRange: Sendable, Equatable {
    package var startMicros: Int64?
    package var endMicros: Int64?

    package init(startMicros: Int64?, endMicros: Int64?) {
        self.startMicros = startMicros
        self.endMicros = endMicros
    }
}

/// A checked QueryReadings or StreamReadings request.
package struct ReadingsQuery: Sendable, Equatable {
    package var tenantID: UUID
    package var wellID: UUID
    package var range: TimeRange
    /// Empty = all tags of the well. Syntactically right node ids.
    package var tagNodeIDs: [String]
    /// Readings a page, 1 to 10,000.
    package var limit: Int
    /// The token of the page before as the backend made it; nil = from the beginning. Its content is the backend's to
    /// check (`INVALID_ARGUMENT`, field `page_token`).
    package var pageToken: String?
    package var resolution: Resolution
    package var ascending: Bool
    /// End a page early, with a next page token, when the sum of `Reading.encodedSize` would pass this (a page has one
    /// reading at least): clients take messages of 4 MiB by default, and a page of a stream is to be one message.
    package var maxPageBytes: Int
}

/// One stored reading, or one bucket of a roll-up.
package struct Reading: Sendable, Equatable {
    package var wellID: UUID
    package var tagNodeID: String
    /// Microseconds since 1970; the bucket's start for roll-ups.
    package var timestampMicros: Int64
    /// nil = no number (a text, or no value). The average for roll-ups.
    package var value: Double?
    package var quality: ReadingQuality
    /// OPC UA StatusCode; 0 = Good.
    package var statusCode: UInt32
    /// Empty = the value is not a text.
    package var valueText: String
    /// Roll-ups only.
    package var min: Double
    package var max: Double
    package var count: Int64

    package init(
        wellID: UUID,
        tagNodeID: String,
        timestampMicros: Int64,
        value: Double?,
        quality: ReadingQuality,
        statusCode: UInt32 = 0,
        valueText: String = "",
        min: Double = 0,
        max: Double = 0,
        count: Int64 = 0
    ) {
        self.wellID = wellID
        self.tagNodeID = tagNodeID
        self.timestampMicros = timestampMicros
        self.value = value
        self.quality = quality
        self.statusCode = statusCode
        self.valueText = valueText
        self.min = min
        self.max = max
        self.count = count
    }

    /// An upper bound of the bytes this reading takes in a response.
    package var encodedSize: Int {
        Self.fixedSize + tagNodeID.utf8.count + valueText.utf8.count
    }

    /// What of `encodedSize` does not depend on texts.
    package static let fixedSize = 136
}

package struct ReadingsPage: Sendable, Equatable {
    package var readings: [Reading]
    /// nil = the last page. At most 16,384 bytes of printable ASCII.
    package var nextPageToken: String?

    package init(readings: [Reading], nextPageToken: String? = nil) {
        self.readings = readings
        self.nextPageToken = nextPageToken
    }
}

/// Takes the pages of a StreamReadings call. One write at a time: a page is asked for only when the one before was taken.
package struct ReadingsWriter: Sendable {
    private let send: @Sendable (ReadingsPage) async throws -> Void

    package init(_ send: @escaping @Sendable (ReadingsPage) async throws -> Void) {
        self.send = send
    }

    /// Returns when the page has passed the client's flow control, so that a slow reader slows its producer and memory
    /// stays at about one page. Throws `ControlError` (`CANCELLED`, `DEADLINE_EXCEEDED`) when nobody reads any more: stop.
    package func write(_ page: ReadingsPage) async throws {
        try await send(page)
    }
}

package struct AggregatorStats: Sendable, Equatable {
    /// Readings received and not yet handed to the database.
    package var bufferSize: Int
    /// nil = no write has succeeded yet.
    package var timeSinceLastFlush: Duration?
    package var journalBytes: Int64
    package var backlogReadings: Int64
    package var oldestUnstoredAge: Duration

    package init(
        bufferSize: Int,
        timeSinceLastFlush: Duration?,
        journalBytes: Int64,
        backlogReadings: Int64,
        oldestUnstoredAge: Duration
    ) {
        self.bufferSize = bufferSize
        self.timeSinceLastFlush = timeSinceLastFlush
        self.journalBytes = journalBytes
        self.backlogReadings = backlogReadings
        self.oldestUnstoredAge = oldestUnstoredAge
    }
}
