package import NIOCore
package import OPCUACodec

/// The life of a session (Part 4, 5.7): created, activated, detached from a broken channel, activated again on a new
/// one, closed.
package struct SessionStateMachine: Sendable {
    package struct Session: Sendable, Equatable {
        package var sessionID: NodeId
        package var authenticationToken: NodeId
        /// Milliseconds, as revised by the server.
        package var timeout: Double
        /// To be signed in the next ActivateSession (Part 4, 5.7.3).
        package var serverNonce: [UInt8]?
        package var serverCertificate: [UInt8]?
    }

    package enum State: Sendable, Equatable {
        case none
        case created(Session)
        case active(Session, lastUsed: NIODeadline)
        /// The channel is gone; the server keeps the session until its timeout.
        case detached(Session, since: NIODeadline)
    }

    package enum Action: Sendable, Equatable {
        case activate(Session)
        case create
        case ready
        case fail(OPCUAClientError)
        case ignore
    }

    package private(set) var state = State.none

    package init() {}

    package var session: Session? {
        switch state {
        case .none: nil
        case .created(let session), .active(let session, _), .detached(let session, _): session
        }
    }

    package var authenticationToken: NodeId { session?.authenticationToken ?? .null }

    package var isActive: Bool {
        if case .active = state { return true }
        return false
    }

    /// A CreateSessionResponse whose signature has been checked.
    /// - Parameters:
    ///   - needsNonce: a security policy other than None is in use; its nonces have at least 32 bytes.
    ///   - expectedCertificate: that of the endpoint the channel was opened with.
    package mutating func created(
        _ response: CreateSessionResponse,
        needsNonce: Bool,
        expectedCertificate: [UInt8]?
    ) -> Action {
        func refuse(_ what: String, _ status: StatusCode) -> Action {
            .fail(OPCUAClientError(.security, "CreateSession: the server \(what)", status: status))
        }
        if response.authenticationToken.isNull {
            return .fail(
                OPCUAClientError(
                    .protocolViolation,
                    "CreateSession: the server gave no authentication token",
                    status: .badSessionIdInvalid
                )
            )
        }
        if needsNonce {
            guard (response.serverNonce?.count ?? 0) >= 32 else {
                return refuse("sent a nonce of less than 32 bytes", .badNonceInvalid)
            }
            guard let expectedCertificate, response.serverCertificate == expectedCertificate else {
                return refuse(
                    "presented another certificate than in GetEndpoints",
                    .badCertificateInvalid
                )
            }
        }
        let session = Session(
            sessionID: response.sessionId,
            authenticationToken: response.authenticationToken,
            timeout: response.revisedSessionTimeout,
            serverNonce: response.serverNonce,
            serverCertificate: response.serverCertificate
        )
        state = .created(session)
        return .activate(session)
    }

    package mutating func activated(serverNonce: [UInt8]?, now: NIODeadline) -> Action {
        guard var session else {
            return .fail(OPCUAClientError(.protocolViolation, "an ActivateSession response without a session"))
        }
        session.serverNonce = serverNonce
        state = .active(session, lastUsed: now)
        return .ready
    }

    /// The channel broke.
    package mutating func channelLost(now: NIODeadline) {
        switch state {
        case .active(let session, _): state = .detached(session, since: now)
        // A session that was never activated cannot be taken up again.
        case .created: state = .none
        case .none, .detached: break
        }
    }

    /// On a new channel: take the session up again while the server may still have it.
    package mutating func resume(now: NIODeadline) -> Action {
        guard case .detached(let session, let since) = state else { return .create }
        let timeout = TimeAmount.milliseconds(Int64(max(0, min(session.timeout, 86_400_000))))
        if now - since > timeout {
            state = .none
            return .create
        }
        return .activate(session)
    }

    /// The server does not know it, or it was closed.
    package mutating func gone() { state = .none }

    /// How often a session must be used so that the server keeps it: well within its timeout, and within what the
    /// quickest servers in the field allow (Sinumerik: about one minute, whatever they say).
    package var keepAliveInterval: TimeAmount {
        let timeout = session?.timeout ?? 60_000
        return .milliseconds(Int64(max(1_000, min(20_000, timeout.isFinite ? timeout / 3 : 20_000))))
    }
}
