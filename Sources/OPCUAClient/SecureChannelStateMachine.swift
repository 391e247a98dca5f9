package import NIOCore
import OPCUACodec

/// The life of one secure channel (Part 4, 5.6; Part 6, 6.7): open, renew at 75 % of the lifetime while the old token
/// is still accepted, sequence numbers, request ids. Keys and bytes are elsewhere.
package struct SecureChannelStateMachine: Sendable {
    package struct Token: Sendable, Equatable {
        package var channelID: UInt32
        package var tokenID: UInt32
        package var renewAt: NIODeadline
        package var expiresAt: NIODeadline
    }

    package enum State: Sendable, Equatable {
        case idle
        case opening
        case open(Token)
        /// A new token was asked for; the old one is in use.
        case renewing(Token)
        case closed
    }

    package enum Action: Sendable, Equatable {
        case sendOpen(renew: Bool)
        /// The first token: services may be called now.
        case ready(Token)
        case renewed(Token)
        case fail(OPCUAClientError)
        case ignore
    }

    package private(set) var state = State.idle
    /// Accepted from the peer until it expires or a message with the newer one came (Part 4, 5.6.2).
    private var previous: Token?
    private var lastSent: UInt32 = 0
    private var lastReceived: UInt32?
    private var lastRequestID: UInt32 = 0

    package init() {}

    package mutating func open() -> Action {
        guard state == .idle else { return .ignore }
        state = .opening
        return .sendOpen(renew: false)
    }

    /// The timer of `renewAt` fired.
    package mutating func renewalDue() -> Action {
        guard case .open(let token) = state else { return .ignore }
        state = .renewing(token)
        return .sendOpen(renew: true)
    }

    /// An OpenSecureChannelResponse.
    /// - Parameter lifetime: milliseconds, as revised by the server.
    package mutating func opened(channelID: UInt32, tokenID: UInt32, lifetime: UInt32, now: NIODeadline) -> Action {
        // A server that revises to nothing must not make us renew in a loop.
        let milliseconds = Int64(max(lifetime, 1_000))
        let token = Token(
            channelID: channelID,
            tokenID: tokenID,
            renewAt: now + .milliseconds(milliseconds * 3 / 4),
            // Part 4, 5.6.2.1: an expired token is accepted for a further 25 % of its lifetime.
            expiresAt: now + .milliseconds(milliseconds + milliseconds / 4)
        )
        switch state {
        case .opening:
            state = .open(token)
            return .ready(token)
        case .renewing(let old):
            guard old.channelID == channelID else {
                state = .closed
                return .fail(
                    OPCUAClientError(
                        .protocolViolation,
                        "the server answered the renewal of secure channel \(old.channelID) with channel \(channelID)",
                        status: .badSecureChannelIdInvalid
                    )
                )
            }
            previous = old
            state = .open(token)
            return .renewed(token)
        case .closed: return .ignore
        case .idle, .open:
            state = .closed
            return .fail(
                OPCUAClientError(
                    .protocolViolation,
                    "the server sent an OpenSecureChannelResponse nobody asked for",
                    status: .badTcpMessageTypeInvalid
                )
            )
        }
    }

    /// Whether a message under this token is to be accepted now.
    package mutating func accepts(channelID: UInt32, tokenID: UInt32, now: NIODeadline) -> Bool {
        let current: Token
        switch state {
        case .open(let token), .renewing(let token): current = token
        case .idle, .opening, .closed: return false
        }
        guard channelID == current.channelID else { return false }
        if tokenID == current.tokenID {
            // Part 4, 5.6.2: with the first message under the new token the old one is done.
            previous = nil
            return now < current.expiresAt
        }
        if let previous, previous.tokenID == tokenID { return now < previous.expiresAt }
        return false
    }

    package var renewAt: NIODeadline? {
        if case .open(let token) = state { return token.renewAt }
        return nil
    }

    package mutating func close() { state = .closed }

    // MARK: Numbers

    /// Sequence numbers below this mark the wrap-around (Part 6, 6.7.2.4).
    static let wrapBelow: UInt32 = 1024
    static let wrapAbove: UInt32 = UInt32.max - 1024

    /// The sequence number of the next chunk sent.
    package mutating func nextSequenceNumber() -> UInt32 {
        lastSent = lastSent >= Self.wrapAbove ? 1 : lastSent + 1
        return lastSent
    }

    /// Checks a received chunk's sequence number: one more than the last, or wrapped around.
    package mutating func received(sequenceNumber: UInt32) -> Bool {
        defer { lastReceived = sequenceNumber }
        guard let last = lastReceived else { return true }
        if sequenceNumber == last &+ 1 { return true }
        return last > Self.wrapAbove && sequenceNumber < Self.wrapBelow
    }

    /// Request ids are never 0, so that 0 can mean none.
    package mutating func nextRequestID() -> UInt32 {
        lastRequestID = lastRequestID == .max ? 1 : lastRequestID + 1
        return lastRequestID
    }

    #if DEBUG
    /// Puts the counters near their ends, for tests of the wrap-around.
    mutating func setCounters(sent: UInt32, received: UInt32?, requestID: UInt32) {
        lastSent = sent
        lastReceived = received
        lastRequestID = requestID
    }
    #endif
}
