/// One call that has ended.
package struct CallRecord: Sendable, Equatable {
    /// `QueryReadings`, `Health/Check`, … or "unknown" for methods that do not exist: a bounded set, fit for a label.
    package var method: String
    package var code: StatusCode
    package var duration: Duration
    package var requestBytes: Int
    package var responseBytes: Int
}

/// One line of the audit: every AddConnection and RemoveConnection, and every call that was refused.
package struct AuditEntry: Sendable, Equatable {
    /// Who: "token 1a2b3c4d", the client certificate's subject, or "anonymous".
    package var identity: String
    /// The peer's network address, or its socket.
    package var peer: String
    package var method: String
    /// What: tenant_id, connection_id, endpoint_url, tags. No secrets.
    package var subject: [String: String]
    package var code: StatusCode
    /// Why it was refused or failed; empty on success.
    package var message: String
}

/// Where the server reports to. Closures are called on any thread and must not block.
package struct ControlServerHooks: Sendable {
    package var onCall: @Sendable (CallRecord) -> Void
    /// Every entry. Those of refused calls come here even when the log, whose number of such lines is bounded, has none.
    package var onAudit: @Sendable (AuditEntry) -> Void
    /// A client that did not get through TLS, e.g. without a certificate or with an expired one.
    package var onFailedHandshake: @Sendable () -> Void

    package init(
        onCall: @escaping @Sendable (CallRecord) -> Void = { _ in },
        onAudit: @escaping @Sendable (AuditEntry) -> Void = { _ in },
        onFailedHandshake: @escaping @Sendable () -> Void = {}
    ) {
        self.onCall = onCall
        self.onAudit = onAudit
        self.onFailedHandshake = onFailedHandshake
    }
}
