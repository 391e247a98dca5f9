package import OPCUACodec

/// The largest chunks and messages of the two directions (Part 6, 7.1.2).
package struct TransportLimits: Sendable, Equatable {
    /// Largest chunk the peer takes.
    package var sendChunkSize: Int
    /// Largest chunk we take.
    package var receiveChunkSize: Int
    /// Largest message body and number of chunks the peer takes; 0 means no limit.
    package var maxSendMessageSize: Int
    package var maxSendChunkCount: Int

    /// What every implementation must be able to take (Part 6, 7.1.2.3).
    package static let minimumChunkSize = 8192
    /// Some servers refuse 65,536 (Kepware).
    package static let offeredChunkSize = 65_535
    package static let maxMessageSize = 64 * 1024 * 1024
    /// Chunks of one message we take: what fits into `maxMessageSize` at the smallest chunk size.
    package static let maxChunkCount = maxMessageSize / minimumChunkSize
}

/// Hello, Acknowledge, Error (Part 6, 7.1.2): what may come when, on one TCP connection.
package struct TransportStateMachine: Sendable {
    package enum State: Equatable, Sendable {
        case idle
        case helloSent
        case open(TransportLimits)
        case closed
    }

    package enum Action: Equatable, Sendable {
        case sendHello
        case opened(TransportLimits)
        /// Give the chunk to the secure channel.
        case deliver
        case fail(OPCUAClientError)
        /// A legitimate race, for example bytes that were under way when we closed.
        case ignore
    }

    /// The three letters of a message header (Part 6, 7.1.2.2 and 6.7.2.2).
    package enum MessageType: String, Sendable {
        case hello = "HEL"
        case acknowledge = "ACK"
        case error = "ERR"
        case reverseHello = "RHE"
        case open = "OPN"
        case message = "MSG"
        case close = "CLO"
    }

    package private(set) var state = State.idle

    package init() {}

    /// The TCP connection stands.
    package mutating func connected() -> Action {
        guard state == .idle else { return .ignore }
        state = .helloSent
        return .sendHello
    }

    package mutating func received(_ acknowledge: Acknowledge) -> Action {
        guard state == .helloSent else { return violation("an Acknowledge message nobody asked for") }
        guard acknowledge.receiveBufferSize >= TransportLimits.minimumChunkSize,
            acknowledge.sendBufferSize >= TransportLimits.minimumChunkSize
        else {
            return violation(
                "an Acknowledge message with buffers of \(acknowledge.receiveBufferSize) and "
                    + "\(acknowledge.sendBufferSize) bytes, below the smallest allowed 8192"
            )
        }
        let limits = TransportLimits(
            sendChunkSize: min(TransportLimits.offeredChunkSize, Int(acknowledge.receiveBufferSize)),
            // A server that announces more than we offered is still held to what we offered.
            receiveChunkSize: TransportLimits.offeredChunkSize,
            maxSendMessageSize: Int(acknowledge.maxMessageSize),
            maxSendChunkCount: Int(acknowledge.maxChunkCount)
        )
        state = .open(limits)
        return .opened(limits)
    }

    package mutating func received(_ error: ErrorMessage) -> Action {
        if state == .closed { return .ignore }
        state = .closed
        return .fail(error.clientError)
    }

    /// A chunk of type OPN, MSG or CLO.
    package mutating func receivedChunk() -> Action {
        switch state {
        case .open: return .deliver
        case .closed: return .ignore
        case .idle, .helloSent: return violation("a secure channel message before Acknowledge")
        }
    }

    package mutating func receivedUnexpected(_ type: String) -> Action {
        if state == .closed { return .ignore }
        return violation("a message of type \(type), which a server does not send here")
    }

    /// A header announces `size` bytes: the smallest message is its header.
    package mutating func announced(size: Int) -> Action? {
        if state == .closed { return .ignore }
        if size >= 8 && size <= TransportLimits.offeredChunkSize { return nil }
        return violation("a message header announcing \(size) bytes (8 to \(TransportLimits.offeredChunkSize) allowed)")
    }

    package mutating func closed() { state = .closed }

    private mutating func violation(_ what: String) -> Action {
        state = .closed
        return .fail(
            OPCUAClientError(
                .protocolViolation,
                "the server sent \(what)",
                status: .badTcpMessageTypeInvalid,
                advice: "Check that the port is that of an OPC UA server (opc.tcp)"
            )
        )
    }
}

/// Part 6, 7.1.2.4.
package struct Acknowledge: Equatable, Sendable {
    package var protocolVersion: UInt32
    package var receiveBufferSize: UInt32
    package var sendBufferSize: UInt32
    package var maxMessageSize: UInt32
    package var maxChunkCount: UInt32

    init(
        protocolVersion: UInt32 = 0,
        receiveBufferSize: UInt32,
        sendBufferSize: UInt32,
        maxMessageSize: UInt32 = 0,
        maxChunkCount: UInt32 = 0
    ) {
        self.protocolVersion = protocolVersion
        self.receiveBufferSize = receiveBufferSize
        self.sendBufferSize = sendBufferSize
        self.maxMessageSize = maxMessageSize
        self.maxChunkCount = maxChunkCount
    }

    init(from decoder: inout BinaryDecoder) throws(DecodingError) {
        protocolVersion = try decoder.uint32()
        receiveBufferSize = try decoder.uint32()
        sendBufferSize = try decoder.uint32()
        maxMessageSize = try decoder.uint32()
        maxChunkCount = try decoder.uint32()
    }
}

/// Part 6, 7.1.2.5.
package struct ErrorMessage: Equatable, Sendable {
    package var status: StatusCode
    package var reason: String?

    init(status: StatusCode, reason: String?) {
        self.status = status
        self.reason = reason
    }

    init(from decoder: inout BinaryDecoder) throws(DecodingError) {
        status = try StatusCode(from: &decoder)
        // At most 4096 bytes; what a server writes here is not worth losing the status code for.
        reason = decoder.bytesLeft >= 4 ? (try? decoder.string()) : nil
    }

    var clientError: OPCUAClientError {
        let why = reason.map { $0.isEmpty ? "" : " (\"\($0.prefix(200))\")" } ?? ""
        var error = OPCUAClientError.service("the secure channel", status)
        if error.code == .serviceFault {
            error = OPCUAClientError(
                .serverError,
                "the server closed the connection with an error\(why)",
                status: status
            )
        } else {
            error.message += why
        }
        return error
    }
}
