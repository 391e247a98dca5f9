import ControlAPI
import Ingestion
import OPCUAClient
import OPCUACodec
import OPCUASecurity

// What a probe found, in the API's words.

extension ConnectionTestReport {
    /// - Parameter trusted: the certificates among the endpoints' that are trusted.
    init(_ found: ServerReport, trusted: Set<[UInt8]>) {
        self.init(success: true)
        connectTime = .microseconds(found.connectMicroseconds)
        endpoints = found.endpoints.map { EndpointDetails($0, trusted: trusted) }
        applicationName = found.applicationName
        applicationURI = found.applicationURI
        productName = found.productName
        manufacturer = found.manufacturer
        softwareVersion = found.softwareVersion
        clockOffsetMillis = Double(found.clockOffsetMicroseconds ?? 0) / 1_000
        limits.maxMonitoredItemsPerCall = found.limits.maxMonitoredItemsPerCall ?? 0
        limits.maxNodesPerRead = found.limits.maxNodesPerRead ?? 0
        limits.maxNodesPerBrowse = found.limits.maxNodesPerBrowse ?? 0
        limits.maxMessageSize = UInt32(clamping: found.maxMessageSize)
        limits.maxChunkCount = UInt32(clamping: found.maxChunkCount)
        limits.minSamplingIntervalMillis = found.limits.minSupportedSampleRate ?? 0
        limits.maxSessions = found.maxSessions ?? 0
        limits.maxSubscriptions = found.maxSubscriptions ?? 0
        limits.maxMonitoredItems = found.maxMonitoredItems ?? 0
        limits.historyRead = found.hasHistory ?? false
    }
}

extension EndpointDetails {
    init(_ endpoint: EndpointDescription, trusted: Set<[UInt8]>) {
        let prefix = "http://opcfoundation.org/UA/SecurityPolicy#"
        let policy = endpoint.securityPolicyUri ?? ""
        let isKnown = SecurityPolicyName.allCases.contains { prefix + $0.rawValue == policy }
        self.init(
            endpointURL: endpoint.endpointUrl ?? "",
            securityMode: Self.word(endpoint.securityMode),
            securityPolicy: isKnown ? String(policy.dropFirst(prefix.count)) : policy
        )
        userTokenTypes = endpoint.userIdentityTokens.map { Self.word($0.tokenType) }.uniqued()
        securityLevel = endpoint.securityLevel
        guard let bytes = endpoint.serverCertificate, !bytes.isEmpty else { return }
        isCertificateTrusted = trusted.contains(bytes)
        guard let certificate = try? CertificateChain(byteString: bytes).leaf else { return }
        certificateThumbprint = certificate.thumbprint.bytes.lowercaseHex
        certificateSHA256 = certificate.sha256.lowercaseHex
        certificateSubject = certificate.subject
        certificateNotBeforeMicros = certificate.notBefore.multipliedReportingOverflow(by: 1_000_000).partialValue
        certificateNotAfterMicros = certificate.notAfter.multipliedReportingOverflow(by: 1_000_000).partialValue
    }

    private static func word(_ mode: MessageSecurityMode) -> String {
        switch mode {
        case .none: "None"
        case .sign: "Sign"
        case .signAndEncrypt: "SignAndEncrypt"
        default: "Invalid"
        }
    }

    private static func word(_ type: UserTokenType) -> String {
        switch type {
        case .anonymous: "Anonymous"
        case .userName: "UserName"
        case .certificate: "Certificate"
        case .issuedToken: "IssuedToken"
        default: "unknown (\(type.rawValue))"
        }
    }
}

extension BrowsePage {
    /// - Parameters:
    ///   - offset: where the page begins among all nodes that match.
    ///   - maxBytes: nodes beyond this go to the next page; there is one at least.
    init(_ page: ProbedPage, offset: Int, maxBytes: Int) {
        var bytes = 0
        var nodes: [BrowsedNode] = []
        for found in page.nodes {
            let node = BrowsedNode(found)
            bytes += node.encodedSize
            if bytes > maxBytes, !nodes.isEmpty { break }
            nodes.append(node)
        }
        let next = nodes.count < page.nodes.count ? offset + nodes.count : page.nextOffset
        self.init(nodes: nodes, nextPageToken: next.map { "\($0)" })
    }
}

extension BrowsedNode {
    init(_ node: ProbedNode) {
        self.init(nodeID: node.stableNodeID, nodeClass: Self.word(node.nodeClass))
        parentNodeID = "\(node.parent)"
        browsePath = node.path.joined(separator: "/")
        displayName = node.displayName
        description = node.description
        hasChildren = node.hasChildren
        guard node.nodeClass == .variable else { return }
        isReadable = node.isReadable
        isHistoryReadable = node.isHistoryReadable
        dataType = node.dataTypeName
        unit = node.unit
        guard let read = node.value else { return }
        value = String(read.value.displayText.prefix(1_000))
        quality = read.status.isGood ? "Good" : read.status.isUncertain ? "Uncertain" : "Bad"
    }

    /// An upper bound of the bytes in an answer, the ready mapping included.
    var encodedSize: Int {
        let texts = [nodeID, nodeID, parentNodeID, browsePath, displayName, displayName, nodeClass, description, value]
        return texts.reduce(120) { $0 + $1.utf8.count } + (dataType ?? "").utf8.count + unit.utf8.count
    }

    private static func word(_ nodeClass: NodeClass) -> String {
        switch nodeClass {
        case .object: "Object"
        case .variable: "Variable"
        case .method: "Method"
        case .objectType: "ObjectType"
        case .variableType: "VariableType"
        case .referenceType: "ReferenceType"
        case .dataType: "DataType"
        case .view: "View"
        default: "Unspecified"
        }
    }
}

extension ProbeError {
    /// The words of TestConnectionResponse.failed_step.
    var stepName: String {
        switch step {
        case .connect:
            if error.code != .connectFailed {
                "hello"
            } else {
                error.message.hasSuffix("does not resolve") ? "resolve" : "tcp"
            }
        case .awaitServer: "reverse connect"
        case .secureChannel: "secure channel"
        case .endpoints: "endpoints"
        case .createSession: "session"
        case .activateSession: error.code == .identityRejected ? "identity" : "session"
        case .read: "read"
        case .browse: "browse"
        case .certificate: "certificate"
        }
    }

    /// The answer to BrowseNodes.
    var answer: ControlError {
        let text = "\(stepName): \(error)"
        return switch (step, error.code) {
        case (_, .timeout): ControlError(.unavailable, text, cause: self)
        case (.browse, .serviceFault), (.browse, .invalidConfiguration): ControlError(.notFound, text, field: "node_id")
        case (_, let code) where code.isCertificate: ControlError(.failedPrecondition, text, cause: self)
        case (_, .security), (_, .noMatchingEndpoint), (_, .identityRejected), (_, .invalidConfiguration):
            ControlError(.failedPrecondition, text, cause: self)
        default: .unavailable(text, cause: self)
        }
    }
}

extension [UInt8] {
    fileprivate var lowercaseHex: String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}

extension [String] {
    fileprivate func uniqued() -> [String] {
        reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    }
}
