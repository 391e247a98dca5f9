/// Why a call failed: what the client reads as status code and message.
///
/// `message` goes over the wire as it is: it names the field or the thing and the cure, and never holds a secret.
/// `cause` stays in the server (its log).
package struct ControlError: Error, Sendable, CustomStringConvertible {
    package let code: StatusCode
    package let message: String
    /// The request's field that is at fault, e.g. `tags[3].node_id`.
    package let field: String?
    package let cause: (any Error)?

    package init(_ code: StatusCode, _ message: String, field: String? = nil, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.field = field
        self.cause = cause
    }

    /// `INVALID_ARGUMENT`, message `field: problem`.
    package static func invalid(_ field: String, _ problem: String) -> ControlError {
        ControlError(.invalidArgument, "\(field): \(problem)", field: field)
    }

    package static func notFound(_ message: String) -> ControlError {
        ControlError(.notFound, message)
    }

    package static func unavailable(_ message: String, cause: (any Error)? = nil) -> ControlError {
        ControlError(.unavailable, message, cause: cause)
    }

    package static func permissionDenied(_ message: String) -> ControlError {
        ControlError(.permissionDenied, message)
    }

    /// Whether the same call may succeed later without a change.
    package var isRetryable: Bool {
        switch code {
        case .unavailable, .resourceExhausted, .aborted, .deadlineExceeded: true
        default: false
        }
    }

    package var description: String { "\(code): \(message)" }
}
