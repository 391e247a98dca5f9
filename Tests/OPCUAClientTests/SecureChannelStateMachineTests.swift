import NIOCore
import OPCUACodec
import Testing

@testable import OPCUAClient

@Suite("Secure channel")
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

    @Test func renewsOnce() {
        var machine = Self.opened()
        let later = Self.start + .seconds(75)
        #expect(machine.renewalDue() == .sendOpen(renew: true))
        #expect(machine.renewalDue() == .ignore)
        guard case .renewed(let token) = machine.opened(channelID: 7, tokenID: 2, lifetime: 100_000, now: later) else {
            Issue.record("not renewed")
            return
        }
        #expect(token.tokenID == 2)
        #expect(machine.renewAt == later + .seconds(75))
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

    @Test func zeroIsNoRequestID() {
        var machine = SecureChannelStateMachine(lastRequestID: .max - 1)
        #expect(machine.nextRequestID() == .max)
        #expect(machine.nextRequestID() == 1)
    }
}
