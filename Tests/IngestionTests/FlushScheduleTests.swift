import NIOCore
import Testing

@testable import Ingestion

@Suite struct FlushScheduleTests {
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

    private func make() -> FlushSchedule {
        FlushSchedule(
            maximumRows: 100,
            interval: .seconds(5),
            firstRetry: .milliseconds(250),
            longestRetry: .seconds(4)
        )
    }

    @Test func nothingToStoreWaitsForSomething() {
        var schedule = make()
        #expect(schedule.decide(rows: 0, hasRecords: false, now: start) == .wait(until: nil))
    }

    @Test func rowsWaitNoLongerThanTheInterval() {
        var schedule = make()
        #expect(schedule.decide(rows: 1, hasRecords: true, now: start) == .wait(until: start + .seconds(5)))
        #expect(
            schedule.decide(rows: 2, hasRecords: true, now: start + .seconds(4)) == .wait(until: start + .seconds(5))
        )
        #expect(schedule.decide(rows: 2, hasRecords: true, now: start + .seconds(5)) == .flush)
    }

    @Test func whatAFlushLeftBehindIsDue() {
        var schedule = make()
        schedule.succeeded(began: start, ended: start, leavesRest: true)
        #expect(schedule.decide(rows: 1, hasRecords: true, now: start) == .flush)
        schedule.failed(retryAfter: nil, now: start)
        #expect(
            schedule.decide(rows: 1, hasRecords: true, now: start) == .wait(until: start + .milliseconds(250)),
            "but not before its time"
        )
        schedule.succeeded(began: start, ended: start)
        #expect(schedule.decide(rows: 1, hasRecords: true, now: start) == .wait(until: start + .seconds(5)))
    }

    @Test func enoughRowsGoAtOnce() {
        var schedule = make()
        #expect(schedule.decide(rows: 100, hasRecords: true, now: start) == .flush)
    }

    @Test func whatCameDuringAFlushWaitsFromItsBeginning() {
        var schedule = make()
        _ = schedule.decide(rows: 1, hasRecords: true, now: start)
        schedule.succeeded(began: start + .seconds(5), ended: start + .seconds(5))
        let later = start + .seconds(6)
        #expect(schedule.decide(rows: 1, hasRecords: true, now: later) == .wait(until: start + .seconds(10)))
        #expect(schedule.decide(rows: 0, hasRecords: false, now: later) == .wait(until: nil))
        #expect(schedule.waitingSince == nil)
    }

    @Test func failuresAreTriedAgainLaterAndLater() {
        var schedule = make()
        var now = start
        for delay in [250, 500, 1000, 2000, 4000, 4000] {
            schedule.failed(retryAfter: nil, now: now)
            let retry = now + .milliseconds(Int64(delay))
            #expect(schedule.decide(rows: 1000, hasRecords: true, now: now) == .wait(until: retry))
            now = retry
            #expect(schedule.decide(rows: 1000, hasRecords: true, now: now) == .flush)
        }
        schedule.succeeded(began: now, ended: now)
        schedule.failed(retryAfter: nil, now: now)
        #expect(schedule.decide(rows: 1000, hasRecords: true, now: now) == .wait(until: now + .milliseconds(250)))
    }

    @Test func theDatabasesWishCounts() {
        var schedule = make()
        schedule.failed(retryAfter: .seconds(3), now: start)
        #expect(schedule.decide(rows: 1000, hasRecords: true, now: start) == .wait(until: start + .seconds(3)))
        schedule.retryNow()
        #expect(schedule.decide(rows: 1000, hasRecords: true, now: start) == .flush)
    }

    @Test func aFlushBeginsEarlierByWhatItTakes() {
        var schedule = make()
        for _ in 0..<50 { schedule.succeeded(began: start, ended: start + .milliseconds(400)) }
        let due = start + .milliseconds(4_600)
        guard case .wait(let until?) = schedule.decide(rows: 1, hasRecords: true, now: start) else {
            Issue.record("it does not wait")
            return
        }
        // What is smoothed comes close to 400 ms, from below.
        #expect(until >= due && until <= due + .milliseconds(1))
        #expect(schedule.decide(rows: 1, hasRecords: true, now: until) == .flush)
    }

    @Test func aSlowDatabaseDoesNotGetSmallBatches() {
        var schedule = make()
        for _ in 0..<50 { schedule.succeeded(began: start, ended: start + .seconds(60)) }
        #expect(
            schedule.decide(rows: 1, hasRecords: true, now: start) == .wait(until: start + .milliseconds(3_750))
        )
    }

    @Test func itIsBehindWhenMuchIsLeftOrAFlushTookLongerThanTheInterval() {
        var schedule = make()
        #expect(!schedule.isBehind(rowsLeft: 25, of: 100))
        #expect(schedule.isBehind(rowsLeft: 26, of: 100))
        schedule.succeeded(began: start, ended: start + .seconds(6))
        #expect(schedule.isBehind(rowsLeft: 0, of: 100))
        schedule.succeeded(began: start, ended: start + .seconds(1))
        #expect(!schedule.isBehind(rowsLeft: 0, of: 100))
    }
}
