package import OPCUACodec
package import OPCUASecurity

/// What went wrong between this client and a server, in words for the person who has to cure it.
///
/// No secret (password, key, nonce) is ever part of it.
package struct OPCUAClientError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The kind of failure; its name is stable and serves as a metric label.
    package struct Code: Hashable, Sendable, CustomStringConvertible {
        package let description: String
        private init(_ name: String) { description = name }

        /// An endpoint URL, policy or item in the configuration cannot be used.
        package static let invalidConfiguration = Code("invalid_configuration")
        /// The TCP connection could not be made.
        package static let connectFailed = Code("connect_failed")
        /// The peer closed the TCP connection, or it broke.
        package static let connectionClosed = Code("connection_closed")
        /// No answer in time: the attempt, a service call or the watchdog.
        package static let timeout = Code("timeout")
        /// No PublishResponse within two keep-alive periods.
        package static let watchdog = Code("watchdog")
        /// Bytes that are not OPC UA, or break its rules.
        package static let protocolViolation = Code("protocol_violation")
        /// The server said why it closes: an Error message (Part 6, 7.1.2.5).
        package static let serverError = Code("server_error")
        /// A service answered with a bad status code.
        package static let serviceFault = Code("service_fault")
        /// Certificates, signatures or policies were refused by one of the two sides.
        package static let security = Code("security")
        /// The server's certificate did not pass a check: each has a name of its own.
        package static func certificate(_ check: CertificateProblem.Check) -> Code {
            switch check {
            case .malformed: Code("certificate_malformed")
            case .chainIncomplete: Code("certificate_chain_incomplete")
            case .badSignature: Code("certificate_bad_signature")
            case .keyTooShort: Code("certificate_key_too_short")
            case .weakSignature: Code("certificate_weak_signature")
            case .untrusted: Code("certificate_untrusted")
            case .notYetValid: Code("certificate_not_yet_valid")
            case .expired: Code("certificate_expired")
            case .issuerNotYetValid: Code("certificate_issuer_not_yet_valid")
            case .issuerExpired: Code("certificate_issuer_expired")
            case .wrongHost: Code("certificate_wrong_host")
            case .wrongApplicationUri: Code("certificate_wrong_application_uri")
            case .keyUsage: Code("certificate_key_usage")
            case .issuerKeyUsage: Code("certificate_issuer_key_usage")
            case .revoked: Code("certificate_revoked")
            case .issuerRevoked: Code("certificate_issuer_revoked")
            case .revocationUnknown: Code("certificate_revocation_unknown")
            case .issuerRevocationUnknown: Code("certificate_issuer_revocation_unknown")
            }
        }
        package var isCertificate: Bool { description.hasPrefix("certificate_") }
        /// The server offers no endpoint with the configured mode and policy.
        package static let noMatchingEndpoint = Code("no_matching_endpoint")
        /// User name, password or user certificate refused.
        package static let identityRejected = Code("identity_rejected")
        /// The session is not known to the server any more.
        package static let sessionLost = Code("session_lost")
        /// A subscription is not known to the server any more.
        package static let subscriptionLost = Code("subscription_lost")
        /// The consumer could not take a notification.
        package static let consumerRefused = Code("consumer_refused")
        /// The server works but has less to offer than another one of the redundant set may have.
        package static let serverDegraded = Code("server_degraded")
        /// A message is larger than what was negotiated.
        package static let messageTooLarge = Code("message_too_large")
        /// No server has dialled in (reverse connect).
        package static let noReverseHello = Code("no_reverse_hello")
        /// `shutdown` or cancellation.
        package static let stopped = Code("stopped")
    }

    package var code: Code
    /// What happened, naming the thing.
    package var message: String
    /// The OPC UA status behind it, where there is one.
    package var status: StatusCode?
    /// What to do about it; nil where the message says it all.
    package var advice: String?
    /// Trying again without a change may help.
    package var isRetryable: Bool
    /// Trying again soon does harm (accounts get locked): only at the longest delay.
    package var isRetriedAtLongestDelayOnly: Bool

    package init(
        _ code: Code,
        _ message: String,
        status: StatusCode? = nil,
        advice: String? = nil,
        isRetryable: Bool = true,
        isRetriedAtLongestDelayOnly: Bool = false
    ) {
        self.code = code
        self.message = message
        self.status = status
        self.advice = advice
        self.isRetryable = isRetryable
        self.isRetriedAtLongestDelayOnly = isRetriedAtLongestDelayOnly
    }

    package var description: String {
        var text = message
        if let status { text += ": \(status)" }
        if let advice { text += ". \(advice)" }
        return text
    }
}

