package import FoundationEssentials

/// What a record holds. The journal stores the number and gives it back; the meaning is its callers'.
package struct RecordKind: RawRepresentable, Hashable, Sendable {
    package var rawValue: UInt8

    package init(rawValue: UInt8) {
        self.rawValue = rawValue
    }

    /// Finished rows of `COPY scada_readings … (FORMAT binary)`, without the stream's header and trailer.
    package static let readings = RecordKind(rawValue: 1)
    /// The journal's own: nothing follows in this file. Stands behind the last record of a segment whose file was used
    /// before and is longer than what has been written into it.
    static let end = RecordKind(rawValue: 0xFF)
}

/// What a journal record says about its payload.
package struct RecordHeader: Equatable, Sendable {
    package var kind: RecordKind
    /// Rows in the payload.
    package var rowCount: UInt32
    /// The connection the rows came from.
    package var source: UUID
    /// OPC UA SubscriptionId and SequenceNumber of the NotificationMessage (Part 4, 5.14.1.1), to be acknowledged once the
    /// record is durable.
    package var subscriptionID: UInt32
    package var sequenceNumber: UInt32
    /// When the notification arrived, microseconds since 1970.
    package var receivedAtMicroseconds: Int64
    /// The smallest and largest timestamp of the rows, microseconds since 1970.
    package var earliestMicroseconds: Int64
    package var latestMicroseconds: Int64
    /// Where the record begins and ends in the journal. The journal fills these in.
    package internal(set) var position = JournalPosition.start
    package internal(set) var endPosition = JournalPosition.start

    package init(
        kind: RecordKind = .readings,
        rowCount: UInt32,
        source: UUID,
        subscriptionID: UInt32 = 0,
        sequenceNumber: UInt32 = 0,
        receivedAtMicroseconds: Int64,
        earliestMicroseconds: Int64,
        latestMicroseconds: Int64
    ) {
        self.kind = kind
        self.rowCount = rowCount
        self.source = source
        self.subscriptionID = subscriptionID
        self.sequenceNumber = sequenceNumber
        self.receivedAtMicroseconds = receivedAtMicroseconds
        self.earliestMicroseconds = earliestMicroseconds
        self.latestMicroseconds = latestMicroseconds
    }
}

/// One record to append. Handing it to ``TenantJournal/append(_:priority:)`` hands over the ownership of `rows`.
package struct JournalRecord: Sendable {
    package var header: RecordHeader
    package var rows: RowBuffer

    package init(header: RecordHeader, rows: RowBuffer) {
        self.header = header
        self.rows = rows
    }

    /// Bytes the record takes in the journal.
    package var encodedLength: Int { RecordFormat.headerSize + rows.count }
}
