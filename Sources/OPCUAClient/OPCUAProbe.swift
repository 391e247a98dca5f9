package import NIOCore
package import OPCUACodec

/// A short visit to a server, for the tools: connects once, reports, browses, closes. No subscription, no recovery.
///
/// Runs on its event loop. Every call throws `ProbeError`, which names the step. `close` must be called at the end,
/// whatever happened: the server's sessions are few.
package actor OPCUAProbe {
    package nonisolated var unownedExecutor: UnownedSerialExecutor { eventLoop.executor.asUnownedSerialExecutor() }

    package nonisolated let eventLoop: any EventLoop
    let configuration: ConnectionConfiguration
    let session: ClientSession
    /// Every step so far in order, the present one without its duration.
    private var begun: [(step: ConnectStep, at: NIODeadline)] = []
    private var ended: NIODeadline?

    /// - Parameters:
    ///   - configuration: its first endpoint URL is visited; `connectionTimeout` is the patience for connecting and for
    ///     each later call. Items are ignored.
    ///   - security: own certificate and trust store; needed for Sign and SignAndEncrypt, and to encrypt passwords.
    ///   - reverse: where servers dial in; `eventLoop` must be its event loop where the URL is one of those.
    package init(
        configuration: ConnectionConfiguration,
        security: ClientSecurity? = nil,
        eventLoop: any EventLoop,
        reverse: ReverseListener? = nil
    ) {
        self.configuration = configuration
        self.eventLoop = eventLoop
        session = ClientSession(
            configuration: configuration,
            security: security,
            eventLoop: eventLoop,
            limits: ServerLimits(),
            reverse: reverse
        )
    }

    /// How long each step took, in order; the last one is the one that goes on, failed, or was the last to be done.
    package var steps: [StepDuration] {
        let ends = begun.dropFirst().map(\.at) + [ended ?? .now()]
        return zip(begun, ends).map { StepDuration(step: $0.step, microseconds: ($1 - $0.at).nanoseconds / 1000) }
    }

    private func note(_ step: ConnectStep) {
        guard begun.last?.step != step else { return }
        begun.append((step, .now()))
    }

    /// The endpoints a server offers, without a session, over a channel without security, whatever is configured
    /// (Part 4, 5.5.4). May be called before `connect`.
    package func endpoints() async throws(ProbeError) -> [EndpointDescription] {
        try await named { () async throws(OPCUAClientError) in
            let url = try self.url()
            session.deadline = .now() + .milliseconds(configuration.connectionTimeout)
            defer { session.deadline = nil }
            return try await session.discover(url)
        }
    }

    /// Makes a session and reads what the server tells about itself.
    package func connect() async throws(ProbeError) -> ServerReport {
        try await named { () async throws(OPCUAClientError) in
            let url = try self.url()
            let began = NIODeadline.now()
            session.deadline = began + .milliseconds(configuration.connectionTimeout)
            defer { session.deadline = nil }
            try await session.openChannel(to: url)
            try await session.create(url: url, name: "\(configuration.applicationName) probe")
            var report = ServerReport()
            report.connectMicroseconds = (NIODeadline.now() - began).nanoseconds / 1000
            try await session.learn()
            try await describe(&report)
            return report
        }
    }

    /// Closes session and channel; waits at most a second for a server that does not answer.
    package func close() async {
        session.abandonDial()
        guard let channel = session.channel else { return }
        if channel.failure == nil { await session.close(deleteSubscriptions: true, timeout: .seconds(1)) }
        channel.closeOrderly()
        session.detach()
    }

    private func url() throws(OPCUAClientError) -> EndpointURL {
        session.step = .connect
        guard let text = configuration.endpointURLs.first else {
            throw OPCUAClientError(.invalidConfiguration, "there is no endpoint URL", isRetryable: false)
        }
        return try EndpointURL(text)
    }

    /// Names the step in which `body` failed.
    func named<R>(_ body: () async throws(OPCUAClientError) -> R) async throws(ProbeError) -> R {
        ended = nil
        session.onStep = { [weak self] step in self?.assumeIsolated { $0.note(step) } }
        defer {
            session.onStep = nil
            ended = .now()
        }
        do throws(OPCUAClientError) { return try await body() } catch {
            throw ProbeError(step: session.step, error: error)
        }
    }

    /// Part 5, 6.3 and 12.9, 12.10. Every one of these nodes is optional for us.
    private func describe(_ report: inout ServerReport) async throws(OPCUAClientError) {
        session.step = .read
        report.endpoints = session.endpoints
        report.endpoint = session.endpoint
        report.namespaces = session.namespaces
        report.limits = session.limits
        report.sessionTimeout = session.machine.session?.timeout ?? 0
        report.maxMessageSize = session.channel?.limits?.maxSendMessageSize ?? 0
        report.maxChunkCount = session.channel?.limits?.maxSendChunkCount ?? 0
        if let server = session.endpoint?.server {
            report.applicationName = server.applicationName.text ?? ""
            report.applicationURI = server.applicationUri ?? ""
            report.productURI = server.productUri ?? ""
        }
        let sent = WallClock.unixMicroseconds()
        let began = NIODeadline.now()
        let values = try await session.read([WellKnownNodeId.serverServerStatus])
        report.roundTripMicroseconds = (NIODeadline.now() - began).nanoseconds / 1000
        if case .extensionObject(let object)? = values.first?.value,
            let status = try? object.decoded(as: ServerStatusDataType.self)
        {
            report.state = status.state
            report.startTime = status.startTime
            report.clockOffsetMicroseconds =
                status.currentTime.unixMicroseconds - (sent + report.roundTripMicroseconds / 2)
            report.productName = status.buildInfo.productName ?? ""
            report.manufacturer = status.buildInfo.manufacturerName ?? ""
            report.softwareVersion = status.buildInfo.softwareVersion ?? ""
            report.buildNumber = status.buildInfo.buildNumber ?? ""
        }
        let more = try await session.read([
            WellKnownNodeId.serverServiceLevel, WellKnownNodeId.serverServerCapabilitiesMaxSessions,
            WellKnownNodeId.serverServerCapabilitiesMaxSubscriptions,
            WellKnownNodeId.serverServerCapabilitiesMaxMonitoredItems, Self.accessHistoryDataCapability,
        ])
        if case .byte(let level) = more[0].value { report.serviceLevel = level }
        report.maxSessions = more[1].value.number
        report.maxSubscriptions = more[2].value.number
        report.maxMonitoredItems = more[3].value.number
        if case .boolean(let has) = more[4].value { report.hasHistory = has }
    }

    /// HistoryServerCapabilities.AccessHistoryDataCapability (Part 11, 5.2.3).
    private static let accessHistoryDataCapability = NodeId(11193)
}
