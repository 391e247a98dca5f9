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

    @Test func enoughRowsGoAtOnce() {
        var schedule = make()
        #expect(schedule.decide(rows: 100, hasRecords: true, now: start) == .flush)
    }

    @Test func whatCameDuringAFlushWaitsFromItsBeginning() {
        var schedule = make()
        _ = schedule.decide(rows: 1, hasRecords: true, now: start)
        schedule.succeeded(began: start + .seconds(5))
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
        schedule.succeeded(began: now)
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
}
