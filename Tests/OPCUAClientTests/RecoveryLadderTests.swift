import NIOCore
import Testing

@testable import OPCUAClient

@Suite("Recovery ladder")
struct RecoveryLadderTests {
    static func working() -> RecoveryLadder {
        var ladder = RecoveryLadder()
        ladder.accepted(.recreate)
        ladder.subscribed()
        ladder.proven()
        return ladder
    }

    @Test func beginsWithEverythingNew() { #expect(RecoveryLadder().first == .recreate) }

    @Test func transfersWhatThePreviousRunLeft() {
        var ladder = RecoveryLadder(restoredSubscriptions: true)
        #expect(ladder.first == .transfer)
        #expect(ladder.refused(.transfer) == .recreate)
    }

    @Test func goesDownStepByStep() {
        var ladder = Self.working()
        ladder.broke(silent: false)
        #expect(ladder.first == .reactivate)
        #expect(ladder.refused(.reactivate) == .transfer)
        #expect(ladder.refused(.transfer) == .recreate)
    }

    @Test func aSessionWithoutSubscriptionsIsUsedAgainForNewOnes() {
        var ladder = Self.working()
        ladder.subscriptionsGone()
        #expect(ladder.first == .recreate, "reactivating alone would publish nothing, for ever")
        #expect(ladder.mayReuseSession)
        ladder.sessionGone()
        #expect(!ladder.mayReuseSession)
    }

    /// gopcua issue 895: after a reconnect the client looks connected but publishes nothing.
    @Test func aSilentRecoveryIsNotTriedAgain() {
        var ladder = Self.working()
        ladder.broke(silent: true)
        #expect(ladder.first == .reactivate, "it worked until now")
        ladder.accepted(.reactivate)
        ladder.broke(silent: true)
        #expect(ladder.first == .transfer)
        #expect(!ladder.mayReuseSession)
        ladder.accepted(.transfer)
        ladder.broke(silent: true)
        #expect(ladder.first == .recreate)
        ladder.accepted(.recreate)
        ladder.subscribed()
        ladder.broke(silent: true)
        #expect(ladder.first == .recreate, "there is nothing below")
        ladder.accepted(.recreate)
        ladder.subscribed()
        ladder.proven()
        ladder.broke(silent: false)
        #expect(ladder.first == .reactivate, "proven: everything may be tried again")
    }

    @Test func abreakDuringARecoveryIsNoRefusal() {
        var ladder = Self.working()
        ladder.accepted(.reactivate)
        ladder.broke(silent: false)
        #expect(ladder.first == .reactivate)
    }
}

@Suite("Reconnect backoff")
struct ReconnectBackoffTests {
    static let seeds: [UInt64] = [0, 1, 42, .max]

    @Test(arguments: seeds)
    func doublesToTheLongestDelayWithJitter(seed: UInt64) {
        var backoff = ReconnectBackoff(initial: .seconds(5), maximum: .seconds(60), seed: seed)
        #expect(backoff.delayAfterDrop() == .seconds(0))
        for nominal in [5, 10, 20, 40, 60, 60, 60] as [Int64] {
            let delay = backoff.delayAfterFailure().nanoseconds
            let range = nominal * 800_000_000...nominal * 1_200_000_000
            #expect(range.contains(delay), "seed \(seed): \(delay) ns instead of about \(nominal) s")
        }
        backoff.succeeded()
        #expect(backoff.delayAfterFailure() <= .seconds(6))
    }

    @Test(arguments: seeds)
    func waitsTheLongestAtOnceWhereAccountsGetLocked(seed: UInt64) {
        var backoff = ReconnectBackoff(initial: .seconds(5), maximum: .seconds(60), seed: seed)
        #expect(backoff.delayAfterFailure(longest: true) >= .seconds(48))
    }

    @Test func neverOverflows() {
        var backoff = ReconnectBackoff(initial: .nanoseconds(.max / 2), maximum: .nanoseconds(.max / 2), seed: 3)
        for _ in 0..<100 { #expect(backoff.delayAfterFailure() > .nanoseconds(0)) }
    }

    @Test func twoConnectionsDoNotComeTogether() {
        var one = ReconnectBackoff(initial: .seconds(5), maximum: .seconds(60), seed: 1)
        var other = ReconnectBackoff(initial: .seconds(5), maximum: .seconds(60), seed: 2)
        #expect(one.delayAfterFailure() != other.delayAfterFailure())
    }
}
