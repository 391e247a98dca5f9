import NIOCore

/// When a tenant's rows go to the database: after so many, after so long, and after a failure later and later.
///
/// A value without clock or database; times are passed in.
struct FlushSchedule: Equatable {
    enum Decision: Equatable {
        case flush
        /// nil: until there is something new.
        case wait(until: NIODeadline?)
    }

    /// MAX_BUFFER_SIZE: as many rows are flushed at once, whatever the time.
    let maximumRows: Int
    /// AGGREGATION_BUFFER_MS: rows wait no longer than this.
    let interval: TimeAmount
    let firstRetry: TimeAmount
    let longestRetry: TimeAmount

    /// When the oldest rows that are not flushed were first seen.
    private(set) var waitingSince: NIODeadline?
    private(set) var failures = 0
    private var retryAt: NIODeadline?

    init(
        maximumRows: Int,
        interval: TimeAmount,
        firstRetry: TimeAmount = .milliseconds(250),
        longestRetry: TimeAmount = .seconds(15)
    ) {
        self.maximumRows = max(1, maximumRows)
        self.interval = interval
        self.firstRetry = firstRetry
        self.longestRetry = longestRetry
    }

    /// - Parameters:
    ///   - rows: durable and not stored.
    ///   - hasRecords: whether there is any record to be stored, with rows or without.
    mutating func decide(rows: Int, hasRecords: Bool, now: NIODeadline) -> Decision {
        guard hasRecords else {
            waitingSince = nil
            return .wait(until: nil)
        }
        let since = waitingSince ?? now
        waitingSince = since
        if let retryAt, retryAt > now { return .wait(until: retryAt) }
        let due = since + interval
        if rows >= maximumRows || due <= now { return .flush }
        return .wait(until: due)
    }

    /// - Parameter began: what came after this instant was not part of the flush.
    mutating func succeeded(began: NIODeadline) {
        failures = 0
        retryAt = nil
        waitingSince = waitingSince.map { _ in began }
    }

    /// - Parameter retryAfter: what the database or its pool asks for.
    mutating func failed(retryAfter: TimeAmount?, now: NIODeadline) {
        failures += 1
        let doubled = firstRetry.nanoseconds << min(failures - 1, 20)
        let delay = max(
            min(doubled, longestRetry.nanoseconds),
            min(retryAfter?.nanoseconds ?? 0, longestRetry.nanoseconds)
        )
        retryAt = now + .nanoseconds(delay)
    }

    /// Try again now: something changed.
    mutating func retryNow() { retryAt = nil }
}
