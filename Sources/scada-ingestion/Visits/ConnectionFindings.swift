import ArgumentParser
import OPCUAClient
import OPCUACodec
import OPCUASecurity

/// What `test-connection` found; its JSON has these names in snake case.
struct ConnectionFindings: Sendable, Encodable {
    struct Step: Sendable, Encodable {
        var name: String
        var microseconds: Int64
        var succeeded = true
    }

    struct Failure: Sendable, Encodable {
        /// A name of ``ConnectStep``.
        var step: String
        /// The label `error_type` of `scada_connection_errors_total`.
        var kind: String
        var message: String
        /// The OPC UA status, for example BadCertificateUntrusted.
        var status: String?
        var cure: String?
        var exitCode: Int32
    }

    struct Endpoint: Sendable, Encodable {
        var url: String
        var securityPolicy: String
        var securityMode: String
        /// The higher, the safer in the server's own opinion.
        var securityLevel: UInt8
        var userTokens: [UserToken]
        /// SHA-1 of the certificate, which is in `certificates`; nil where there is none.
        var certificateThumbprint: String?
        /// This client could use it, given certificates and users.
        var isSupported: Bool
        /// It is the one that was tested.
        var isUsed: Bool
    }

    struct UserToken: Sendable, Encodable, Equatable {
        var type: String
        /// What secures the password or the proof of the key; that of the endpoint where the server names none.
        var securityPolicy: String
    }

    struct Server: Sendable, Encodable {
        var applicationName: String
        var applicationUri: String
        var productUri: String
        var productName: String
        var manufacturer: String
        var softwareVersion: String
        var buildNumber: String
        var state: String?
        var startedAt: String?
        var serviceLevel: UInt8?
        /// Its clock minus ours, uncertain by `clockUncertaintyMs`.
        var clockOffsetMs: Double?
        var clockUncertaintyMs: Double
        var keepsHistory: Bool?
    }

    /// nil: the server does not tell; 0: it says there is none.
    struct Limits: Sendable, Encodable {
        var nodesPerRead: UInt32?
        var nodesPerBrowse: UInt32?
        var nodesPerHistoryRead: UInt32?
        var monitoredItemsPerCall: UInt32?
        var monitoredItemsPerSubscription: UInt32?
        var monitoredItems: UInt32?
        var monitoredItemQueueSize: UInt32?
        var subscriptionsPerSession: UInt32?
        var subscriptions: UInt32?
        var sessions: UInt32?
        var browseContinuationPoints: UInt32?
        var minimumSamplingIntervalMs: Double?
        var sessionTimeoutMs: Double?
        var messageBytes: Int?
        var chunks: Int?
        var chunkBytes: Int?
    }

    var url: String
    var securityPolicy: String
    var securityMode: String
    var identity: String
    var works = false
    var failure: Failure?
    var steps: [Step]
    var server: Server?
    var endpoints: [Endpoint] = []
    var certificates: [CertificateFindings] = []
    var limits: Limits?
    var namespaces: [String] = []

    init(_ target: ServerTarget, steps: [StepDuration]) {
        let configuration = target.configuration
        url = target.url
        securityPolicy = Self.policyName(configuration.securityPolicyURI)
        securityMode = Self.name(configuration.securityMode)
        identity =
            switch configuration.identity {
            case .anonymous: "anonymous"
            case .userName(let name, _): "user \(name)"
            case .x509(let path, _): "certificate \(path)"
            }
        self.steps = steps.map { Step(name: $0.step.rawValue, microseconds: $0.microseconds) }
    }

    /// A session works.
    init(_ target: ServerTarget, _ report: ServerReport, steps: [StepDuration]) {
        self.init(target, steps: steps)
        works = true
        server = Server(report)
        limits = Limits(report)
        namespaces = report.namespaces
        add(report.endpoints, target)
    }

    /// It does not.
    init(_ target: ServerTarget, _ error: ProbeError, steps: [StepDuration]) {
        self.init(target, steps: steps)
        if let last = self.steps.indices.last { self.steps[last].succeeded = false }
        failure = Failure(
            step: error.step.rawValue,
            kind: error.error.code.description,
            message: error.error.message,
            status: error.error.status.map { "\($0)" },
            cure: error.error.advice,
            exitCode: Self.exitCode(error).rawValue
        )
    }

    /// 78 where something has to be changed on this side, 69 for what the server does or does not.
    private static func exitCode(_ error: ProbeError) -> ExitCode {
        switch error.error.code {
        case .noMatchingEndpoint, .identityRejected, .invalidConfiguration: .configuration
        case let code: code.isCertificate ? .configuration : .unavailable
        }
    }

