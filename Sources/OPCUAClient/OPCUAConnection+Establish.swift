import Logging
import NIOCore
import OPCUACodec

/// From nothing to a session with subscriptions, the shortest way the server allows.
extension OPCUAConnection {
    /// Makes the channel and goes down the ladder until a session stands.
    func establish() async throws(OPCUAClientError) {
        pace?.beganEstablishing()
        defer { pace?.endedEstablishing() }
        let urls = configuration.endpointURLs
        guard !urls.isEmpty else {
            throw OPCUAClientError(.invalidConfiguration, "the connection has no endpoint URL", isRetryable: false)
        }
        let url = try EndpointURL(urls[servers.current])
        status.endpointURL = url.description
        if !ladder.mayReuseSession { session.machine.gone() }
        try await session.openChannel(to: url)
        guard let channel = session.channel else { throw .stopped }
        channel.onClosed = { [weak self] error in self?.assumeIsolated { $0.connectionFailed(error) } }

        var step = ladder.first
        while true {
            if isStopping { throw .stopped }
            if step != .reactivate { try await ensureSession(url) }
            do throws(OPCUAClientError) {
                try await attempt(step, url)
                break
            } catch {
                // A refusal of the step, not the end of the channel or of this client.
                guard channel.failure == nil, !isStopping, step != .recreate, Self.isRefusal(error) else { throw error }
                logger.info("recovery step refused", metadata: ["step": "\(step)", "error": "\(error)"])
                if step == .reactivate { session.machine.gone() }
                let next = ladder.refused(step)
                step = next > step ? next : .recreate
            }
        }
        if let failure { throw failure }
        ladder.accepted(step)
        startPublishing()
        if step == .transfer { announceSubscriptions() }
        if step == .reactivate {
            for subscription in pipeline.subscriptions { enqueue(.catchUp(subscription.id, nil)) }
            enqueue(.event(.reactivated))
        }
    }

    private static func isRefusal(_ error: OPCUAClientError) -> Bool {
        switch error.code {
        case .serviceFault, .sessionLost, .subscriptionLost, .security, .identityRejected: true
        default: error.code.isCertificate
        }
    }

    private func attempt(_ step: RecoveryLadder.Step, _ url: EndpointURL) async throws(OPCUAClientError) {
        switch step {
        case .reactivate:
            guard session.machine.resume(now: .now()) != .create else {
                throw OPCUAClientError(.sessionLost, "the session has timed out", status: .badSessionClosed)
            }
            try await session.activate(url: url)
        case .transfer: try await transferSubscriptions()
        case .recreate:
            let had = !pipeline.subscriptions.isEmpty || status.connects > 0
            // The consumer may be slow on purpose: that is not the server's delay.
            session.deadline = nil
            try await drain()
            pipeline.removeAllSubscriptions()
            lostSubscriptions = []
            batcher.reset()
            if had {
                let reason =
                    status.lastError.map(\.description) ?? "the server does not know the subscriptions any more"
                enqueue(.event(.recreated(reason: reason, handles: nil)))
            }
        }
    }

    /// A session for the steps that need one; an earlier step, or an earlier connection, may have made it already.
    private func ensureSession(_ url: EndpointURL) async throws(OPCUAClientError) {
        if session.machine.isActive { return }
        if ladder.mayReuseSession, session.machine.resume(now: .now()) != .create {
            do throws(OPCUAClientError) { return try await session.activate(url: url) } catch {
                guard session.channel?.failure == nil, Self.isRefusal(error), error.code != .identityRejected else {
                    throw error
                }
            }
        }
        if isStopping { throw .stopped }
        try await session.create(url: url, name: "\(configuration.applicationName) \(configuration.id)")
        try await session.learn()
        // The server may be another one by now, or have been given new types.
        structures = StructureTypes()
        consumer.structuresDescribed(structures)
        if !servers.isSingle {
            let values = try await session.read([WellKnownNodeId.serverServiceLevel])
            try judge(serviceLevel: values[0])
        }
        batcher.setLimits(
            itemsPerCall: session.limits.itemsPerCall,
            itemsPerSubscription: session.limits.itemsPerSubscription(
                configured: configuration.maximumItemsPerSubscription
            ),
            stated: session.limits.statedItemsPerSubscription
        )
        status.limits = session.limits
    }

    /// An attempt failed with a session in hand that no later attempt will use: close it, servers have few.
    func abandonSession() async {
        guard let channel = session.channel, channel.failure == nil, session.machine.session != nil else { return }
        ladder.sessionGone()
        // What was transferred into it stays for the next attempt.
        await session.close(deleteSubscriptions: false, timeout: .seconds(1))
        channel.closeOrderly()
    }

    /// Waits until everything received is processed, while the session is kept alive.
    private func drain() async throws(OPCUAClientError) {
        isDraining = true
        defer { isDraining = false }
        var keepAliveAt = NIODeadline.now() + session.machine.keepAliveInterval
        while isPumpBusy || !received.isEmpty {
            if let failure { throw failure }
            if isStopping { throw .stopped }
            if NIODeadline.now() >= keepAliveAt {
                try await keepSessionAlive()
                keepAliveAt = .now() + session.machine.keepAliveInterval
                continue
            }
            await sleepController(until: keepAliveAt)
        }
    }

    private func startPublishing() {
        pipeline.reconnected(now: .now())
        armWatchdog()
        fillPipeline()
    }
}
