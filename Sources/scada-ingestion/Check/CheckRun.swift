import ControlAPI
import TimescaleStore

/// One run of `check`: looks at everything the daemon will need, changes nothing.
struct CheckRun {
    let configuration: DaemonConfiguration
    /// Told each finding as it is made.
    let report: (Finding) -> Void
    private(set) var result = CheckReport()
    /// The journal is in use: whatever else is taken is taken by a running daemon.
    var isDaemonRunning = false
    /// The active tenants; nil when the master database could not tell.
    var tenants: [TenantRecord]?
    var connectionCount = 0
    var tagCount = 0

    init(_ configuration: DaemonConfiguration, report: @escaping (Finding) -> Void) {
        self.configuration = configuration
        self.report = report
    }

    mutating func add(_ finding: Finding) {
        result.findings.append(finding)
        report(finding)
    }

    /// - Parameter pool: for the databases; the caller's to close.
    mutating func perform(pool: ConnectionPool) async {
        checkSettings()
        await checkDatabases(pool)
        await checkJournal()
        checkPKI()
        checkAPIFiles()
        checkPorts()
        addOutlook()
    }

    private mutating func checkSettings() {
        let subject = "configuration"
        add(.ok(subject, "every variable can be used"))
        for warning in configuration.warnings { add(.warn(subject, warning)) }
        let grpc = configuration.grpc
        guard !grpc.listenAddress.isLoopback else { return }
        if grpc.tls == nil {
            add(
                .warn(
                    "gRPC API",
                    "GRPC_ALLOW_INSECURE is set and there is no TLS: whoever reaches \(grpc.listenAddress) reads what is sent",
                    cure: "set GRPC_TLS_CERT and GRPC_TLS_KEY unless the network is trusted"
                )
            )
        }
        if grpc.tokensFile == nil, grpc.clientCAFile == nil {
            add(
                .warn(
                    "gRPC API",
                    "whoever reaches \(grpc.listenAddress) may add and remove connections of every tenant",
                    cure: "set GRPC_TOKENS_FILE, or GRPC_TLS_CLIENT_CA for client certificates"
                )
            )
        }
    }

    /// What the daemon would do.
    private mutating func addOutlook() {
        guard let tenants else { return }
        let grpc = configuration.grpc
        let metrics = configuration.http
        add(
            .ok(
                "outlook",
                "serve would run \(tenants.count.counted("tenant")) with \(connectionCount.counted("connection")) and "
                    + "\(tagCount.counted("tag")); "
                    + "gRPC on \(grpc.listenAddress) \(grpc.tls == nil ? "without" : "with") TLS, "
                    + "metrics on \(metrics.host):\(metrics.port)"
            )
        )
    }
}
