package import OPCUACodec

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
        package static let badConfigurationError = Code("BadConfigurationError")
        package static let badNothingToDo = Code("BadNothingToDo")
        package static let badTooManyMatches = Code("BadTooManyMatches")
    }

    package var code: Code
    package var message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { "\(code): \(message)" }

    /// The code as a number, for Error messages to a peer and for errors of other layers.
    package var status: StatusCode {
        switch code {
        case .badTcpMessageTypeInvalid: .badTcpMessageTypeInvalid
        case .badTcpMessageTooLarge: .badTcpMessageTooLarge
        case .badTcpSecureChannelUnknown: .badTcpSecureChannelUnknown
        case .badSecureChannelTokenUnknown: .badSecureChannelTokenUnknown
        case .badSequenceNumberInvalid: .badSequenceNumberInvalid
        case .badSecurityPolicyRejected: .badSecurityPolicyRejected
        case .badSecurityModeRejected: .badSecurityModeRejected
        case .badRequestTooLarge: .badRequestTooLarge
        case .badDecodingError: .badDecodingError
        case .badNonceInvalid: .badNonceInvalid
        case .badCertificateInvalid: .badCertificateInvalid
        case .badIdentityTokenInvalid: .badIdentityTokenInvalid
        case .badConfigurationError: .badConfigurationError
        case .badNothingToDo: .badNothingToDo
        case .badTooManyMatches: .badTooManyMatches
        case .badInternalError: .badInternalError
        default: .badSecurityChecksFailed
        }
    }
}
