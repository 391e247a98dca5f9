import NIOCore
import OPCUACodec
import Testing

@testable import OPCUAClient

@Suite("Session")
struct SessionStateMachineTests {
    static let start = NIODeadline.uptimeNanoseconds(1_000_000_000)
    static let certificate: [UInt8] = [1, 2, 3]

    static func response(
        token: NodeId = NodeId(0, 99),
        timeout: Double = 60_000,
        nonce: [UInt8]? = [UInt8](repeating: 5, count: 32),
        certificate: [UInt8]? = certificate
    ) -> CreateSessionResponse {
        CreateSessionResponse(
            sessionId: NodeId(1, 1),
            authenticationToken: token,
            revisedSessionTimeout: timeout,
            serverNonce: nonce,
            serverCertificate: certificate
        )
    }

    static func active(timeout: Double = 60_000) -> SessionStateMachine {
        var machine = SessionStateMachine()
        _ = machine.created(response(timeout: timeout), needsNonce: false, expectedCertificate: nil)
        _ = machine.activated(serverNonce: [9], now: start)
        return machine
    }

    @Test func isCreatedActivatedDetachedAndResumed() {
        var machine = SessionStateMachine()
        guard
            case .activate(let session) = machine.created(Self.response(), needsNonce: false, expectedCertificate: nil)
        else {
            Issue.record("not created")
            return
        }
        #expect(session.authenticationToken == NodeId(0, 99))
        #expect(!machine.isActive)
        #expect(machine.activated(serverNonce: [9], now: Self.start) == .ready)
        #expect(machine.isActive)
        #expect(machine.session?.serverNonce == [9], "the newest nonce is the one to sign next")
        machine.channelLost(now: Self.start)
        #expect(!machine.isActive)
        guard case .activate = machine.resume(now: Self.start + .seconds(60)) else {
            Issue.record("not resumed within the session's timeout")
            return
        }
        #expect(machine.activated(serverNonce: nil, now: Self.start) == .ready)
    }

    @Test func isNotResumedAfterItsTimeout() {
        var machine = Self.active()
        machine.channelLost(now: Self.start)
        #expect(machine.resume(now: Self.start + .seconds(61)) == .create)
        #expect(machine.session == nil)
    }

    @Test func isNotResumedWhereItWasNeverActivatedOrIsGone() {
        var machine = SessionStateMachine()
        _ = machine.created(Self.response(), needsNonce: false, expectedCertificate: nil)
        machine.channelLost(now: Self.start)
        #expect(machine.resume(now: Self.start) == .create)
        var closed = Self.active()
        closed.gone()
        #expect(closed.resume(now: Self.start) == .create)
        #expect(closed.authenticationToken == .null)
    }

    @Test(arguments: [
        (response(token: .null), StatusCode.badSessionIdInvalid),
        (response(nonce: [UInt8](repeating: 5, count: 31)), .badNonceInvalid),
        (response(nonce: nil), .badNonceInvalid),
        (response(certificate: [1, 2, 4]), .badCertificateInvalid),
        (response(certificate: nil), .badCertificateInvalid),
    ])
    func refusesWhatASecureServerNeverSends(response: CreateSessionResponse, status: StatusCode) {
        var machine = SessionStateMachine()
        guard
            case .fail(let error) = machine.created(
                response,
                needsNonce: true,
                expectedCertificate: Self.certificate
            )
        else {
            Issue.record("accepted")
            return
        }
        #expect(error.status == status)
        #expect(machine.session == nil)
    }

    @Test func refusesAnActivationWithoutSession() {
        var machine = SessionStateMachine()
        guard case .fail(let error) = machine.activated(serverNonce: nil, now: Self.start) else {
            Issue.record("accepted")
            return
        }
        #expect(error.code == .protocolViolation)
    }

    @Test(
        arguments: [
            (60_000, 20_000), (30_000, 10_000), (1, 1_000), (-5, 1_000), (.infinity, 20_000), (.nan, 20_000),
        ] as [(Double, Int64)]
    )
    func isKeptAliveWellWithinItsTimeout(timeout: Double, interval: Int64) {
        #expect(Self.active(timeout: timeout).keepAliveInterval == .milliseconds(interval))
    }

    @Test func survivesATimeoutThatIsNoNumber() {
        var machine = Self.active(timeout: .nan)
        machine.channelLost(now: Self.start)
        // What matters is that it does not trap; a session without a timeout is tried once.
        _ = machine.resume(now: Self.start + .seconds(1))
    }
}
