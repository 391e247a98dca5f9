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

    private struct Pending {
        var completion: Completion
        var timeout: Scheduled<Void>?
    }

    private let parameters: Parameters
    private var transport = TransportStateMachine()
    private var secure = SecureChannelStateMachine()
    private var codec: SecureChannelCodec
    /// Ours of the OpenSecureChannelRequest in flight; the keys come from it.
    private var clientNonce: [UInt8]?
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

    private func perform(_ action: TransportStateMachine.Action) {
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
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
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
        let decoded: DecodedChunk
        do throws(SecurityError) { decoded = try unsecure(&chunk, isOpen: isOpen) } catch {
            return close(.security(error, in: "a message"))
        }
        let start = chunk.readerIndex
        chunk = chunk.getSlice(at: start + decoded.body.lowerBound, length: decoded.body.count) ?? ByteBuffer()
        let id = decoded.requestID
        switch decoded.chunkType {
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

    /// Checks and decrypts a chunk.
    private func unsecure(_ chunk: inout ByteBuffer, isOpen: Bool) throws(SecurityError) -> DecodedChunk {
        let now = NIODeadline.now().uptimeNanoseconds
        let security = parameters.security
        // Decryption is in place. The chunk is a slice of bytes that other slices share, so that it needs its own.
        if security.mode == .signAndEncrypt || isOpen && security.policy != .none {
            var own = ByteBufferAllocator().buffer(capacity: chunk.readableBytes)
            own.writeBuffer(&chunk)
            chunk = own
        }
        let result: Result<DecodedChunk, SecurityError> = chunk.withUnsafeReadableBytes { bytes in
            // Without encryption the codec only reads; with it nobody else has these bytes.
            let region = UnsafeMutableRawBufferPointer(mutating: bytes)
            do throws(SecurityError) { return .success(try codec.decode(region, now: now)) } catch {
                return .failure(error)
            }
        }
        return try result.get()
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

extension Optional {
    /// Moves the value out, leaving nil: the buffer inside stays uniquely referenced.
    fileprivate mutating func take() -> Wrapped? {
        let value = self
        self = nil
        return value
    }
}
