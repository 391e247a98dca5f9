import FoundationEssentials
import Journal
import Logging
import NIOCore
package import OPCUAClient
import OPCUACodec
import TimescaleStore

/// Holes in the stream of notifications: noticed, bounded by the readings beside them, and told.
extension ConnectionIntake {
    nonisolated(nonsending) package func continuity(_ event: ContinuityEvent) async {
        switch event {
        case .reactivated, .transferred: break
        case .recreated(let reason, let handles):
            logger.notice("subscriptions made anew", metadata: ["reason": "\(reason)"])
            // A restarted server gives out the same ids again, and counts from 1.
            if handles == nil {
                sequenceNumbers = [:]
                subscriptions?.subscriptions = []
            }
            awaitFirst(.subscriptionLost, handles)
        case .notificationsLost(let subscription, let numbers, let handles):
            logger.warning(
                "notifications cannot be had any more",
                metadata: [
                    "subscription": "\(subscription)", "first": "\(numbers.lowerBound)",
                    "last": "\(numbers.upperBound)",
                ]
            )
            awaitFirst(.notificationsLost, handles)
        }
    }

    func awaitFirst(_ cause: IntakeGap.Cause, _ handles: [UInt32]?) {
        // Nothing was ever received: there is no hole, this is the beginning.
        guard let startedAt = openGap?.startedAt ?? lastReceivedAt else { return }
        let affected = (handles ?? table.allHandles.map(\.handle)).filter { table.state(of: $0) != nil }
        for handle in affected { encoder.expectFirst(handle) }
        var gap = openGap ?? OpenGap(cause: cause, startedAt: startedAt, awaited: [])
        gap.awaited.formUnion(affected)
        openGap = gap
        append(.openGap, record(gap).encoded())
        scheduleClosing(startedAt)
    }

    /// Tags that never report again must not keep the gap from being recorded.
    func scheduleClosing(_ startedAt: Int64) {
        eventLoop.scheduleTask(in: .seconds(30)) { [weak self] in self?.closeGap(startedAt) }
    }

    func record(_ gap: OpenGap) -> OpenGapRecord {
        var record = OpenGapRecord(
            id: gap.id,
            cause: gap.cause,
            startedAt: gap.startedAt,
            firstAt: gap.firstAt,
            awaited: [:],
            holes: gap.holes
        )
        for handle in gap.awaited {
            guard let key = table.key(of: handle), let state = table.state(of: handle) else { continue }
            record.awaited[key] = state.storedMicroseconds
        }
        return record
    }

    func take(_ happened: [ReadingEncoder.Event], _ context: NotificationContext) {
        if openGap != nil, openGap?.firstAt == nil { openGap?.firstAt = context.receivedAtUnixMicroseconds }
        var overflows: [TagHole] = []
        for event in happened {
            switch event {
            case .overflow(let handle, let after, let until):
                guard let key = table.key(of: handle) else { continue }
                // In the first value after a break: the break's hole has the same bounds, and history would be asked for both.
                if let after, after < until, openGap?.awaited.contains(handle) == true { continue }
                overflows.append(TagHole(key: key, after: min(after ?? until, until), until: until))
            case .first(let handle, let before, let at):
                guard openGap != nil, let key = table.key(of: handle) else { continue }
                openGap?.awaited.remove(handle)
                if at > before.storedMicroseconds {
                    openGap?.holes.append(TagHole(key: key, after: before.storedMicroseconds, until: at))
                }
            }
        }
        report(overflows)
        if let gap = openGap, gap.awaited.isEmpty { closeGap(gap.startedAt) }
    }

    /// Holes of one notification up to this number are a gap for each tag, more are one for all tags.
    static let separateOverflows = 20

    func report(_ overflows: [TagHole]) {
        if overflows.count <= Self.separateOverflows {
            for hole in overflows {
                events.gap(
                    IntakeGap(
                        cause: .queueOverflow,
                        key: hole.key,
                        startedAt: hole.after,
                        endedAt: hole.until,
                        holes: hole.after < hole.until ? [hole] : []
                    )
                )
            }
        } else if let start = overflows.map(\.after).min(), let end = overflows.map(\.until).max() {
            events.gap(
                IntakeGap(
                    cause: .queueOverflow,
                    key: nil,
                    startedAt: start,
                    endedAt: end,
                    holes: overflows.filter { $0.after < $0.until }
                )
            )
        }
    }

    /// All first values came, or were waited for long enough: the gap has its bounds.
    func closeGap(_ startedAt: Int64) {
        guard let gap = openGap, gap.startedAt == startedAt else { return }
        guard let endedAt = gap.firstAt else {
            // Still nothing: wait on.
            return scheduleClosing(startedAt)
        }
        openGap = nil
        // Every tag still has the value it had: nothing is missing.
        if gap.holes.isEmpty, gap.awaited.isEmpty, gap.cause == .subscriptionLost {
            return append(.openGap, OpenGapRecord.closed(gap.id))
        }
        // The hole lies between source timestamps; what was received last may have waited at the server for long.
        let newestBefore = gap.holes.map(\.after).max() ?? gap.startedAt
        let newestAfter = gap.holes.map(\.until).max() ?? endedAt
        let found = IntakeGap(
            id: gap.id,
            cause: gap.cause,
            key: nil,
            startedAt: min(gap.startedAt, newestBefore),
            endedAt: max(endedAt, newestAfter),
            isEmpty: gap.holes.isEmpty && gap.awaited.isEmpty,
            holes: gap.holes
        )
        // Now, and not by the task that is told: a snapshot meanwhile would say that there is no break, and a kill after that would
        // leave a hole that nobody knows of.
        let gapRecord = found.record(of: connectionID)
        append(.gap, GapRecordFormat.encoded(gapRecord))
        if !found.holes.isEmpty {
            append(.healing, HealingRecord.encoded(Healing(gap: gapRecord, holes: found.holes)))
        }
        events.gap(found)
    }
}
