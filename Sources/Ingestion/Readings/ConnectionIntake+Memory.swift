import FoundationEssentials
import Journal
import Logging
import NIOCore
import OPCUAClient
import OPCUACodec
import TimescaleStore

/// What the next run of the process has to know.
extension ConnectionIntake {
    /// What the next run of the process has to know. The record has to stand in the journal exactly between the
    /// notifications before and after this moment, so it is appended here and not in a task.
    func appendSubscriptions() {
        guard let record = subscriptionsRecord(handles: []) else { return }
        append(.subscriptions, record.encoded(table))
    }

    func subscriptionsRecord(handles: [(handle: UInt32, key: TagKey)]) -> SubscriptionsRecord? {
        guard var record = subscriptions else { return nil }
        record.lastReceivedAt = lastReceivedAt
        for index in record.subscriptions.indices {
            record.subscriptions[index].lastDurableSequenceNumber =
                sequenceNumbers[record.subscriptions[index].subscriptionID] ?? 0
        }
        record.handles = handles
        return record
    }

    /// Writes down the states of all tags and the subscriptions, so that what lies before in the journal is not needed for
    /// recovery any more. Before the server has been reached in this run those of the run before: without them the next
    /// run would take its new subscriptions for the first ones, and what lies between would be missed by nobody.
    func appendSnapshot() {
        append(.tagStates, TagStateRecord.encoded(table))
        if let openGap { append(.openGap, record(openGap).encoded()) }
        appendSubscriptions()
    }

    func append(_ kind: RecordKind, _ payload: RowBuffer) {
        do throws(JournalError) {
            let record = JournalRecord.note(kind, source: connectionID, payload)
            guard try journal.appendIfPossible(record, priority: .reserve) == nil else { return }
            logger.warning("the journal has no room for what the next start should know")
        } catch {
            logger.warning("the journal refused what the next start should know", metadata: ["error": "\(error)"])
        }
    }

    /// A record of values read from a tag's history. On the event loop; nil when the tag is not known any more.
    func historyRecord(
        _ values: [(microseconds: Int64, value: DataValue)],
        of key: TagKey
    ) -> JournalRecord? {
        guard let handle = table.existingHandle(for: key), let first = values.first, let last = values.last else {
            return nil
        }
        let rows = buffers.take()
        for (microseconds, value) in values {
            encoder.append(value, handle: handle, microseconds: microseconds, into: rows)
        }
        return JournalRecord(
            header: RecordHeader(
                rowCount: UInt32(rows.rowCount),
                source: connectionID,
                receivedAtMicroseconds: WallTime.microseconds(),
                earliestMicroseconds: first.microseconds,
                latestMicroseconds: last.microseconds
            ),
            rows: rows
        )
    }
}
