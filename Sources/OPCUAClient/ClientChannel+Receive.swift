import NIOCore
import OPCUACodec
import OPCUASecurity

/// From bytes to chunks to messages.
extension ClientChannel {
    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        isReading = true
        var bytes = unwrapInboundIn(data)
        bytesReceived &+= UInt64(bytes.readableBytes)
        if var waiting = partial.take() {
            // Only what its chunk lacks is moved there; what came behind is read where it is.
            complete(&waiting, from: &bytes)
            readChunks(&waiting)
            guard failure == nil else { return }
            if waiting.readableBytes > 0 {
                partial = waiting
                return
            }
        }
        readChunks(&bytes)
        if failure == nil, bytes.readableBytes > 0 {
            // Our own copy: the slice would keep the whole read buffer alive. With room for the rest of the chunk.
            var rest = context.channel.allocator.buffer(capacity: max(chunkSize(bytes) ?? 0, 256))
            rest.writeBuffer(&bytes)
            partial = rest
        }
    }

    /// The size that the chunk at the reader's position says it has, once its header is there, and no more than we offered.
    private func chunkSize(_ bytes: ByteBuffer) -> Int? {
        guard bytes.readableBytes >= 8 else { return nil }
        let size = bytes.getInteger(at: bytes.readerIndex + 4, endianness: .little, as: UInt32.self)
        return size.map { min(Int($0), TransportLimits.offeredChunkSize) }
    }

    /// Moves the rest of one chunk, as far as it has come.
    private func complete(_ waiting: inout ByteBuffer, from bytes: inout ByteBuffer) {
        func move(upTo size: Int) {
            let lacking = min(size - waiting.readableBytes, bytes.readableBytes)
            guard lacking > 0, var piece = bytes.readSlice(length: lacking) else { return }
            waiting.reserveCapacity(minimumWritableBytes: size - waiting.readableBytes)
            waiting.writeBuffer(&piece)
        }
        move(upTo: 8)
        if let size = chunkSize(waiting) { move(upTo: size) }
    }

    /// Takes the whole chunks; what is left is the beginning of one.
    private func readChunks(_ bytes: inout ByteBuffer) {
        while failure == nil, bytes.readableBytes >= 8 {
            let start = bytes.readerIndex
            guard let size = bytes.getInteger(at: start + 4, endianness: .little, as: UInt32.self) else { return }
            if let action = transport.announced(size: Int(size)) { return perform(action) }
            guard bytes.readableBytes >= Int(size), var chunk = bytes.readSlice(length: Int(size)) else { return }
            received(&chunk)
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
                assembling[id] = MessagePool.shared.take(capacity: 3 * chunk.readableBytes)
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
}

extension Optional {
    /// Moves the value out, leaving nil: the buffer inside stays uniquely referenced.
    fileprivate mutating func take() -> Wrapped? {
        let value = self
        self = nil
        return value
    }
}
