package import NIOCore
import OPCUACodec

/// The life of one secure channel (Part 4, 5.6): open, renew at 75 % of the lifetime; request ids. Sequence numbers,
/// which tokens are accepted, keys and bytes are the codec's (OPCUASecurity).
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
    private var lastRequestID: UInt32

    package init(lastRequestID: UInt32 = 0) { self.lastRequestID = lastRequestID }

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

    package var renewAt: NIODeadline? {
        if case .open(let token) = state { return token.renewAt }
        return nil
    }

    package mutating func close() { state = .closed }

    /// Request ids are never 0, so that 0 can mean none.
    package mutating func nextRequestID() -> UInt32 {
        lastRequestID = lastRequestID == .max ? 1 : lastRequestID + 1
        return lastRequestID
    }
}
