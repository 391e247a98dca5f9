/// What keeps failing: one kind of failure of one thing.
package struct FailureKey: Hashable, Sendable {
    /// Whose failure it is: a connection's or tenant's id, a path, …
    package var thing: String
    /// What fails about it, a short stable name: `connect_failed`, `flush`, …
    package var kind: String

    package init(thing: String, kind: String) {
        self.thing = thing
        self.kind = kind
    }
}

/// Decides which of many equal failures are worth a log line: the first, then one a minute with a count, and the end.
///
/// A value without a clock; times are monotonic, from any origin. Bounded: at `limit` keys, the failures of further ones
/// are counted together per kind under the thing `others`.
package struct RepeatingFailures: Sendable {
    package enum Report: Equatable, Sendable {
        /// The first of its kind.
        case started
        /// It has gone on: failures since the last report, failures and time since the start.
        case repeated(sinceReport: Int, total: Int, during: Duration)
        /// It is over, after so many failures in so much time.
        case ended(total: Int, during: Duration)
    }

    private struct Ongoing {
        var since: Duration
        var lastFailure: Duration
        var lastReport: Duration
        var total: Int
        var reported: Int
    }

    /// The thing that stands for all beyond the limit.
    package static let others = "others"

    /// Time between two reports of one failure.
    package let interval: Duration
    /// Most keys that are followed at once.
    package let limit: Int
    private var ongoing: [FailureKey: Ongoing] = [:]

    package init(interval: Duration = .seconds(60), limit: Int = 10_000) {
        self.interval = interval
        self.limit = limit
    }

    package var count: Int { ongoing.count }

    /// A failure happened. Returns what to say about it; nil = nothing now.
    package mutating func failed(_ key: FailureKey, at now: Duration) -> Report? {
        var key = key
        if ongoing[key] == nil, ongoing.count >= limit { key.thing = Self.others }
        guard var failure = ongoing[key] else {
            ongoing[key] = Ongoing(since: now, lastFailure: now, lastReport: now, total: 1, reported: 1)
            return .started
        }
        failure.total += 1
        failure.lastFailure = max(now, failure.lastFailure)
        defer { ongoing[key] = failure }
        guard now - failure.lastReport >= interval else { return nil }
        let fresh = failure.total - failure.reported
        failure.lastReport = now
        failure.reported = failure.total
        return .repeated(sinceReport: fresh, total: failure.total, during: now - failure.since)
    }

    /// It works again. Returns what to say; nil when it had not failed.
    package mutating func succeeded(_ key: FailureKey, at now: Duration) -> Report? {
        ongoing.removeValue(forKey: key).map { .ended(total: $0.total, during: now - $0.since) }
    }

    /// All is well with the thing: every kind of failure of it ends.
    package mutating func succeeded(thing: String, at now: Duration) -> [(key: FailureKey, report: Report)] {
        end(at: { _ in now }) { key, _ in key.thing == thing }
    }

    /// Ends what has not failed for this long: a kind that gave way to another kind, or a thing that is gone, has no success
    /// to end it. Call it now and then.
    package mutating func endQuiet(for quiet: Duration, at now: Duration) -> [(key: FailureKey, report: Report)] {
        end(at: \.lastFailure) { _, failure in now - failure.lastFailure >= quiet }
    }

    private mutating func end(
        at end: (Ongoing) -> Duration,
        where isOver: (FailureKey, Ongoing) -> Bool
    ) -> [(key: FailureKey, report: Report)] {
        guard !ongoing.isEmpty else { return [] }
        let over = ongoing.filter(isOver).sorted { ($0.key.thing, $0.key.kind) < ($1.key.thing, $1.key.kind) }
        return over.map { key, failure in
            ongoing[key] = nil
            return (key, .ended(total: failure.total, during: end(failure) - failure.since))
        }
    }
}
