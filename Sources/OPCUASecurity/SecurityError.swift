/// A check of the secure channel, a certificate or a key that failed: which one, and what to do. Never holds a secret.
package struct SecurityError: Error, Equatable, Sendable, CustomStringConvertible {
    /// Named like the OPC UA status codes where there is one. Extensible: a `switch` needs a `default`.
    package struct Code: Hashable, Sendable, CustomStringConvertible {
        package let description: String
        package init(_ description: String) { self.description = description }

        package static let badTcpMessageTypeInvalid = Code("BadTcpMessageTypeInvalid")
        package static let badTcpMessageTooLarge = Code("BadTcpMessageTooLarge")
        package static let badTcpSecureChannelUnknown = Code("BadTcpSecureChannelUnknown")
        package static let badSecureChannelTokenUnknown = Code("BadSecureChannelTokenUnknown")
        package static let badSequenceNumberInvalid = Code("BadSequenceNumberInvalid")
        package static let badSecurityChecksFailed = Code("BadSecurityChecksFailed")
        package static let badSecurityPolicyRejected = Code("BadSecurityPolicyRejected")
        package static let badRequestTooLarge = Code("BadRequestTooLarge")
        package static let badDecodingError = Code("BadDecodingError")
        package static let badInternalError = Code("BadInternalError")
        package static let badNonceInvalid = Code("BadNonceInvalid")
        package static let badCertificateInvalid = Code("BadCertificateInvalid")
        package static let badSecurityModeRejected = Code("BadSecurityModeRejected")
        package static let badIdentityTokenInvalid = Code("BadIdentityTokenInvalid")
    }

    package var code: Code
    package var message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { "\(code): \(message)" }
}
