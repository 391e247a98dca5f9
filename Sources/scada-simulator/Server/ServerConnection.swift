import NIOCore
import OPCUACodec
import OPCUASecurity

/// One TCP connection: Hello, secure channel, chunks (Part 6, 6.7 and 7.1), and the ``Peer`` its requests are answered to.
///
/// Confined to its event loop, which is that of its server. Keys and algorithms are the business of SecureChannelCodec.
final class ServerConnection: ChannelInboundHandler, Peer {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State { case waitingForHello, waitingForChannel, open, closed }

    private let server: FieldServer
    private let driver: ServerDriver
    private var state = State.waitingForHello
    private var codec = SecureChannelCodec(security: .unsecured(role: .server))
    /// Of the open channel.
    private(set) var security = PeerSecurity()
    private var limits = ChunkLimits()
    private let receiveLimit: Int
    private var context: ChannelHandlerContext?
    /// Bytes of a chunk that has not come wholly.
    private var partial: ByteBuffer?
    /// The chunks so far of a request of several, and whose they are.
    private var assembling: (requestID: UInt32, bytes: [UInt8])?
    private var nextTokenID: UInt32 = 1
    private var channelID: UInt32 = 0
    /// Responses of one read or tick leave in one write.
    private var output: [UInt8] = []
    private var isFlushScheduled = false

    /// The client that was dialled, until its Hello has come; nil where the client dialled.
    private var dialled: ServerDriver.ReverseTarget?

    init(server: FieldServer, driver: ServerDriver, dialled: ServerDriver.ReverseTarget? = nil) {
        self.server = server
        self.dialled = dialled
        self.driver = driver
        receiveLimit = server.limits.chunkSize
    }

