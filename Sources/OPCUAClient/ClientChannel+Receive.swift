import NIOCore
import OPCUACodec
import OPCUASecurity

/// From bytes to chunks to messages.
extension ClientChannel {
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
            // Our own copy: the slice would keep the whole read buffer alive. With room for what the next read brings.
            let size = bytes.getInteger(at: bytes.readerIndex + 4, endianness: .little, as: UInt32.self) ?? 0
            let room = bytes.readableBytes + min(Int(size), TransportLimits.offeredChunkSize)
            var rest = context.channel.allocator.buffer(capacity: max(room, 256))
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
