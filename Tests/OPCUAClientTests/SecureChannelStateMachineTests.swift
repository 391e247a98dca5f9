import NIOCore
import OPCUACodec
import Testing

@testable import OPCUAClient

@Suite("Secure channel: tokens and numbers")
struct SecureChannelStateMachineTests {
    static let start = NIODeadline.uptimeNanoseconds(1_000_000_000)

    static func opened(lifetime: UInt32 = 100_000) -> SecureChannelStateMachine {
        var machine = SecureChannelStateMachine()
        _ = machine.open()
        _ = machine.opened(channelID: 7, tokenID: 1, lifetime: lifetime, now: start)
        return machine
    }

    @Test func opensAndSaysWhenToRenew() {
        var machine = SecureChannelStateMachine()
        #expect(machine.open() == .sendOpen(renew: false))
        #expect(machine.open() == .ignore)
        let token = SecureChannelStateMachine.Token(
            channelID: 7,
            tokenID: 1,
            renewAt: Self.start + .seconds(75),
            expiresAt: Self.start + .seconds(125)
        )
        #expect(machine.opened(channelID: 7, tokenID: 1, lifetime: 100_000, now: Self.start) == .ready(token))
        #expect(machine.renewAt == Self.start + .seconds(75))
    }

    @Test func acceptsBothTokensUntilTheNewOneIsUsed() {
        var machine = Self.opened()
        let later = Self.start + .seconds(75)
        #expect(machine.renewalDue() == .sendOpen(renew: true))
        #expect(machine.renewalDue() == .ignore)
        #expect(machine.accepts(channelID: 7, tokenID: 1, now: later) == true)
        guard case .renewed = machine.opened(channelID: 7, tokenID: 2, lifetime: 100_000, now: later) else {
            Issue.record("not renewed")
            return
        }
        #expect(machine.accepts(channelID: 7, tokenID: 1, now: later) == true)
        #expect(machine.accepts(channelID: 7, tokenID: 2, now: later) == true)
        #expect(
            machine.accepts(channelID: 7, tokenID: 1, now: later) == false,
            "the old one is done after the new one was used"
        )
    }

    @Test func acceptsNoExpiredOrUnknownTokens() {
        var machine = Self.opened()
        #expect(machine.accepts(channelID: 7, tokenID: 1, now: Self.start + .seconds(124)) == true)
        #expect(machine.accepts(channelID: 7, tokenID: 1, now: Self.start + .seconds(125)) == false)
        #expect(machine.accepts(channelID: 8, tokenID: 1, now: Self.start) == false)
        #expect(machine.accepts(channelID: 7, tokenID: 2, now: Self.start) == false)
    }

    @Test func refusesAnotherChannelAtRenewal() {
        var machine = Self.opened()
        _ = machine.renewalDue()
        guard case .fail(let error) = machine.opened(channelID: 8, tokenID: 2, lifetime: 1, now: Self.start) else {
            Issue.record("accepted")
            return
        }
        #expect(error.status == .badSecureChannelIdInvalid)
        #expect(machine.state == .closed)
    }

    @Test func refusesAnswersNobodyAskedFor() {
        var machine = Self.opened()
        guard case .fail = machine.opened(channelID: 7, tokenID: 2, lifetime: 1, now: Self.start) else {
            Issue.record("accepted")
            return
        }
        #expect(machine.opened(channelID: 7, tokenID: 3, lifetime: 1, now: Self.start) == .ignore)
    }

    @Test func aLifetimeOfNothingDoesNotRenewInALoop() {
        let machine = Self.opened(lifetime: 0)
        #expect(machine.renewAt == Self.start + .milliseconds(750))
    }

    @Test func sequenceNumbersFollowEachOther() {
        var machine = Self.opened()
        #expect(machine.nextSequenceNumber() == 1)
        #expect(machine.nextSequenceNumber() == 2)
        for (number, isRight) in [(51, true), (52, true), (53, true), (53, false), (55, false), (56, true)]
            as [(UInt32, Bool)]
        {
            #expect(machine.received(sequenceNumber: number) == isRight, "\(number)")
        }
    }

    #if DEBUG
    @Test func sequenceNumbersWrapAround() {
        var machine = Self.opened()
        machine.setCounters(sent: .max - 1025, received: .max - 1023, requestID: .max)
        #expect(machine.nextSequenceNumber() == UInt32.max - 1024)
        #expect(machine.nextSequenceNumber() == 1)
        #expect(machine.received(sequenceNumber: 1) == true)
        #expect(machine.received(sequenceNumber: 2) == true)
        #expect(machine.nextRequestID() == 1, "0 is no request id")
        machine.setCounters(sent: 1, received: .max, requestID: 1)
        #expect(machine.received(sequenceNumber: 0) == true)
        machine.setCounters(sent: 1, received: .max - 1024, requestID: 1)
        #expect(machine.received(sequenceNumber: 1) == false, "too early to wrap around")
        machine.setCounters(sent: 1, received: .max, requestID: 1)
        #expect(machine.received(sequenceNumber: 1024) == false, "too far for a wrap around")
    }
    #endif
}
