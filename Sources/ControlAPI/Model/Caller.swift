package import FoundationEssentials

/// Who makes a call and what they may touch.
package struct Caller: Sendable, Equatable {
    package enum Tenants: Sendable, Equatable {
        case all
        case only(Set<UUID>)
    }

    /// The tenants this caller may read and command.
    package let tenants: Tenants
    /// Who it is, for logs: the first digits of the token's hash, the client certificate's subject, or "anonymous".
    /// No secret.
    package let identity: String

    package init(tenants: Tenants, identity: String) {
        self.tenants = tenants
        self.identity = identity
    }

    package func mayAccess(_ tenantID: UUID) -> Bool {
        switch tenants {
        case .all: true
        case .only(let allowed): allowed.contains(tenantID)
        }
    }

    /// Throws `PERMISSION_DENIED` unless the caller may access the tenant. The message tells nothing about whether such
    /// a tenant exists.
    package func requireAccess(to tenantID: UUID) throws(ControlError) {
        guard mayAccess(tenantID) else {
            throw ControlError(
                .permissionDenied,
                "the token is not for tenant \(tenantID.uuidString.lowercased())",
                field: "tenant_id"
            )
        }
    }
}

/// What a handler knows about the call it answers.
package struct CallContext: Sendable {
    package let caller: Caller
    /// Method name without the service, e.g. `QueryReadings`.
    package let method: String
    /// The peer's address as the transport reports it, e.g. `ipv4:127.0.0.1:51234`. Not authenticated.
    package let peer: String
    /// When the client gives up; nil = never. The handler's task is cancelled then: pass it on to whatever has timeouts
    /// of its own.
    package let deadline: ContinuousClock.Instant?

    package init(caller: Caller, method: String, peer: String, deadline: ContinuousClock.Instant?) {
        self.caller = caller
        self.method = method
        self.peer = peer
        self.deadline = deadline
    }
}
