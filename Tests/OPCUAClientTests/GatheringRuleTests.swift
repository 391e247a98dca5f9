import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import OPCUAClient

@Suite struct GatheringRuleTests {
    private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000)

    /// A second of messages at even distances, each in a turn of its own.
    /// - Returns: for each turn of the second half whether the loop paused after it.
    private func second(of rate: Int64, interval: TimeAmount = .milliseconds(500), more: Bool = false) -> [Bool] {
        var rule = GatheringRule(now: Self.start)
        return (0..<rate).map { number in
            let now = Self.start + .nanoseconds(number * 1_000_000_000 / rate)
            rule.received(now: now, previous: now - interval, more: more)
            return rule.turnEnded(now: now) != nil
        }.suffix(Int(rate / 2))
    }

    @Test func manySmallMessagesGather() {
        #expect(second(of: 500).allSatisfy { $0 })
        #expect(second(of: 5_000).allSatisfy { $0 })
    }

    @Test func fewMessagesDoNotWait() {
        #expect(!second(of: 300).contains(true))
        #expect(!second(of: 2).contains(true))
    }

    /// A thousand connections at once: every step of those that were still to be made waited for the messages of those that were.
    @Test func nothingGathersWhileAConnectionIsBeingMade() {
        var rule = GatheringRule(now: Self.start)
        let pauses = (0..<2_000).map { number in
            let now = Self.start + .milliseconds(Int64(number))
            if number == 500 { rule.beganEstablishing() }
            if number == 1_500 { rule.endedEstablishing() }
            rule.received(now: now, previous: now - .seconds(1), more: false)
            return rule.turnEnded(now: now) != nil
        }
        #expect(pauses[400..<500].allSatisfy { $0 })
        #expect(!pauses[500..<1_500].contains(true))
        #expect(pauses[1_500...].allSatisfy { $0 })
    }

    @Test func aFastConnectionDoesNotWait() {
        #expect(!second(of: 1_000, interval: .milliseconds(1)).contains(true))
    }

    @Test func aServerThatHasMoreDoesNotWait() {
        #expect(!second(of: 1_000, more: true).contains(true))
    }

    @Test func onceInAWhileAFastConnectionHoldsTheOthersPausesOff() {
        var rule = GatheringRule(now: Self.start)
        var paused: [Int64: Bool] = [:]
        for millisecond in Int64(0)..<1_000 {
            let now = Self.start + .milliseconds(millisecond)
            let isFast = millisecond == 700
            rule.received(now: now, previous: now - .milliseconds(isFast ? 2 : 500), more: false)
            paused[millisecond] = rule.turnEnded(now: now) != nil
        }
        #expect(paused[699] == true)
        #expect((700..<725).allSatisfy { paused[$0] == false })
        #expect((725..<1_000).allSatisfy { paused[$0] == true })
    }

    @Test func aTurnWithoutMessagesOrWithManyDoesNotPause() {
        var rule = GatheringRule(now: Self.start)
        var now = Self.start
        for _ in 0..<1_000 {
            now = now + .milliseconds(1)
            rule.received(now: now, previous: now - .milliseconds(500), more: false)
            _ = rule.turnEnded(now: now)
        }
        #expect(rule.turnEnded(now: now) == nil)
        for _ in 0..<GatheringRule.plenty { rule.received(now: now, previous: now - .milliseconds(500), more: false) }
        #expect(rule.turnEnded(now: now) == nil)
        rule.received(now: now, previous: now - .milliseconds(500), more: false)
        #expect(rule.turnEnded(now: now) == GatheringRule.pause)
    }

    @Test func theFirstMessageAfterARestIsNotMany() {
        var rule = GatheringRule(now: Self.start)
        var now = Self.start
        for _ in 0..<1_000 {
            now = now + .milliseconds(1)
            rule.received(now: now, previous: now - .milliseconds(500), more: false)
            _ = rule.turnEnded(now: now)
        }
        now = now + .seconds(10)
        rule.received(now: now, previous: now - .seconds(10), more: false)
        #expect(rule.turnEnded(now: now) == nil)
    }

    /// The group asks the rule of the right loop: what one loop is told is gone after its turn, not before.
    @Test func aGroupsTurnsEndThroughItsDelegate() async throws {
        let gathering = MessageGathering()
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2, metricsDelegate: gathering)
        let (one, other) = (group.next(), group.next())
        #expect(gathering.pace(of: one) === gathering.pace(of: one))
        #expect(gathering.pace(of: one) !== gathering.pace(of: other))
        let pace = gathering.pace(of: one)
        let within = try await one.submit {
            pace.received(now: .now(), previous: .now() - .seconds(1), more: false)
            return pace.rule.withLock { $0.hasMessages }
        }.get()
        #expect(within)
        // The next task may still be of the same turn; a scheduled one is of a later.
        while try await one.scheduleTask(in: .milliseconds(5), { pace.rule.withLock { $0.hasMessages } }).futureResult
            .get()
        {}
        try await group.shutdownGracefully()
    }
}