    var maximumResponseSize: Int { limits.messageSize }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        driver.opened(self)
        if driver.isFrozen { setFrozen(true) }
    }

    func channelActive(context: ChannelHandlerContext) {
        if dialled != nil { sendReverseHello() }
        context.fireChannelActive()
    }

    /// Part 6, 7.1.2.6.
    private func sendReverseHello() {
        let configuration = server.configuration
        let size = 16 + configuration.applicationURI.utf8.count + configuration.endpointURL.utf8.count
        var encoder = BinaryEncoder(reservingCapacity: size)
        encoder.integer(MessageHeader.MessageType.reverseHello.rawValue | 0x4600_0000)
        encoder.integer(UInt32(size))
        encoder.string(configuration.applicationURI)
        encoder.string(configuration.endpointURL)
        output += encoder.bytes
        scheduleFlush()
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelInactive(context: ChannelHandlerContext) {
        closed()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A reset connection is nothing to talk about: the client comes back.
        close()
    }

    // MARK: Receiving

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        if var waiting = partial {
            partial = nil
            waiting.writeBuffer(&bytes)
            bytes = waiting
        }
        process(bytes, context)
    }

    /// Takes the whole chunks out of `bytes` and keeps the rest.
    private func process(_ bytes: ByteBuffer, _ context: ChannelHandlerContext) {
        var bytes = bytes
        driver.setTime()
        while state != .closed, !driver.isFrozen, bytes.readableBytes >= MessageHeader.size {
            do {
                let header = try bytes.withUnsafeReadableBytes { (region) throws(SecurityError) in
                    try MessageHeader.peek(region, maximumLength: receiveLimit)
                }
                guard let header, bytes.readableBytes >= header.length else { break }
                try bytes.withUnsafeMutableReadableBytes { region in
                    let chunk = UnsafeMutableRawBufferPointer(rebasing: region[..<header.length])
                    try received(header, chunk)
                }
                bytes.moveReaderIndex(forwardBy: header.length)
            } catch let error as SecurityError {
                fail(error.status, error.message)
            } catch {
                fail(.badDecodingError, "\(error)")
            }
        }
        if state != .closed, bytes.readableBytes > 0 {
            var rest = context.channel.allocator.buffer(capacity: max(bytes.readableBytes, 256))
            rest.writeBuffer(&bytes)
            partial = rest
        }
    }

    private func received(_ header: MessageHeader, _ chunk: UnsafeMutableRawBufferPointer) throws {
        switch header.type {
        case .hello:
            guard state == .waitingForHello else {
                return fail(.badTcpMessageTypeInvalid, "Hello comes once, at the start")
            }
            try hello(UnsafeRawBufferPointer(rebasing: chunk[MessageHeader.size...]))
        case .openSecureChannel:
            guard state != .waitingForHello else { return fail(.badTcpMessageTypeInvalid, "Hello comes first") }
            if state == .waitingForChannel { try accept(UnsafeRawBufferPointer(chunk)) }
            try secured(chunk)
        case .message, .closeSecureChannel:
            guard state == .open else { return fail(.badTcpSecureChannelUnknown, "no secure channel is open") }
            try secured(chunk)
        case .acknowledge, .error, .reverseHello:
            fail(.badTcpMessageTypeInvalid, "a client does not send \(header.type)")
        }
    }

    /// Part 6, 7.1.2.3.
    private func hello(_ body: UnsafeRawBufferPointer) throws(DecodingError) {
        var decoder = BinaryDecoder(body)
        _ = try decoder.uint32()
        let receives = Int(try decoder.uint32())
        _ = try decoder.uint32()
        let message = Int(try decoder.uint32())
        let chunks = Int(try decoder.uint32())
        _ = try decoder.string()
        if let dialled {
            self.dialled = nil
            driver.taken(dialled)
        }
        guard receives >= 8_192 else {
            return fail(.badConnectionRejected, "a client has to take chunks of at least 8192 bytes")
        }
        limits = ChunkLimits(chunkSize: min(receives, receiveLimit), messageSize: message, chunkCount: chunks)
        var encoder = BinaryEncoder(reservingCapacity: 28)
        encoder.integer(MessageHeader.MessageType.acknowledge.rawValue | 0x4600_0000)
        encoder.integer(UInt32(28))
        encoder.integer(UInt32(0))
        encoder.integer(UInt32(receiveLimit))
        encoder.integer(UInt32(limits.chunkSize))
        encoder.integer(UInt32(server.limits.messageSize))
        encoder.integer(UInt32(0))
        output += encoder.bytes
        scheduleFlush()
        state = .waitingForChannel
    }

    private func secured(_ chunk: UnsafeMutableRawBufferPointer) throws {
        let decoded = try codec.decode(chunk, now: monotonicTime)
        if decoded.type == .closeSecureChannel { return close() }
        let part = UnsafeRawBufferPointer(rebasing: chunk[decoded.body])
        switch decoded.chunkType {
        case .abort: assembling = nil
        case .intermediate:
            var soFar = assembling?.requestID == decoded.requestID ? assembling?.bytes ?? [] : []
            assembling = nil
            // Of what is too large only enough is kept to say so to the right request.
            if soFar.count <= server.limits.messageSize { soFar.append(contentsOf: part) }
            assembling = (decoded.requestID, soFar)
        case .final:
            if let waiting = assembling, waiting.requestID == decoded.requestID {
                assembling = nil
                let whole = waiting.bytes.count <= server.limits.messageSize ? waiting.bytes + part : waiting.bytes
                try whole.withUnsafeBytes { try request(decoded, $0) }
            } else {
                try request(decoded, part)
            }
        }
    }

    private func request(_ chunk: DecodedChunk, _ body: UnsafeRawBufferPointer) throws {
        if chunk.type == .openSecureChannel {
            try openChannel(chunk, body)
        } else if body.count > server.limits.messageSize {
            let handle = FieldServer.requestHandle(body)
            respond(chunk.requestID, FieldServer.fault(.badRequestTooLarge, handle: handle, time: server.time))
        } else {
            server.handle(body, requestID: chunk.requestID, from: self)
        }
    }

    private var monotonicTime: UInt64 { UInt64(max(server.now, 0)) }

    /// Chooses policy and keys by the first message of a channel (Part 6, 6.7.4).
    private func accept(_ chunk: UnsafeRawBufferPointer) throws(SecurityError) {
        let offered = server.configuration.security
        let (accepted, chain) = try ChannelSecurity.accepting(
            try AsymmetricHeader.peek(chunk),
            own: offered.identity,
            allowed: offered.policies
        )
        if let chain, let store = offered.trustStore {
            let verdict = try store.validate(
                chain,
                expecting: CertificateExpectation(purpose: .client, policy: accepted.policy),
                now: server.time / 10_000_000 - 11_644_473_600
            )
            // What exactly is wrong is nobody's business before the client is known (Part 4, 6.1.3).
            if let problem = verdict.problem { throw SecurityError(.badSecurityChecksFailed, problem.message) }
        }
        codec = SecureChannelCodec(security: accepted)
        security = PeerSecurity(certificate: chain?.leaf)
    }

    /// Part 4, 5.6.2.
    private func openChannel(_ chunk: DecodedChunk, _ body: UnsafeRawBufferPointer) throws {
        var decoder = BinaryDecoder(body)
        guard try NodeId(from: &decoder) == OpenSecureChannelRequest.binaryEncodingId else {
            return fail(.badTcpMessageTypeInvalid, "an OpenSecureChannel message without its request")
        }
        let request = try OpenSecureChannelRequest(from: &decoder)
        let policy = codec.security.policy
        // Without security everybody may ask which endpoints there are (Part 4, 5.5.1).
        let isDiscovery = policy == .none && request.securityMode == .none
        guard isDiscovery || server.configuration.security.isOffered(policy, request.securityMode) else {
            return fail(.badSecurityModeRejected, "this security mode is not offered with policy \(policy.name)")
        }
        try codec.choose(mode: request.securityMode)
        security.offer = SecurityOffer(policy: policy, mode: request.securityMode)
        if request.requestType == .renew {
            guard state == .open, chunk.channelID == channelID else {
                return fail(.badTcpSecureChannelUnknown, "channel \(chunk.channelID) is not this connection's")
            }
        } else {
            guard state == .waitingForChannel else {
                return fail(.badTcpSecureChannelUnknown, "one secure channel a connection")
            }
            channelID = server.newChannelID()
        }
        let lifetime = server.limits.channelLifetime
        let token = ChannelSecurityToken(
            channelId: channelID,
            tokenId: nextTokenID,
            createdAt: DateTime(ticks: server.time),
            revisedLifetime: min(max(request.requestedLifetime, lifetime.lowerBound), lifetime.upperBound)
        )
        nextTokenID += 1
        let nonce = try codec.makeNonce()
        try codec.install(
            channelID: channelID,
            tokenID: token.tokenId,
            clientNonce: request.clientNonce,
            serverNonce: nonce,
            // Part 4, 5.6.2.1: a quarter more than the lifetime.
            expiresAt: monotonicTime + UInt64(token.revisedLifetime) * 1_250_000
        )
        state = .open
        let response = OpenSecureChannelResponse(
            responseHeader: ResponseHeader(
                timestamp: DateTime(ticks: server.time),
                requestHandle: request.requestHeader.requestHandle
            ),
            securityToken: token,
            serverNonce: nonce
        )
        try send(.openSecureChannel, chunk.requestID, response.messageBody)
    }

    // MARK: Sending

    func respond(_ requestID: UInt32, _ body: [UInt8]) {
        guard state == .open else { return }
        do throws(SecurityError) {
            try send(.message, requestID, body)
        } catch {
            // The client said how much it takes: it learns that the answer would be more.
            let fault = FieldServer.fault(.badResponseTooLarge, handle: 0, time: server.time)
            do throws(SecurityError) { try send(.message, requestID, fault) } catch { close() }
        }
    }

    private func send(_ type: MessageHeader.MessageType, _ requestID: UInt32, _ body: [UInt8]) throws(SecurityError) {
        let start = output.count
        let result: Result<Void, SecurityError> = body.withUnsafeBytes { region in
            do throws(SecurityError) {
                return .success(
                    try codec.encode(
                        type,
                        requestID: requestID,
                        body: region,
                        limits: limits,
                        now: monotonicTime,
                        into: &output
                    )
                )
            } catch {
                return .failure(error)
            }
        }
        try result.get()
        driver.corrupt(&output, from: start)
        scheduleFlush()
    }

    private func scheduleFlush() {
        if isFlushScheduled { return }
        isFlushScheduled = true
        driver.flushLater(self)
    }

    /// Hands what was sent in this turn of the event loop to the socket in one write.
    func flush() {
        isFlushScheduled = false
        // Kept for the time after the thaw, as a stopped process would.
        guard let context, !output.isEmpty, !driver.isFrozen else { return }
        var buffer = context.channel.allocator.buffer(capacity: output.count)
        buffer.writeBytes(output)
        output.removeAll(keepingCapacity: output.count <= 1 << 20)
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    }

    /// Sends an Error message (Part 6, 7.1.2.5) and closes.
    private func fail(_ status: StatusCode, _ reason: String) {
        guard state != .closed else { return }
        var encoder = BinaryEncoder(reservingCapacity: 64)
        encoder.integer(MessageHeader.MessageType.error.rawValue | 0x4600_0000)
        encoder.integer(UInt32(16 + reason.utf8.count))
        status.encode(to: &encoder)
        encoder.string(reason)
        output += encoder.bytes
        close()
    }

    /// Stops reading, or goes on with it and sends what waited.
    func setFrozen(_ isFrozen: Bool) {
        context?.channel.setOption(.autoRead, value: !isFrozen).whenFailure { _ in }
        guard !isFrozen else { return }
        flush()
        if let context, let waiting = partial {
            partial = nil
            process(waiting, context)
        }
    }

    /// Closes without sending what waits.
    func abort() {
        output = []
        close()
    }

    func cut() { abort() }

    /// Ends the connection; what was sent before still goes out.
    func close() {
        guard state != .closed else { return }
        flush()
        closed()
        context?.close(mode: .all, promise: nil)
    }

    private func closed() {
        guard state != .closed else { return }
        state = .closed
        partial = nil
        assembling = nil
        driver.closed(self)
        server.closed(self)
        if let dialled {
            self.dialled = nil
            driver.dialAgain(dialled)
        }
    }
}
