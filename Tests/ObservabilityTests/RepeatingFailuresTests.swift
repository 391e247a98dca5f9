import Logging
import Synchronization
import Testing

@testable import Observability

@Suite("Failures that repeat")
struct RepeatingFailuresTests {
    typealias Report = RepeatingFailures.Report
    let key = FailureKey(thing: "c1", kind: "connect_failed")

    @Test func startMinuteEnd() {
        var failures = RepeatingFailures()
        #expect(failures.failed(key, at: .seconds(100)) == .started)
        #expect(failures.failed(key, at: .seconds(101)) == nil)
        #expect(failures.failed(key, at: .milliseconds(159_999)) == nil)
        #expect(failures.failed(key, at: .seconds(160)) == .repeated(sinceReport: 3, total: 4, during: .seconds(60)))
        #expect(failures.failed(key, at: .seconds(161)) == nil)
        #expect(failures.failed(key, at: .seconds(220)) == .repeated(sinceReport: 2, total: 6, during: .seconds(120)))
        #expect(failures.succeeded(key, at: .seconds(230)) == .ended(total: 6, during: .seconds(130)))
        #expect(failures.succeeded(key, at: .seconds(231)) == nil)
        #expect(failures.failed(key, at: .seconds(232)) == .started)
    }

    @Test func keysAreApart() {
        var failures = RepeatingFailures()
        let other = FailureKey(thing: "c1", kind: "timeout")
        let elsewhere = FailureKey(thing: "c2", kind: "timeout")
        for key in [key, other, elsewhere] { #expect(failures.failed(key, at: .zero) == .started) }
        let ended = failures.succeeded(thing: "c1", at: .seconds(1))
        #expect(ended.map(\.key) == [key, other])
        #expect(ended.map(\.report) == Array(repeating: .ended(total: 1, during: .seconds(1)), count: 2))
        #expect(failures.failed(elsewhere, at: .seconds(2)) == nil)
        #expect(failures.count == 1)
    }

    @Test func quietFailuresEndAtTheirLastFailure() {
        var failures = RepeatingFailures()
        _ = failures.failed(key, at: .zero)
        _ = failures.failed(key, at: .seconds(5))
        #expect(failures.endQuiet(for: .seconds(10), at: .milliseconds(14_999)).isEmpty)
        let ended = failures.endQuiet(for: .seconds(10), at: .seconds(15))
        #expect(ended.map(\.report) == [.ended(total: 2, during: .seconds(5))])
        #expect(failures.count == 0)
    }

    @Test func bounded() {
        var failures = RepeatingFailures(limit: 2)
        for number in 0..<1000 {
            let report = failures.failed(FailureKey(thing: "\(number)", kind: "k"), at: .seconds(number) / 1000)
            #expect(report == (number <= 2 ? .started : nil))
        }
        #expect(failures.count == 3)
        #expect(
            failures.failed(FailureKey(thing: "x", kind: "k"), at: .seconds(61))
                == .repeated(sinceReport: 998, total: 999, during: .seconds(61) - .milliseconds(2))
        )
        // Others by kind stay few: kinds are few.
        #expect(failures.succeeded(thing: RepeatingFailures.others, at: .seconds(62)).count == 1)
    }

    @Test func linesOfTheLog() throws {
        let capture = try CapturedLog(format: .json)
        let time = Mutex(Duration.zero)
        let log = FailureLog(logger: capture.logger(), now: { time.withLock { $0 } })
        struct Broken: Error, CustomStringConvertible { var description: String { "no route" } }
        for second in [0, 1, 2, 60, 61] {
            time.withLock { $0 = .seconds(second) }
            log.failed(key, "cannot connect", error: Broken(), metadata: ["connection_id": "c1"])
        }
        log.succeeded(key, "connected", metadata: ["connection_id": "c1"])
        log.succeeded(key, "connected")
        log.succeeded(thing: "c1", "connected")
        let lines = capture.lines()
        try #require(lines.count == 3)
        #expect(lines[0].contains(#""level":"warning","message":"cannot connect""#))
        #expect(
            lines[0].contains(
                #""connection_id":"c1","error":"no route","error_type":"Broken","kind":"connect_failed"}"#
            )
        )
        #expect(lines[1].contains(#""message":"cannot connect (again, 3 times since the last line)""#))
        #expect(lines[1].contains(#""count":4,"duration_ms":60000,"#))
        #expect(lines[2].contains(#""level":"info","message":"connected (over after 5 failures)""#))
        #expect(lines[2].contains(#""count":5,"duration_ms":61000,"kind":"connect_failed"}"#))
    }
}
