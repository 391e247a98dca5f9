import NIOCore
import OPCUACodec

/// Reverse connect, the client's side: the server opens the TCP connection (Part 6, 7.1.2.6).
extension ClientSession {
    /// Waits for the server of this URL to dial in and takes its socket. The time for connecting begins only then.
    func awaitServer(
        _ url: EndpointURL,
        parameters: ClientChannel.Parameters,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) -> ClientChannel {
        guard let reverse, reverse.eventLoop === eventLoop else {
            throw OPCUAClientError(
                .invalidConfiguration,
                "the endpoint URL \"\(url)\" waits for the server to dial in, and OPC_REVERSE_LISTEN is not set",
                status: .badTcpEndpointUrlInvalid,
                advice: "Set OPC_REVERSE_LISTEN to the address and port that the server dials",
                isRetriedAtLongestDelayOnly: true
            )
        }
        let after = step
        step = .awaitServer
        let patience = reversePatience ?? timeout
        let promise = eventLoop.makePromise(of: (any Channel).self)
        dialing = promise
        defer { dialing = nil }
        let timer = eventLoop.scheduleTask(in: patience) {
            promise.fail(
                OPCUAClientError(
                    .noReverseHello,
                    "no server that calls itself \(url.serverURL) has dialled in within "
                        + "\(patience.nanoseconds / 1_000_000) ms",
                    status: .badTimeout,
                    advice: "Check the server's reverse connect settings: the address of OPC_REVERSE_LISTEN, and this "
                        + "very endpoint URL"
                )
            )
        }
        defer { timer.cancel() }
        await reverse.claim(ReverseEndpoint(url), promise)
        do {
            let channel = try await promise.futureResult.get()
            step = after
            if reversePatience != nil, deadline != nil {
                deadline = .now() + .milliseconds(max(1, configuration.connectionTimeout))
            }
            var parameters = parameters
            parameters.openTimeout = timeout
            guard channel.isActive else { throw ChannelError.ioOnClosedChannel }
            let handler = ClientChannel(parameters)
            try channel.pipeline.syncOperations.addHandler(handler)
            return handler
        } catch {
            if let error = error as? OPCUAClientError { throw error }
            throw OPCUAClientError(
                .connectionClosed,
                "the server dialled in and closed the connection at once",
                status: .badConnectionClosed
            )
        }
    }
}
