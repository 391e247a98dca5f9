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
    /// AGGREGATION_BUFFER_MS: rows are stored, not only sent, within this after they came, as far as earlier flushes tell.
    let interval: TimeAmount
    let firstRetry: TimeAmount
    let longestRetry: TimeAmount

    /// When the oldest rows that are not flushed were first seen.
    private(set) var waitingSince: NIODeadline?
    private(set) var failures = 0
    /// What a flush took lately: a quarter of the last one, three of those before.
    private(set) var usualDuration = TimeAmount.zero
    /// What the last flush took.
    private var lastDuration = TimeAmount.zero
    private var retryAt: NIODeadline?
    /// Rows that were due with the last flush are not stored yet.
    private var hasRest = false

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
        let due = since + interval - lead
        if rows >= maximumRows || due <= now || hasRest { return .flush }
        return .wait(until: due)
    }

    /// A flush begins so much earlier: what it usually takes, but no more than a quarter of the interval, so that a slow
    /// database does not get smaller and smaller batches.
    private var lead: TimeAmount { min(usualDuration, .nanoseconds(interval.nanoseconds / 4)) }

    /// Whether more comes than the database takes this way.
    /// - Parameters:
    ///   - rowsLeft: durable rows that the flush to be made leaves behind.
    ///   - rows: those it takes.
    func isBehind(rowsLeft: Int, of rows: Int) -> Bool { rowsLeft > rows / 4 || lastDuration > interval }

    /// - Parameters:
    ///   - began: what came after this instant was not part of the flush.
    ///   - leavesRest: not everything was stored that was to be: the rest is due now.
    mutating func succeeded(began: NIODeadline, ended: NIODeadline, leavesRest: Bool = false) {
        hasRest = leavesRest
        failures = 0
        retryAt = nil
        waitingSince = waitingSince.map { _ in began }
        lastDuration = max(ended - began, .zero)
        usualDuration = .nanoseconds((usualDuration.nanoseconds * 3 + lastDuration.nanoseconds) / 4)
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
