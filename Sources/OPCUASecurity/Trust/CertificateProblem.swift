package import OPCUACodec

/// A check of Part 4, 6.1.3 that a certificate did not pass, and what cures it.
package struct CertificateProblem: Error, Equatable, Sendable, CustomStringConvertible {
    /// The checks in the order in which they are reported (Part 4, 6.1.3, table 100).
    package enum Check: Int, CaseIterable, Comparable, Sendable {
        case malformed
        case chainIncomplete
        case badSignature
        case keyTooShort
        case weakSignature
        case untrusted
        case notYetValid
        case expired
        case issuerNotYetValid
        case issuerExpired
        case wrongHost
        case wrongApplicationUri
        case keyUsage
        case issuerKeyUsage
        case revoked
        case issuerRevoked
        case revocationUnknown
        case issuerRevocationUnknown

        package static func < (left: Check, right: Check) -> Bool { left.rawValue < right.rawValue }

        /// Part 4, table 100, column "Bad_".
        package var status: StatusCode {
            switch self {
            case .malformed, .badSignature: .badCertificateInvalid
            case .chainIncomplete: .badCertificateChainIncomplete
            case .keyTooShort, .weakSignature: .badCertificatePolicyCheckFailed
            case .untrusted: .badCertificateUntrusted
            case .notYetValid, .expired: .badCertificateTimeInvalid
            case .issuerNotYetValid, .issuerExpired: .badCertificateIssuerTimeInvalid
            case .wrongHost: .badCertificateHostNameInvalid
            case .wrongApplicationUri: .badCertificateUriInvalid
            case .keyUsage: .badCertificateUseNotAllowed
            case .issuerKeyUsage: .badCertificateIssuerUseNotAllowed
            case .revoked: .badCertificateRevoked
            case .issuerRevoked: .badCertificateIssuerRevoked
            case .revocationUnknown: .badCertificateRevocationUnknown
            case .issuerRevocationUnknown: .badCertificateIssuerRevocationUnknown
            }
        }
    }

    package var check: Check
    /// What was found, naming the certificate.
    package var message: String
    /// What the operator can do, as a sentence with the exact command where one helps.
    package var advice: String

    package var status: StatusCode { check.status }

    package var description: String { "\(message). \(advice)" }
}

/// What became of a peer's certificate.
package struct CertificateVerdict: Equatable, Sendable {
    /// Leaf first, as far as the chain could be built.
    package var chain: [Certificate]
    /// Why the certificate is refused; nil when it is trusted.
    package var problem: CertificateProblem?
    /// What is wrong and tolerated, because the operator trusts this very certificate.
    package var warnings: [CertificateProblem]

    package var isTrusted: Bool { problem == nil }
}
