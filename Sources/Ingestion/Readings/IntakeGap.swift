package import FoundationEssentials
import OPCUAClient
package import OPCUACodec
import TimescaleStore

/// What an intake tells its tenant. Called on the connection's event loop; must be cheap and must not wait.
struct IntakeEvents: Sendable {
    var statusChanged: @Sendable (_ status: ConnectionStatus) -> Void = { _ in }
    /// The stream of notifications broke and goes on: what lies between the two times (microseconds since 1970) is missing.
    var gap: @Sendable (_ gap: IntakeGap) -> Void = { _ in }
    /// The first notification of a connection taken over from a lost replica is about to go into the journal.
    var firstAfterTakeover: @Sendable () -> Void = {}
    /// A tag became bad, or good again.
    var itemStatus: @Sendable (_ key: TagKey, _ status: StatusCode) -> Void = { _, _ in }
}

/// A hole in what a connection received. Times are microseconds since 1970.
package struct IntakeGap: Sendable, Equatable {
    package enum Cause: String, Sendable, CaseIterable {
        /// The subscription had to be made anew.
        case subscriptionLost = "subscription_lost"
        /// The server does not hold notifications any more that were never received.
        case notificationsLost = "notifications_lost"
        /// The server's queue of an item was full: the overflow bit.
        case queueOverflow = "queue_overflow"
        /// The journal was full and gave up its oldest records (JOURNAL_FULL_POLICY=drop-oldest).
        case journalFull = "journal_full"
        /// A part of the journal cannot be read.
        case journalDamaged = "journal_damaged"
        /// The tenant's database was put back to an earlier state, and the journal does not reach back to it.
        case databaseRestored = "database_restored"
        /// The replica that ran the connection was lost; what it had received is stored when it is back.
        case ownerLost = "owner_lost"
    }

    /// Of the row of `scada_gaps`.
    package var id = UUID()
    package var cause: Cause
    /// nil: all tags of the connection.
    package var key: TagKey?
    package var startedAt: Int64
    package var endedAt: Int64
    /// Every tag still has the value it had: nothing is missing.
    package var isEmpty = false
    /// What is known of each tag whose first value after the hole has come: where history is to be asked for.
    package var holes: [TagHole] = []

    /// The row of `scada_gaps`, not healed.
    func record(of connection: UUID) -> GapRecord {
        GapRecord(
            id: id,
            connectionID: connection,
            tagNodeID: key?.nodeID,
            startedAtMicros: startedAt,
            endedAtMicros: endedAt,
            cause: cause.rawValue
        )
    }
}

/// A tag that the server refuses.
package struct BadTag: Sendable {
    package var key: TagKey
    package var status: StatusCode
    /// Microseconds since 1970.
    package var since: Int64
}

/// A tag's own hole: from the last reading before to the first after, exclusive. Microseconds since 1970.
package struct TagHole: Sendable, Equatable {
    package var key: TagKey
    package var after: Int64
    package var until: Int64
}
