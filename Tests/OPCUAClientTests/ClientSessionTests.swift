import FoundationEssentials
import NIOCore
import NIOPosix
import OPCUACodec
import Testing

@testable import OPCUAClient

@Suite("Session") struct ClientSessionTests {
    /// It once said "no answer within 1 ms", when what came before had used up the attempt's time.
    @Test func aStepWithoutTimeLeftSaysWhoseTimeItIs() async throws {
        var configuration = ConnectionConfiguration(id: UUID(), endpointURLs: ["opc.tcp://plc:4840"])
        configuration.connectionTimeout = 7_000
        let session = ClientSession(
            configuration: configuration,
            security: nil,
            eventLoop: MultiThreadedEventLoopGroup.singleton.next(),
            limits: ServerLimits()
        )
        let url = try EndpointURL("opc.tcp://plc:4840")
        session.deadline = .now() - .milliseconds(1)
        let late = await #expect(throws: OPCUAClientError.self) { _ = try await session.getEndpoints(url: url) }
        #expect(late?.code == .timeout)
        #expect(late?.message.contains("7000 ms in all (OPC_CONNECTION_TIMEOUT_MS)") == true)
        // With time left it is the channel that is missing.
        session.deadline = .now() + .hours(1)
        let early = await #expect(throws: OPCUAClientError.self) { _ = try await session.getEndpoints(url: url) }
        #expect(early?.code == .stopped)
    }
}