    /// Judges the certificates: blocks on the disk where the folder of certificates can be used.
    mutating func add(_ offered: [EndpointDescription], _ target: ServerTarget) {
        let wanted = target.configuration
        for each in offered {
            let policyURI = each.securityPolicyUri.flatMap { $0.isEmpty ? nil : $0 } ?? SecurityPolicy.none.uri
            let policy = SecurityPolicy(policyURI)
            let isBinary = each.transportProfileUri.map { $0.isEmpty || $0.hasSuffix("uatcp-uasc-uabinary") } ?? true
            var endpoint = Endpoint(
                url: each.endpointUrl ?? "",
                securityPolicy: Self.policyName(policyURI),
                securityMode: Self.name(each.securityMode),
                securityLevel: each.securityLevel,
                userTokens: each.userIdentityTokens.map { token in
                    let uri = token.securityPolicyUri.flatMap { $0.isEmpty ? nil : $0 } ?? policyURI
                    return UserToken(type: Self.name(token.tokenType), securityPolicy: Self.policyName(uri))
                },
                isSupported: isBinary && policy != nil
                    && (wanted.allowDeprecatedPolicies || policy?.isDeprecated == false),
                isUsed: isBinary && each.securityMode == wanted.securityMode && policyURI == wanted.securityPolicyURI
            )
            if let bytes = each.serverCertificate, !bytes.isEmpty {
                let host = (try? EndpointURL(target.url))?.host
                let found = CertificateFindings(
                    bytes,
                    host: host,
                    applicationURI: each.server.applicationUri,
                    policy: policy == SecurityPolicy.none ? nil : policy,
                    target.pki
                )
                endpoint.certificateThumbprint = found.thumbprint
                // Judged by the first policy that has rules for it.
                if !certificates.contains(where: { $0.thumbprint == found.thumbprint }) { certificates.append(found) }
            }
            endpoints.append(endpoint)
        }
    }

    static func policyName(_ uri: String) -> String { SecurityPolicy(uri)?.name ?? uri }

    static func name(_ mode: MessageSecurityMode) -> String {
        switch mode {
        case .none: "None"
        case .sign: "Sign"
        case .signAndEncrypt: "SignAndEncrypt"
        default: "invalid (\(mode.rawValue))"
        }
    }

    static func name(_ type: UserTokenType) -> String {
        switch type {
        case .anonymous: "anonymous"
        case .userName: "user name"
        case .certificate: "certificate"
        case .issuedToken: "issued token"
        default: "unknown (\(type.rawValue))"
        }
    }
}

extension ConnectionFindings.Server {
    init(_ report: ServerReport) {
        applicationName = report.applicationName
        applicationUri = report.applicationURI
        productUri = report.productURI
        productName = report.productName
        manufacturer = report.manufacturer
        softwareVersion = report.softwareVersion
        buildNumber = report.buildNumber
        state = report.state.map { state in
            let names = [
                "running", "failed", "no configuration", "suspended", "shutdown", "test", "communication fault",
                "unknown",
            ]
            let number = Int(state.rawValue)
            return names.indices.contains(number) ? names[number] : "state \(number)"
        }
        startedAt = report.startTime.flatMap { $0.ticks > 0 ? Validity.time($0.unixMicroseconds / 1_000_000) : nil }
        serviceLevel = report.serviceLevel
        clockOffsetMs = report.clockOffsetMicroseconds.map { Double($0) / 1_000 }
        clockUncertaintyMs = Double(report.roundTripMicroseconds) / 2_000
        keepsHistory = report.hasHistory
    }
}

extension ConnectionFindings.Limits {
    init(_ report: ServerReport) {
        nodesPerRead = report.limits.maxNodesPerRead
        nodesPerBrowse = report.limits.maxNodesPerBrowse
        nodesPerHistoryRead = report.limits.maxNodesPerHistoryReadData
        monitoredItemsPerCall = report.limits.maxMonitoredItemsPerCall
        monitoredItemsPerSubscription = report.limits.maxMonitoredItemsPerSubscription
        monitoredItems = report.maxMonitoredItems
        monitoredItemQueueSize = report.limits.maxMonitoredItemsQueueSize
        subscriptionsPerSession = report.limits.maxSubscriptionsPerSession
        subscriptions = report.maxSubscriptions
        sessions = report.maxSessions
        browseContinuationPoints = report.limits.maxBrowseContinuationPoints.map { UInt32($0) }
        minimumSamplingIntervalMs = report.limits.minSupportedSampleRate
        sessionTimeoutMs = report.sessionTimeout
        messageBytes = report.maxMessageSize
        chunks = report.maxChunkCount
        chunkBytes = report.limits.sendChunkSize
    }
}
