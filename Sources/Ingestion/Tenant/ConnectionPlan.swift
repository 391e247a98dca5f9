import FoundationEssentials
package import OPCUAClient
package import OPCUACodec
package import TimescaleStore

/// A tag that can be watched.
package struct PlannedTag: Sendable, Equatable {
    package var key: TagKey
    package var nodeID: NodeIdText
    package var samplingInterval: Double?
    package var queueSize: UInt32?
    package var deadband: MonitoredItemSpecification.Deadband
}

/// A row of `scada_connections` with its tags, checked: what of it can be run, and what is wrong with the rest.
package struct ConnectionPlan: Sendable {
    /// Everything but the items; what makes a restart necessary when it changes.
    package var configuration: ConnectionConfiguration
    package var tags: [PlannedTag]
    package var problems: [RowProblem]

    /// How configured passwords are opened. Throws what is wrong with one, without quoting it.
    package typealias PasswordOpener = @Sendable (_ stored: String) throws -> String

    /// - Throws: what is wrong with the connection as a whole. A tag that cannot be used is a problem in the result.
    package init(
        _ record: ConnectionRecord,
        defaults: ConnectionDefaults,
        openPassword: PasswordOpener
    ) throws(RowProblem) {
        func wrong(_ text: String) -> RowProblem {
            RowProblem(table: "scada_connections", row: record.id.uuidString.lowercased(), problem: text)
        }
        let urls = record.endpointURL.split(separator: ",").map { $0.trimmingWhitespace() }.filter { !$0.isEmpty }
        guard !urls.isEmpty else { throw wrong("endpoint_url is empty") }
        for url in urls {
            do throws(OPCUAClientError) { _ = try EndpointURL(url) } catch { throw wrong("\(error)") }
        }
        let mode: MessageSecurityMode
        switch record.securityMode {
        case "None", "": mode = .none
        case "Sign": mode = .sign
        case "SignAndEncrypt": mode = .signAndEncrypt
        default:
            throw wrong("security_mode \"\(record.securityMode)\" is none of None, Sign and SignAndEncrypt")
        }
        let policyPrefix = "http://opcfoundation.org/UA/SecurityPolicy#"
        var policy = record.securityPolicy.isEmpty ? "None" : record.securityPolicy
        if !policy.contains(":") { policy = policyPrefix + policy }
        let known = [
            "None", "Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss", "Basic256", "Basic128Rsa15",
        ]
        guard known.contains(where: { policyPrefix + $0 == policy }) else {
            throw wrong("security_policy \"\(record.securityPolicy)\" is none of \(known.joined(separator: ", "))")
        }
        guard (mode == .none) == (policy == policyPrefix + "None") else {
            throw wrong(
                "security_mode \(record.securityMode) does not go with security_policy \(record.securityPolicy)"
            )
        }
        var identity = ConnectionConfiguration.Identity.anonymous
        if let name = record.username, let certificate = Self.certificateName(name) {
            guard Self.isFileName(certificate) else {
                throw wrong(
                    "username \(name) names no user certificate: after x509: come letters, digits, \".\", \"_\" and \"-\""
                )
            }
            identity = .x509(
                certificatePath: defaults.userFolder + "/" + certificate + ".pem",
                privateKeyPath: defaults.userFolder + "/" + certificate + ".key"
            )
        } else if let name = record.username, !name.isEmpty {
            var password = ""
            if let stored = record.password, !stored.isEmpty {
                do { password = try openPassword(stored) } catch {
                    throw wrong("the password cannot be used: \(error)")
                }
            }
            identity = .userName(name, password: Secret(password))
        }
        configuration = ConnectionConfiguration(
            id: record.id,
            endpointURLs: urls,
            securityMode: mode,
            securityPolicyURI: policy,
            identity: identity
        )
        defaults.apply(to: &configuration)
        if let interval = record.publishingIntervalMilliseconds, interval > 0 {
            configuration.publishingInterval = Double(interval)
        }
        tags = []
        tags.reserveCapacity(record.tags.count)
        problems = []
        var seen: Set<TagKey> = []
        for tag in record.tags {
            switch Self.plan(tag) {
            case .success(let planned):
                // The same node for the same well twice would store every value twice.
                if seen.insert(planned.key).inserted { tags.append(planned) }
            case .failure(let problem): problems.append(problem)
            }
        }
    }

    /// `x509:NAME` in `username`: the user proves with a certificate who it is (Part 4, 7.41.5).
    private static func certificateName(_ username: String) -> String? {
        let prefix = "x509:"
        return username.hasPrefix(prefix) ? String(username.dropFirst(prefix.count)) : nil
    }

    /// Whether a name from the database may become part of a path.
    private static func isFileName(_ name: String) -> Bool {
        name.utf8.count <= 128 && name.first != "." && !name.isEmpty
            && name.utf8.allSatisfy {
                ($0 | 0x20 >= 0x61 && $0 | 0x20 <= 0x7A) || ($0 >= 0x30 && $0 <= 0x39) || $0 == 0x2E || $0 == 0x2D
                    || $0 == 0x5F
            }
    }

    private static func plan(_ tag: TagRecord) -> Result<PlannedTag, RowProblem> {
        func wrong(_ text: String) -> Result<PlannedTag, RowProblem> {
            .failure(RowProblem(table: "tag_mappings", row: tag.id.uuidString.lowercased(), problem: text))
        }
        let node: NodeIdText
        do throws(NodeIdTextError) { node = try NodeIdText(parsing: tag.nodeID) } catch {
            return wrong("opc_node_id \"\(tag.nodeID)\" is not a node id: \(error)")
        }
        var deadband = MonitoredItemSpecification.Deadband.none
        if let value = tag.deadbandAbsolute, value != 0 {
            guard value > 0, value.isFinite else { return wrong("deadband_absolute \(value) is not a positive number") }
            deadband = .absolute(value)
        } else if let value = tag.deadbandPercent, value != 0 {
            guard value > 0, value <= 100 else { return wrong("deadband_percent \(value) is not between 0 and 100") }
            deadband = .percent(value)
        }
        if let interval = tag.samplingIntervalMilliseconds, !interval.isFinite || interval < -1 {
            return wrong("sampling_interval_ms \(interval) is neither -1 nor a number of milliseconds")
        }
        return .success(
            PlannedTag(
                key: TagKey(wellID: tag.wellID, nodeID: tag.nodeID),
                nodeID: node,
                samplingInterval: tag.samplingIntervalMilliseconds,
                queueSize: tag.queueSize.flatMap { $0 > 0 ? $0 : nil },
                deadband: deadband
            )
        )
    }

    /// Whether going from `other` to this needs a new connection; else new items do.
    func needsRestart(from other: ConnectionPlan) -> Bool { configuration != other.configuration }
}

