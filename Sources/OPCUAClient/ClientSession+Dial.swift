#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif
import NIOCore
import NIOPosix
import OPCUACodec

extension ClientSession {
    /// Fails the TCP connection that is being made.
    func abandonDial() { dialing?.fail(OPCUAClientError.stopped) }

    func dial(
        _ url: EndpointURL,
        parameters: ClientChannel.Parameters,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) -> ClientChannel {
        if url.isReverse { return try await awaitServer(url, parameters: parameters) }
        // Several where a name has several addresses. Kept here, as a server may have closed the connection, and so
        // emptied its pipeline, before this function goes on.
        let handlers = NIOLoopBoundBox([ObjectIdentifier: ClientChannel](), eventLoop: eventLoop)
        let bootstrap = ClientBootstrap(group: eventLoop)
            .connectTimeout(timeout)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try SocketOptions.set(channel)
                    let handler = ClientChannel(parameters)
                    handlers.value[ObjectIdentifier(channel)] = handler
                    try channel.pipeline.syncOperations.addHandler(handler)
                }
            }
        do {
            let promise = eventLoop.makePromise(of: (any Channel).self)
            dialing = promise
            defer { dialing = nil }
            // Failed by `abandonDial`, the promise leaves nobody who would close a connection that comes late.
            bootstrap.connect(host: url.host, port: url.port).whenComplete { result in
                promise.completeWith(result)
                promise.futureResult.whenFailure { _ in
                    if case .success(let late) = result { late.close(promise: nil) }
                }
            }
            let channel = try await promise.futureResult.get()
            guard let handler = handlers.value[ObjectIdentifier(channel)] else { throw ChannelError.ioOnClosedChannel }
            return handler
        } catch {
            if let stopped = error as? OPCUAClientError { throw stopped }
            throw OPCUAClientError(
                .connectFailed,
                "cannot connect to \(url.host) port \(url.port): \(Self.words(error))",
                status: .badConnectionRejected,
                advice: "Check that the server runs, the name resolves, and no firewall is between"
            )
        }
    }

    /// NIO's errors in one line.
    private static func words(_ error: any Error) -> String {
        if let error = error as? NIOConnectionError {
            if error.connectionErrors.isEmpty { return "the name does not resolve" }
            let reasons = error.connectionErrors.map { words($0.error) }
            return reasons.isEmpty ? "no address" : reasons.joined(separator: ", ")
        }
        if let error = error as? IOError { return systemError(error.errnoCode) }
        if let error = error as? ChannelError, case .connectTimeout(let after) = error {
            return "no answer within \(after.nanoseconds / 1_000_000) ms"
        }
        return "\(error)"
    }

    private static func systemError(_ code: CInt) -> String {
        switch code {
        case ECONNREFUSED: "connection refused"
        case EHOSTUNREACH, ENETUNREACH: "no route to the host"
        case ECONNRESET: "connection reset"
        case ETIMEDOUT: "no answer"
        case EMFILE, ENFILE: "this process has no file descriptor left"
        default: "system error \(code)"
        }
    }
}
