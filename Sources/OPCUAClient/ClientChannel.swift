import NIOCore
import OPCUACodec
import OPCUASecurity

/// One TCP connection with its secure channel: cuts the bytes into chunks, opens and renews the channel, matches
/// responses to requests.
///
/// Confined to its event loop, like every NIO handler: the actors that use it run on the same loop. A body is handed out
/// as a slice of the bytes received; only messages of several chunks are copied together.
final class ClientChannel: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    struct Parameters: Sendable {
        /// Goes into Hello (Part 6, 7.1.2.3).
        var endpointURL: String
        var security = ChannelSecurity.unsecured(role: .client)
        /// Milliseconds asked for.
        var channelLifetime: UInt32
        /// Until the channel must be open.
        var openTimeout: TimeAmount
    }

    typealias Completion = (Result<ByteBuffer, OPCUAClientError>) -> Void

    struct Pending {
        var completion: Completion
        var timeout: Scheduled<Void>?
    }

    let parameters: Parameters
    var transport = TransportStateMachine()
    var secure = SecureChannelStateMachine()
    var codec: SecureChannelCodec
    /// Ours of the OpenSecureChannelRequest in flight; the keys come from it.
    private var clientNonce: [UInt8]?
    private(set) var limits: TransportLimits?

    var context: ChannelHandlerContext?
    /// Between the first bytes of a read and its end: see ``channelReadComplete(context:)``.
    var isReading = false
    private var isFlushDue = false
    /// Bytes of a chunk that has not come wholly.
    var partial: ByteBuffer?
    /// Messages of which some chunks have come, by request id.
    var assembling: [UInt32: ByteBuffer] = [:]
    var assemblingBytes = 0
    var pending: [UInt32: Pending] = [:]
    var openRequestID: UInt32?

    private var openTimer: Scheduled<Void>?
    private var renewTimer: Scheduled<Void>?
    private var openWaiter: CheckedContinuation<Result<Void, OPCUAClientError>, Never>?
    private var isReady = false
    /// Why it is closed; nil while it is not.
    private(set) var failure: OPCUAClientError?
    /// Called once, when the channel is closed for any reason.
    var onClosed: ((OPCUAClientError) -> Void)?
    /// Bytes of chunks received, for metrics.
    var bytesReceived: UInt64 = 0

    init(_ parameters: Parameters) {
        self.parameters = parameters
        codec = SecureChannelCodec(security: parameters.security)
    }

    // MARK: Opening

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { connected(context) }
    }

    func channelActive(context: ChannelHandlerContext) { connected(context) }

    private func connected(_ context: ChannelHandlerContext) {
        guard case .sendHello = transport.connected() else { return }
        let loopBound = NIOLoopBound(self, eventLoop: context.eventLoop)
        let timeout = parameters.openTimeout
        openTimer = context.eventLoop.scheduleTask(in: timeout) {
            loopBound.value.close(
                OPCUAClientError(
                    .timeout,
                    "the server took the TCP connection but did not open a secure channel within "
                        + "\(timeout.nanoseconds / 1_000_000) ms",
                    status: .badTimeout,
                    advice: "The server may be overloaded or frozen, or the port belongs to another program"
                )
            )
        }
        // Part 6, 7.1.2.3.
        let url = parameters.endpointURL.utf8
        var hello = context.channel.allocator.buffer(capacity: 32 + url.count)
        hello.writeStaticString("HELF")
        hello.writeInteger(UInt32(32 + url.count), endianness: .little)
        hello.writeInteger(UInt32(0), endianness: .little)
        hello.writeInteger(UInt32(TransportLimits.offeredChunkSize), endianness: .little)
        hello.writeInteger(UInt32(TransportLimits.offeredChunkSize), endianness: .little)
        hello.writeInteger(UInt32(TransportLimits.maxMessageSize), endianness: .little)
        hello.writeInteger(UInt32(TransportLimits.maxChunkCount), endianness: .little)
        hello.writeInteger(Int32(url.count), endianness: .little)
        hello.writeBytes(url)
        context.writeAndFlush(wrapOutboundOut(hello), promise: nil)
    }

    /// Suspends until services may be called.
    func opened(isolation: isolated (any Actor)? = #isolation) async throws(OPCUAClientError) {
        if let failure { throw failure }
        if isReady { return }
        let result = await withCheckedContinuation { openWaiter = $0 }
        try result.get()
    }

    func perform(_ action: TransportStateMachine.Action) {
        switch action {
        case .opened(let limits):
            self.limits = limits
            perform(secure.open())
        case .fail(let error): close(error)
        case .sendHello, .deliver, .ignore: break
        }
    }

    private func perform(_ action: SecureChannelStateMachine.Action) {
        switch action {
        case .sendOpen(let renew): sendOpen(renew: renew)
        case .ready(let token):
            openTimer?.cancel()
            openTimer = nil
            isReady = true
            scheduleRenewal(token)
            openWaiter?.resume(returning: .success(()))
            openWaiter = nil
        case .renewed(let token): scheduleRenewal(token)
        case .fail(let error): close(error)
        case .ignore: break
        }
    }

    /// Part 4, 5.6.2.
    private func sendOpen(renew: Bool) {
        guard let context else { return }
        do throws(SecurityError) {
            let requestID = secure.nextRequestID()
            openRequestID = requestID
            clientNonce = try codec.makeNonce()
            let request = OpenSecureChannelRequest(
                requestHeader: RequestHeader(
                    timestamp: WallClock.dateTime(),
                    requestHandle: requestID,
                    timeoutHint: UInt32(clamping: parameters.openTimeout.nanoseconds / 1_000_000)
                ),
                requestType: renew ? .renew : .issue,
                securityMode: parameters.security.mode,
                clientNonce: clientNonce,
                requestedLifetime: parameters.channelLifetime
            )
            try send(.openSecureChannel, request.messageBody, requestID, context)
        } catch {
            close(.security(error, in: "OpenSecureChannel"))
        }
    }

    /// Secures a message and writes it.
    private func send(
        _ type: MessageHeader.MessageType,
        _ body: [UInt8],
        _ requestID: UInt32,
        _ context: ChannelHandlerContext
    ) throws(SecurityError) {
        let limits = ChunkLimits(
            chunkSize: limits?.sendChunkSize ?? TransportLimits.minimumChunkSize,
            messageSize: limits?.maxSendMessageSize ?? 0,
            chunkCount: limits?.maxSendChunkCount ?? 0
        )
        let size = try codec.encodedSize(type, bodySize: body.count, limits: limits)
        var buffer = context.channel.allocator.buffer(capacity: size)
        let now = NIODeadline.now().uptimeNanoseconds
        var failure: SecurityError?
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: size) { room in
            body.withUnsafeBytes { bytes in
                do throws(SecurityError) {
                    return try codec.encode(
                        type,
                        requestID: requestID,
                        body: bytes,
                        limits: limits,
                        now: now,
                        to: room
                    )
                } catch {
                    failure = error
                    return 0
                }
            }
        }
        if let failure { throw failure }
        context.write(wrapOutboundOut(buffer), promise: nil)
        // What the answers of one read give rise to leaves in one write.
        if isReading { isFlushDue = true } else { context.flush() }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        if isFlushDue {
            isFlushDue = false
            context.flush()
        }
        context.fireChannelReadComplete()
    }

    private func scheduleRenewal(_ token: SecureChannelStateMachine.Token) {
        guard let context else { return }
        let loopBound = NIOLoopBound(self, eventLoop: context.eventLoop)
        renewTimer?.cancel()
        renewTimer = context.eventLoop.scheduleTask(deadline: token.renewAt) {
            let channel = loopBound.value
            channel.perform(channel.secure.renewalDue())
        }
    }

    func openAnswered(_ body: ByteBuffer) {
        do throws(OPCUAClientError) {
            let response = try Self.decode(OpenSecureChannelResponse.self, from: body, service: "OpenSecureChannel")
            let token = response.securityToken
            let action = secure.opened(
                channelID: token.channelId,
                tokenID: token.tokenId,
                lifetime: token.revisedLifetime,
                now: .now()
            )
            switch action {
            case .ready(let token), .renewed(let token): try install(token, serverNonce: response.serverNonce)
            default: break
            }
            perform(action)
        } catch {
            close(error)
        }
    }

    private func install(
        _ token: SecureChannelStateMachine.Token,
        serverNonce: [UInt8]?
    ) throws(OPCUAClientError) {
        defer { clientNonce = nil }
        do throws(SecurityError) {
            try codec.install(
                channelID: token.channelID,
                tokenID: token.tokenID,
                clientNonce: clientNonce,
                serverNonce: serverNonce,
                expiresAt: token.expiresAt.uptimeNanoseconds
            )
        } catch {
            throw .security(error, in: "OpenSecureChannel")
        }
    }

    // MARK: Calling services

    /// Calls a service. `completion` is called exactly once, on the event loop.
    /// - Parameter timeout: nil waits as long as the channel lives (Publish).
    func send(_ body: [UInt8], requestID: UInt32, timeout: TimeAmount?, completion: @escaping Completion) {
        guard let context, failure == nil, isReady else {
            return completion(.failure(failure ?? .stopped))
        }
        do throws(SecurityError) {
            try send(.message, body, requestID, context)
        } catch {
            if error.code == .badRequestTooLarge {
                return completion(
                    .failure(OPCUAClientError(.messageTooLarge, error.message, status: .badRequestTooLarge))
                )
            }
            let failure = OPCUAClientError.security(error, in: "a request")
            completion(.failure(failure))
            return close(failure)
        }
        var timer: Scheduled<Void>?
        if let timeout {
            let loopBound = NIOLoopBound(self, eventLoop: context.eventLoop)
            timer = context.eventLoop.scheduleTask(in: timeout) {
                loopBound.value.finish(
                    requestID,
                    .failure(
                        OPCUAClientError(
                            .timeout,
                            "no answer from the server within \(timeout.nanoseconds / 1_000_000) ms",
                            status: .badTimeout
                        )
                    )
                )
            }
        }
        pending[requestID] = Pending(completion: completion, timeout: timer)
    }

    func nextRequestID() -> UInt32 { secure.nextRequestID() }

    func finish(_ requestID: UInt32, _ result: Result<ByteBuffer, OPCUAClientError>) {
        // An answer nobody waits for any more (its timeout fired) is dropped.
        guard let waiting = pending.removeValue(forKey: requestID) else { return }
        waiting.timeout?.cancel()
        waiting.completion(result)
    }

    // MARK: Closing

    func channelInactive(context: ChannelHandlerContext) {
        close(OPCUAClientError(.connectionClosed, "the server closed the TCP connection", status: .badConnectionClosed))
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        close(
            OPCUAClientError(.connectionClosed, "the TCP connection broke: \(error)", status: .badCommunicationError)
        )
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    /// Closes the TCP connection; every call in flight fails with `error`.
    func close(_ error: OPCUAClientError) {
        guard failure == nil else { return }
        failure = error
        transport.closed()
        secure.close()
        openTimer?.cancel()
        renewTimer?.cancel()
        openTimer = nil
        renewTimer = nil
        partial = nil
        assembling = [:]
        let waiting = pending
        pending = [:]
        for each in waiting.values { each.timeout?.cancel() }
        if isFlushDue {
            isFlushDue = false
            context?.flush()
        }
        let channel = context?.channel
        channel?.close(mode: .all, promise: nil)
        for each in waiting.values { each.completion(.failure(error)) }
        openWaiter?.resume(returning: .failure(error))
        openWaiter = nil
        let notify = onClosed
        onClosed = nil
        notify?(error)
    }

    /// Sends CloseSecureChannel, which has no answer (Part 4, 5.6.3), and closes the connection.
    func closeOrderly() {
        if failure == nil, isReady, let context {
            let id = secure.nextRequestID()
            let request = CloseSecureChannelRequest(
                requestHeader: RequestHeader(timestamp: WallClock.dateTime(), requestHandle: id)
            )
            try? send(.closeSecureChannel, request.messageBody, id, context)
        }
        close(.stopped)
    }
}