/// What the environment says about every connection.
package struct ConnectionDefaults: Sendable, Equatable {
    /// OPC_CONNECTION_TIMEOUT_MS, OPC_SESSION_TIMEOUT_MS, OPC_RECONNECT_DELAY_MS, OPC_MAX_RECONNECT_ATTEMPTS.
    package var connectionTimeout: Int64 = 10_000
    package var sessionTimeout: Double = 60_000
    package var reconnectDelay: Int64 = 5_000
    package var maximumAttempts = 5
    package var allowPlaintextPassword = false
    package var allowDeprecatedPolicies = false
    /// Where users' certificates lie: `users` in OPC_PKI_DIR.
    package var userFolder = "users"
    /// The ApplicationUri of the own certificate.
    package var applicationURI = "urn:scada-ingestion"

    package init() {}

    func apply(to configuration: inout ConnectionConfiguration) {
        configuration.connectionTimeout = connectionTimeout
        configuration.sessionTimeout = sessionTimeout
        configuration.reconnectDelay = reconnectDelay
        configuration.maximumReconnectDelay = max(60_000, reconnectDelay)
        configuration.maximumAttempts = maximumAttempts
        configuration.allowPlaintextPassword = allowPlaintextPassword
        configuration.allowDeprecatedPolicies = allowDeprecatedPolicies
        configuration.applicationURI = applicationURI
    }
}

extension RowProblem: Error {}

extension StringProtocol {
    fileprivate func trimmingWhitespace() -> String {
        var part = self[...]
        while let first = part.first, first.isWhitespace { part.removeFirst() }
        while let last = part.last, last.isWhitespace { part.removeLast() }
        return String(part)
    }
}
