import OPCUACodec
import Testing

@testable import OPCUAClient

@Suite("Hello, Acknowledge, Error")
struct TransportStateMachineTests {
    static let acknowledge = Acknowledge(receiveBufferSize: 65_536, sendBufferSize: 65_536, maxMessageSize: 1 << 20)

    static func opened() -> TransportStateMachine {
        var machine = TransportStateMachine()
        _ = machine.connected()
        _ = machine.received(acknowledge)
        return machine
    }

    static func failure(_ action: TransportStateMachine.Action?) -> OPCUAClientError? {
        if case .fail(let error)? = action { return error }
        return nil
    }

    @Test func opens() {
        var machine = TransportStateMachine()
        #expect(machine.connected() == .sendHello)
        #expect(machine.connected() == .ignore)
        let limits = TransportLimits(
            sendChunkSize: 65_535,
            receiveChunkSize: 65_535,
            maxSendMessageSize: 1 << 20,
            maxSendChunkCount: 0
        )
        #expect(machine.received(Self.acknowledge) == .opened(limits))
        #expect(machine.state == .open(limits))
        #expect(machine.receivedChunk() == .deliver)
    }

    @Test func sendsNoLargerChunksThanTheServerTakes() {
        var machine = TransportStateMachine()
        _ = machine.connected()
        guard case .opened(let limits) = machine.received(Acknowledge(receiveBufferSize: 8192, sendBufferSize: 8192))
        else {
            Issue.record("not opened")
            return
        }
        #expect(limits.sendChunkSize == 8192)
    }

    @Test(arguments: [(8191, 65_535), (65_535, 8191), (0, 0)] as [(UInt32, UInt32)])
    func refusesBuffersBelowTheSmallestAllowed(receive: UInt32, send: UInt32) {
        var machine = TransportStateMachine()
        _ = machine.connected()
        let error = Self.failure(
            machine.received(Acknowledge(receiveBufferSize: receive, sendBufferSize: send))
        )
        #expect(error?.code == .protocolViolation)
        #expect(machine.state == .closed)
    }

    @Test func refusesWhatComesTooEarlyOrTwice() {
        var early = TransportStateMachine()
        _ = early.connected()
        #expect(Self.failure(early.receivedChunk())?.code == .protocolViolation)
        var twice = Self.opened()
        #expect(Self.failure(twice.received(Self.acknowledge))?.code == .protocolViolation)
        var unexpected = Self.opened()
        #expect(Self.failure(unexpected.receivedUnexpected("HEL"))?.message.contains("HEL") == true)
    }

    @Test(arguments: [0, 7, 65_536, 825_110_831])
    func refusesSizesNobodyAgreedTo(size: Int) {
        var machine = Self.opened()
        #expect(Self.failure(machine.announced(size: size))?.code == .protocolViolation)
    }

    @Test(arguments: [8, 65_535])
    func takesSizesThatWereAgreed(size: Int) {
        var machine = Self.opened()
        #expect(machine.announced(size: size) == nil)
    }

    @Test func tellsWhatTheServerSaid() {
        var machine = Self.opened()
        let error = Self.failure(
            machine.received(ErrorMessage(status: .badTcpServerTooBusy, reason: "come back later"))
        )
        #expect(error?.code == .serverError)
        #expect(error?.status == .badTcpServerTooBusy)
        #expect(error?.message.contains("come back later") == true)
        #expect(machine.received(ErrorMessage(status: .badTcpServerTooBusy, reason: nil)) == .ignore)
    }

    @Test func staysSilentOnceClosed() {
        var machine = Self.opened()
        machine.closed()
        #expect(machine.receivedChunk() == .ignore)
        #expect(machine.receivedUnexpected("HEL") == .ignore)
        #expect(machine.announced(size: 0) == .ignore)
    }

    @Test func errorMessagesWithoutReasonDecode() throws {
        var bytes = BinaryEncoder()
        StatusCode.badTcpServerTooBusy.encode(to: &bytes)
        let error = try BinaryDecoder.withBytes(bytes.bytes) { decoder throws(DecodingError) in
            try ErrorMessage(from: &decoder)
        }
        #expect(error == ErrorMessage(status: .badTcpServerTooBusy, reason: nil))
    }
}