extension OPCUAClientError {
    static let trustAdvice =
        "Trust this client's certificate on the server (most servers keep refused ones in a folder \"rejected\"); "
        + "`scada-ingestion certificate` shows it"

    static let stopped = OPCUAClientError(.stopped, "the connection is being shut down", isRetryable: false)

    static func decoding(_ error: DecodingError, in what: String) -> OPCUAClientError {
        OPCUAClientError(
            .protocolViolation,
            "the server sent a \(what) that cannot be decoded: \(error)",
            status: .badDecodingError
        )
    }

    /// The secure channel's codec refused a message.
    static func security(_ error: SecurityError, in what: String) -> OPCUAClientError {
        let code: Code
        switch error.code {
        case .badDecodingError, .badTcpMessageTypeInvalid, .badTcpMessageTooLarge, .badTcpSecureChannelUnknown,
            .badSecureChannelTokenUnknown, .badSequenceNumberInvalid:
            code = .protocolViolation
        default: code = .security
        }
        return OPCUAClientError(code, "\(what): \(error.message)", status: error.status)
    }

    /// A service call answered with a bad status.
    static func service(_ name: String, _ status: StatusCode) -> OPCUAClientError {
        switch status.withoutInfoBits {
        case .badUserAccessDenied, .badIdentityTokenRejected, .badIdentityTokenInvalid, .badUserSignatureInvalid:
            OPCUAClientError(
                .identityRejected,
                "the server refused the user identity in \(name)",
                status: status,
                advice: "Check user name, password or user certificate of this connection, and the user's rights on "
                    + "the server; the next attempt is made at the longest delay so that the account is not locked",
                isRetriedAtLongestDelayOnly: true
            )
        case .badSessionIdInvalid, .badSessionClosed, .badSessionNotActivated:
            OPCUAClientError(.sessionLost, "the server does not know the session any more (\(name))", status: status)
        case .badSubscriptionIdInvalid, .badNoSubscription:
            OPCUAClientError(
                .subscriptionLost,
                "the server does not know the subscription any more (\(name))",
                status: status
            )
        case .badSecureChannelIdInvalid, .badSecureChannelClosed, .badSecureChannelTokenUnknown:
            OPCUAClientError(.connectionClosed, "the server closed the secure channel (\(name))", status: status)
        case .badCertificateInvalid, .badSecurityChecksFailed, .badCertificateTimeInvalid, .badCertificateUntrusted,
            .badCertificateUriInvalid, .badCertificateUseNotAllowed, .badCertificateRevoked,
            .badCertificateRevocationUnknown, .badCertificateChainIncomplete, .badApplicationSignatureInvalid,
            .badNoValidCertificates, .badCertificateIssuerTimeInvalid, .badCertificateIssuerUseNotAllowed,
            .badCertificateIssuerRevocationUnknown, .badCertificateIssuerRevoked, .badCertificatePolicyCheckFailed:
            OPCUAClientError(
                .security,
                "the server refused this client's certificate or signature in \(name)",
                status: status,
                advice: trustAdvice
            )
        case .badTooManySessions:
            OPCUAClientError(
                .serviceFault,
                "the server has no session left (\(name))",
                status: status,
                advice: "Close other clients, raise the server's session limit, or wait until old sessions time out"
            )
        default:
            OPCUAClientError(.serviceFault, "\(name) was refused", status: status)
        }
    }
}
