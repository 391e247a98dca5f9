import NIOCore
import OPCUACodec

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
        var securityMode: MessageSecurityMode = .none
        /// Milliseconds asked for.
        var channelLifetime: UInt32
        /// Until the channel must be open.
        var openTimeout: TimeAmount
        var makeCodec: @Sendable () throws(OPCUAClientError) -> any SecureChannelCodec
    }

    typealias Completion = (Result<ByteBuffer, OPCUAClientError>) -> Void

    private struct Pending {
        var completion: Completion
        var timeout: Scheduled<Void>?
    }

    private let parameters: Parameters
    private var transport = TransportStateMachine()
    private var secure = SecureChannelStateMachine()
    private var codec: (any SecureChannelCodec)?
    private(set) var limits: TransportLimits?

    private var context: ChannelHandlerContext?
    /// Bytes of a chunk that has not come wholly.
    private var partial: ByteBuffer?
    /// Messages of which some chunks have come, by request id.
    private var assembling: [UInt32: ByteBuffer] = [:]
    private var assemblingBytes = 0
    private var pending: [UInt32: Pending] = [:]
    private var openRequestID: UInt32?

    private var openTimer: Scheduled<Void>?
    private var renewTimer: Scheduled<Void>?
    private var openWaiter: CheckedContinuation<Result<Void, OPCUAClientError>, Never>?
    private var isReady = false
    /// Why it is closed; nil while it is not.
    private(set) var failure: OPCUAClientError?
    /// Called once, when the channel is closed for any reason.
    var onClosed: ((OPCUAClientError) -> Void)?
    /// Bytes of chunks received, for metrics.
    private(set) var bytesReceived: UInt64 = 0

    init(_ parameters: Parameters) { self.parameters = parameters }

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

    private func perform(_ action: TransportStateMachine.Action) {
        switch action {
        case .opened(let limits):
            self.limits = limits
            do throws(OPCUAClientError) { codec = try parameters.makeCodec() } catch { return close(error) }
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
        do throws(OPCUAClientError) {
            let requestID = secure.nextRequestID()
            openRequestID = requestID
            let request = OpenSecureChannelRequest(
                requestHeader: RequestHeader(
                    timestamp: WallClock.dateTime(),
                    requestHandle: requestID,
                    timeoutHint: UInt32(clamping: parameters.openTimeout.nanoseconds / 1_000_000)
                ),
                requestType: renew ? .renew : .issue,
                securityMode: parameters.securityMode,
                clientNonce: try codec?.makeNonce(),
                requestedLifetime: parameters.channelLifetime
            )
            var buffer = context.channel.allocator.buffer(capacity: 256)
            try codec?.sealOpen(body: request.messageBody, requestID: requestID, numbers: &secure, into: &buffer)
            context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
        } catch {
            close(error)
        }
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

    private func openAnswered(_ body: ByteBuffer) {
        do throws(OPCUAClientError) {
            let response = try Self.decode(OpenSecureChannelResponse.self, from: body, service: "OpenSecureChannel")
            let token = response.securityToken
            try codec?.install(
                channelID: token.channelId,
                tokenID: token.tokenId,
                serverNonce: response.serverNonce
            )
            perform(
                secure.opened(
                    channelID: token.channelId,
                    tokenID: token.tokenId,
                    lifetime: token.revisedLifetime,
                    now: .now()
                )
            )
        } catch {
            close(error)
        }
    }

    // MARK: Calling services

    /// Calls a service. `completion` is called exactly once, on the event loop.
    /// - Parameter timeout: nil waits as long as the channel lives (Publish).
    func send(_ body: [UInt8], requestID: UInt32, timeout: TimeAmount?, completion: @escaping Completion) {
        guard let context, let limits, failure == nil, isReady else {
            return completion(.failure(failure ?? .stopped))
        }
        if limits.maxSendMessageSize > 0, body.count > limits.maxSendMessageSize {
            return completion(
                .failure(
                    OPCUAClientError(
                        .messageTooLarge,
                        "the request has \(body.count) bytes, the server takes \(limits.maxSendMessageSize)",
                        status: .badRequestTooLarge
                    )
                )
            )
        }
        if limits.maxSendChunkCount > 0,
            body.count / max(1, limits.sendChunkSize - 512) >= limits.maxSendChunkCount,
            body.count > limits.sendChunkSize - 512
        {
            return completion(
                .failure(
                    OPCUAClientError(
                        .messageTooLarge,
                        "the request needs more than the \(limits.maxSendChunkCount) chunks the server takes",
                        status: .badRequestTooLarge
                    )
                )
            )
        }
        var buffer = context.channel.allocator.buffer(capacity: body.count + 128)
        do throws(OPCUAClientError) {
            try codec?.seal(
                .message,
                body: body,
                requestID: requestID,
                limits: limits,
                numbers: &secure,
                into: &buffer
            )
        } catch {
            completion(.failure(error))
            return close(error)
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
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    }

    func nextRequestID() -> UInt32 { secure.nextRequestID() }

    /// Calls a service and waits for its answer.
    func call<Request: ServiceRequest>(
        _ request: Request,
        authenticationToken: NodeId = .null,
        timeout: TimeAmount,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) -> Request.Response {
        var request = request
        let id = secure.nextRequestID()
        request.requestHeader = RequestHeader(
            authenticationToken: authenticationToken,
            timestamp: WallClock.dateTime(),
            requestHandle: id,
            timeoutHint: UInt32(clamping: timeout.nanoseconds / 1_000_000)
        )
        let body = request.messageBody
        let result: Result<ByteBuffer, OPCUAClientError> = await withCheckedContinuation { continuation in
            send(body, requestID: id, timeout: timeout) { continuation.resume(returning: $0) }
        }
        do throws(OPCUAClientError) {
            return try Self.decode(Request.Response.self, from: try result.get(), service: Self.name(Request.self))
        } catch {
            if error.code == .timeout {
                var named = error
                named.message = "\(Self.name(Request.self)): " + error.message
                throw named
            }
            throw error
        }
    }

    /// `ReadRequest` → `Read`.
    static func name(_ type: Any.Type) -> String {
        let name = "\(type)"
        return name.hasSuffix("Request") ? String(name.dropLast(7)) : name
    }

    /// Decodes a response body, or throws what its ServiceFault or service result says.
    static func decode<Response: ServiceResponse>(
        _ type: Response.Type,
        from body: ByteBuffer,
        service: String
    ) throws(OPCUAClientError) -> Response {
        let outcome: Result<Response, OPCUAClientError> = body.withUnsafeReadableBytes { bytes in
            var decoder = BinaryDecoder(bytes)
            do throws(DecodingError) {
                let id = try NodeId(from: &decoder)
                if id == ServiceFault.binaryEncodingId {
                    let fault = try ServiceFault(from: &decoder)
                    return .failure(.service(service, fault.responseHeader.serviceResult))
                }
                guard id == Response.binaryEncodingId else { throw decoder.failure(.unexpectedType) }
                let response = try Response(from: &decoder)
                let status = response.responseHeader.serviceResult
                if status.isBad { return .failure(.service(service, status)) }
                return .success(response)
            } catch {
                return .failure(.decoding(error, in: "\(service) response"))
            }
        }
        return try outcome.get()
    }

    private func finish(_ requestID: UInt32, _ result: Result<ByteBuffer, OPCUAClientError>) {
        // An answer nobody waits for any more (its timeout fired) is dropped.
        guard let waiting = pending.removeValue(forKey: requestID) else { return }
        waiting.timeout?.cancel()
        waiting.completion(result)
    }

    // MARK: Receiving

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        bytesReceived &+= UInt64(bytes.readableBytes)
        if var waiting = partial.take() {
            waiting.writeBuffer(&bytes)
            bytes = waiting
        }
        while failure == nil, bytes.readableBytes >= 8 {
            let start = bytes.readerIndex
            guard let size = bytes.getInteger(at: start + 4, endianness: .little, as: UInt32.self) else { break }
            if let action = transport.announced(size: Int(size)) { return perform(action) }
            guard bytes.readableBytes >= Int(size), var chunk = bytes.readSlice(length: Int(size)) else { break }
            received(&chunk)
        }
        if failure == nil, bytes.readableBytes > 0 {
            // Our own copy: the slice would keep the whole read buffer alive.
            var rest = context.channel.allocator.buffer(capacity: max(bytes.readableBytes, 256))
            rest.writeBuffer(&bytes)
            partial = rest
        }
    }

    private func received(_ chunk: inout ByteBuffer) {
        let type = chunk.getString(at: chunk.readerIndex, length: 3) ?? ""
        switch TransportStateMachine.MessageType(rawValue: type) {
        case .acknowledge:
            perform(with: chunk) { (decoder) throws(DecodingError) in
                transport.received(try Acknowledge(from: &decoder))
            }
        case .error:
            perform(with: chunk) { (decoder) throws(DecodingError) in
                transport.received(try ErrorMessage(from: &decoder))
            }
        case .open, .message:
            let action = transport.receivedChunk()
            guard action == .deliver else { return perform(action) }
            secured(&chunk, isOpen: type == "OPN")
        case .close, .hello, .reverseHello, nil:
            let printable = type.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value < 0x7F }
            perform(transport.receivedUnexpected(printable ? "\"\(type)\"" : "that is not text"))
        }
    }

    private func perform(
        with chunk: ByteBuffer,
        _ body: (inout BinaryDecoder) throws(DecodingError) -> TransportStateMachine.Action
    ) {
        let result: Result<TransportStateMachine.Action, DecodingError> = chunk.withUnsafeReadableBytes { bytes in
            var decoder = BinaryDecoder(UnsafeRawBufferPointer(rebasing: bytes.dropFirst(8)))
            do throws(DecodingError) { return .success(try body(&decoder)) } catch { return .failure(error) }
        }
        switch result {
        case .success(let action): perform(action)
        case .failure(let error): close(.decoding(error, in: "transport message"))
        }
    }

    private func secured(_ chunk: inout ByteBuffer, isOpen: Bool) {
        guard codec != nil else { return }
        let unsealed: UnsealedChunk
        do throws(OPCUAClientError) {
            guard let result = try codec?.unseal(&chunk, numbers: &secure, now: .now()) else { return }
            unsealed = result
        } catch {
            return close(error)
        }
        let id = unsealed.requestID
        switch unsealed.position {
        case .final:
            var body = chunk
            if var whole = assembling.removeValue(forKey: id) {
                assemblingBytes -= whole.readableBytes
                whole.writeBuffer(&body)
                body = whole
            }
            if isOpen {
                guard id == openRequestID else { return }
                openRequestID = nil
                openAnswered(body)
            } else {
                finish(id, .success(body))
            }
        case .intermediate:
            guard !isOpen, pending[id] != nil || assembling[id] != nil else { return }
            assemblingBytes += chunk.readableBytes
            guard assemblingBytes <= TransportLimits.maxMessageSize else {
                return close(
                    OPCUAClientError(
                        .messageTooLarge,
                        "the server sent a message of more than \(TransportLimits.maxMessageSize) bytes",
                        status: .badResponseTooLarge
                    )
                )
            }
            if assembling[id] == nil {
                assembling[id] = context?.channel.allocator.buffer(capacity: 2 * chunk.readableBytes)
            }
            assembling[id]?.writeBuffer(&chunk)
        case .abort:
            // Part 6, 6.7.3: the body is an error code and a reason.
            if let dropped = assembling.removeValue(forKey: id) { assemblingBytes -= dropped.readableBytes }
            let status = chunk.readInteger(endianness: .little, as: UInt32.self).map(StatusCode.init(rawValue:))
            finish(id, .failure(.service("a service call (its answer was aborted)", status ?? .badCommunicationError)))
        }
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
        if failure == nil, isReady, let limits, let context {
            let id = secure.nextRequestID()
            let request = CloseSecureChannelRequest(
                requestHeader: RequestHeader(timestamp: WallClock.dateTime(), requestHandle: id)
            )
            var buffer = context.channel.allocator.buffer(capacity: 128)
            let sealed: Void? = try? codec?.seal(
                .close,
                body: request.messageBody,
                requestID: id,
                limits: limits,
                numbers: &secure,
                into: &buffer
            )
            if sealed != nil { context.writeAndFlush(wrapOutboundOut(buffer), promise: nil) }
        }
        close(.stopped)
    }
}

extension Optional {
    /// Moves the value out, leaving nil: the buffer inside stays uniquely referenced.
    fileprivate mutating func take() -> Wrapped? {
        let value = self
        self = nil
        return value
    }
}
