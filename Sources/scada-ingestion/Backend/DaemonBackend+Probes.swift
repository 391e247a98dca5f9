import ControlAPI
import FoundationEssentials
import Ingestion
import NIOCore
import OPCUAClient
import OPCUACodec
import Synchronization
import TimescaleStore

// Visits to OPC UA servers that have nothing to do with the connections that run.

extension DaemonBackend {
    func testConnection(_ probe: ConnectionProbe, context: CallContext) async throws -> ConnectionTestReport {
        let tenant = try tenant(probe.tenantID)
        let configuration: ConnectionConfiguration
        do {
            configuration = try await self.configuration(for: probe.target, of: tenant, context)
        } catch let problem as RowProblem {
            var report = ConnectionTestReport(success: false)
            report.error = problem.problem
            return report
        }
        let timeout = Self.timeout(context, atMost: probe.timeout)
        do throws(ProbeError) {
            let report = try await visit(configuration, timeout) { (probe) throws(ProbeError) in
                try await probe.connect()
            }
            let trusted = await trust.trusted(report.endpoints.compactMap(\.serverCertificate))
            return ConnectionTestReport(report, trusted: trusted)
        } catch {
            try Task.checkCancellation()
            var report = ConnectionTestReport(success: false)
            report.error = "\(error.error)"
            report.failedStep = error.stepName
            if error.step != .connect {
                // What the server offers is half of the cure. It answers to clients it would not let in.
                let endpoints = try? await visit(configuration, timeout) { (probe) throws(ProbeError) in
                    try await probe.endpoints()
                }
                let trusted = await trust.trusted((endpoints ?? []).compactMap(\.serverCertificate))
                report.endpoints = (endpoints ?? []).map { EndpointDetails($0, trusted: trusted) }
            }
            return report
        }
    }

    func browseNodes(_ query: BrowseQuery, context: CallContext) async throws -> BrowsePage {
        let tenant = try tenant(query.tenantID)
        var options = BrowseOptions()
        do throws(NodeIdTextError) {
            options.start = try NodeIdText(parsing: query.nodeID)
        } catch {
            throw ControlError.invalid("node_id", "\(error)")
        }
        if let token = query.pageToken {
            guard let offset = Int(token), offset >= 0 else {
                throw ControlError.invalid("page_token", "is not a token of this question: begin without one")
            }
            options.offset = offset
        }
        options.maximumDepth = query.maxDepth
        options.limit = query.limit
        options.variablesOnly = query.variablesOnly
        options.filter = query.filter
        options.readsValues = query.readValues
        let configuration: ConnectionConfiguration
        do {
            configuration = try await self.configuration(for: query.target, of: tenant, context)
        } catch let problem as RowProblem {
            throw ControlError(.failedPrecondition, "the connection cannot be used: \(problem.problem)")
        }
        do throws(ProbeError) {
            let timeout = Self.timeout(context, atMost: query.timeout)
            let page = try await visit(configuration, timeout) { [options] (probe) throws(ProbeError) in
                _ = try await probe.connect()
                return try await probe.browse(options)
            }
            return BrowsePage(page, offset: options.offset, maxBytes: Bounds.pageBytes)
        } catch {
            try Task.checkCancellation()
            throw error.answer
        }
    }

    // MARK: Whom to visit

    /// How to connect. Throws `ControlError`, or a `RowProblem` when the connection cannot be used as it is configured.
    private func configuration(
        for target: ConnectionTarget,
        of tenant: TenantShared,
        _ context: CallContext
    ) async throws -> ConnectionConfiguration {
        switch target {
        case .endpoint(let settings):
            let record = ConnectionRecord(
                id: UUID(),
                endpointURL: settings.endpointURL,
                securityMode: settings.securityMode.rawValue,
                securityPolicy: settings.securityPolicy.rawValue,
                username: settings.username,
                password: settings.password.value
            )
            return try ConnectionPlan(record, defaults: defaults, openPassword: { $0 }).configuration
        case .stored(let id):
            var record = tenant.connectionRecord(id)
            if record == nil {
                do throws(StoreError) {
                    record = try await registry.storedConnections(
                        of: tenant.url,
                        connectionID: id,
                        limit: 1,
                        timeout: Self.timeout(context)
                    ).first?.record
                } catch {
                    throw Self.answer(error, tenant, context)
                }
            }
            guard let record else {
                throw ControlError.notFound("there is no connection \(id.uuidString.lowercased())")
            }
            let passwords = passwords
            let plan = try ConnectionPlan(record, defaults: defaults) { try passwords.open($0) }
            return plan.configuration
        }
    }

    // MARK: The visit

    /// Runs `body` with a probe and closes it, whatever happened. Cancellation and `timeout` close it at once.
    private func visit<Result: Sendable>(
        _ configuration: ConnectionConfiguration,
        _ timeout: Duration,
        _ body: @Sendable (OPCUAProbe) async throws(ProbeError) -> Result
    ) async throws(ProbeError) -> Result {
        var configuration = configuration
        configuration.connectionTimeout = max(1, timeout.wholeMilliseconds)
        let dialsIn = configuration.endpointURLs.first.map { EndpointURL.isReverse($0) } ?? false
        let probe = OPCUAProbe(
            configuration: configuration,
            security: security,
            eventLoop: dialsIn ? reverse?.eventLoop ?? eventLoops.next() : eventLoops.next(),
            reverse: reverse
        )
        let isLate = Flag()
        let alarm = Task {
            try await Task.sleep(for: timeout)
            isLate.value.store(true, ordering: .relaxed)
            await probe.close()
        }
        defer { alarm.cancel() }
        let outcome: Swift.Result<Result, ProbeError> = await withTaskCancellationHandler {
            do throws(ProbeError) {
                return .success(try await body(probe))
            } catch {
                return .failure(error)
            }
        } onCancel: {
            Task { await probe.close() }
        }
        await probe.close()
        switch outcome {
        case .success(let result): return result
        case .failure(var error):
            if isLate.value.load(ordering: .relaxed), error.error.code != .timeout {
                error.error = OPCUAClientError(
                    .timeout,
                    "the server was not done within \(timeout.wholeMilliseconds) ms",
                    advice: "Give it more with timeout_ms"
                )
            }
            throw error
        }
    }
}

private final class Flag: Sendable {
    let value = Atomic(false)
}
