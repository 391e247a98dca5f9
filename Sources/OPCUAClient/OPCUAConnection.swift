package import Logging
package import NIOCore
import OPCUACodec

/// One configured server: connects, subscribes, hands every notification to the consumer in order, recovers, for ever.
///
/// Runs on its event loop: no hop between socket, actor and consumer. Owns its channel and session; the state machines
/// decide, this performs.
package actor OPCUAConnection {
    package nonisolated var unownedExecutor: UnownedSerialExecutor { eventLoop.executor.asUnownedSerialExecutor() }

    package nonisolated let eventLoop: any EventLoop
    let consumer: any NotificationConsumer
    let logger: Logger
    var configuration: ConnectionConfiguration

    let session: ClientSession
    var pipeline: PublishPipeline
    var batcher: MonitoredItemBatcher
    var ladder: RecoveryLadder
    var backoff: ReconnectBackoff

    package internal(set) var status = ConnectionStatus()

    /// Index of the URL tried next.
    private var urlIndex = 0
    /// Why the present connection is broken; nil while it is well.
    var failure: OPCUAClientError?
    /// A subscription the server ended by itself.
    var lostSubscriptions: [(id: UInt32, reason: String)] = []
    private var pendingUpdate: [MonitoredItemSpecification]?
    var isConnected = false
    /// A PublishResponse came for every subscription since the connection was made.
    var isProven = false

    // Stopping
    private(set) var isStopping = false
    private var keepSubscriptions = true
    private var isRunning = false
    private var stopWaiters: [CheckedContinuation<Void, Never>] = []

    // The controller's sleep
    private var controllerWaiter: CheckedContinuation<Void, Never>?
    private var controllerTimer: Scheduled<Void>?
    private var isWakePending = false

    // Received and not processed yet; bounded by the requests in flight.
    var received = CircularBuffer<PumpWork>(initialCapacity: 2)
    var pumpWaiter: CheckedContinuation<Void, Never>?
    var isPumpBusy = false
    var isPumpStopped = false
    /// A message that could not be decoded: given up when it comes a second time.
    var poison: (subscriptionID: UInt32, sequenceNumber: UInt32)?
    var watchdog: Scheduled<Void>?

    package init(
        configuration: ConnectionConfiguration,
        eventLoop: any EventLoop,
        consumer: any NotificationConsumer,
        logger: Logger,
        limits: ServerLimits = ServerLimits(),
        jitterSeed: UInt64? = nil
    ) {
        self.configuration = configuration
        self.eventLoop = eventLoop
        self.consumer = consumer
        self.logger = logger
        session = ClientSession(configuration: configuration, eventLoop: eventLoop, limits: limits)
        pipeline = PublishPipeline(
            maximumUnacknowledged: configuration.maximumUnacknowledged,
            learntLimit: limits.learntPublishRequests
        )
        batcher = MonitoredItemBatcher(
            items: configuration.items,
            itemsPerCall: limits.itemsPerCall,
            itemsPerSubscription: limits.itemsPerSubscription(configured: configuration.maximumItemsPerSubscription)
        )
        ladder = RecoveryLadder(restoredSubscriptions: !configuration.restored.isEmpty)
        backoff = ReconnectBackoff(
            initial: .milliseconds(configuration.reconnectDelay),
            maximum: .milliseconds(configuration.maximumReconnectDelay),
            seed: jitterSeed ?? UInt64.random(in: .min ... .max)
        )
        // The batcher holds them from here on.
        self.configuration.items = []
    }

    // MARK: Life

    /// Keeps the connection until `shutdown` or cancellation; never returns because of the peer. Call once.
    package func run() async {
        guard !isRunning, !isStopping else { return }
        isRunning = true
        restore()
        await withTaskCancellationHandler {
            await withDiscardingTaskGroup { group in
                group.addTask { await self.pump() }
                await self.control()
                self.stopPump()
            }
        } onCancel: {
            eventLoop.execute { self.assumeIsolated { $0.stop(keepSubscriptions: true) } }
        }
        isRunning = false
        setState(.idle)
        let waiters = stopWaiters
        stopWaiters = []
        for waiter in waiters { waiter.resume() }
    }

    /// Closes session and channel in order, waits until `run` has returned. At most about 2 s where the server does not
    /// answer.
    /// - Parameter keepSubscriptions: leave the subscriptions at the server for the next run of the process.
    package func shutdown(keepSubscriptions: Bool) async {
        stop(keepSubscriptions: keepSubscriptions)
        guard isRunning else { return }
        await withCheckedContinuation { stopWaiters.append($0) }
    }

    private func stop(keepSubscriptions: Bool) {
        guard !isStopping else { return }
        isStopping = true
        self.keepSubscriptions = keepSubscriptions
        // While connecting there is nothing to be closed in order.
        if !isConnected { session.channel?.close(.stopped) }
        wakeController()
    }

    /// Replaces the list of items: new ones are created, gone ones deleted, changed ones modified, without a reconnect.
    package func update(items: [MonitoredItemSpecification]) {
        pendingUpdate = items
        wakeController()
    }

    private func restore() {
        guard !configuration.restored.isEmpty else { return }
        for subscription in configuration.restored {
            pipeline.add(
                PublishPipeline.Subscription(
                    id: subscription.subscriptionID,
                    publishingInterval: subscription.publishingInterval,
                    keepAliveCount: subscription.maximumKeepAliveCount,
                    lifetimeCount: subscription.lifetimeCount,
                    expected: PublishPipeline.next(subscription.lastDurableSequenceNumber),
                    lastHeard: .now()
                )
            )
        }
        batcher.restore(configuration.restored)
    }

    // MARK: Controller

    private func control() async {
        while !isStopping {
            failure = nil
            setState(status.failedAttempts >= configuration.maximumAttempts ? .down : .connecting)
            do throws(OPCUAClientError) {
                try await establish()
            } catch {
                closeChannel(error)
                if isStopping { break }
                await backOff(after: error)
                continue
            }
            isConnected = true
            isProven = false
            status.connects += 1
            setState(.connected)
            var end: OPCUAClientError?
            do throws(OPCUAClientError) { try await serve() } catch { end = error }
            if end == nil {
                // Orderly: the subscriptions go or stay as asked.
                sendLastAcknowledgements()
                await session.close(deleteSubscriptions: !keepSubscriptions, timeout: .seconds(2))
                session.channel?.closeOrderly()
                isConnected = false
                closeChannel(.stopped)
                break
            }
            isConnected = false
            await dropped(failure ?? end ?? .stopped)
        }
    }

    /// The connection broke: give up what cannot be taken up again, and wait if that is wise.
    private func dropped(_ error: OPCUAClientError) async {
        ladder.broke(silent: error.code == .watchdog)
        switch error.code {
        case .sessionLost: ladder.sessionGone()
        case .subscriptionLost: ladder.subscriptionsGone()
        default: break
        }
        let wasProven = isProven
        closeChannel(error)
        if isStopping { return }
        status.lastError = error
        logger.warning("connection lost", metadata: ["error": "\(error)"])
        if wasProven {
            // Reconnect at once.
            return setState(.connecting)
        }
        await backOff(after: error)
    }

    private func backOff(after error: OPCUAClientError) async {
        status.failedAttempts += 1
        status.lastError = error
        urlIndex += 1
        let delay = backoff.delayAfterFailure(
            longest: error.isRetriedAtLongestDelayOnly || status.failedAttempts >= configuration.maximumAttempts
        )
        setState(status.failedAttempts >= configuration.maximumAttempts ? .down : .backingOff)
        logger.warning(
            "connection attempt failed",
            metadata: [
                "error": "\(error)", "attempt": "\(status.failedAttempts)",
                "retry_in_ms": "\(delay.nanoseconds / 1_000_000)",
            ]
        )
        let until = NIODeadline.now() + delay
        while !isStopping, NIODeadline.now() < until { await sleepController(until: until) }
    }

    private func closeChannel(_ error: OPCUAClientError) {
        watchdog?.cancel()
        watchdog = nil
        session.channel?.close(error)
        session.detach()
        batcher.connectionLost()
    }

    /// Makes the channel and goes down the ladder until a session stands.
    private func establish() async throws(OPCUAClientError) {
        let urls = configuration.endpointURLs
        guard !urls.isEmpty else {
            throw OPCUAClientError(.invalidConfiguration, "the connection has no endpoint URL", isRetryable: false)
        }
        let url = try EndpointURL(urls[urlIndex % urls.count])
        status.endpointURL = url.description
        try await session.openChannel(to: url)
        guard let channel = session.channel else { throw .stopped }
        channel.onClosed = { [weak self] error in self?.assumeIsolated { $0.connectionFailed(error) } }
        if isStopping { throw .stopped }

        var step = ladder.first
        if step == .reactivate, session.machine.resume(now: .now()) == .create { step = ladder.refused(.reactivate) }
        while true {
            do throws(OPCUAClientError) {
                try await attempt(step, url: url)
                break
            } catch {
                // A refusal of the step, not the end of the channel or a matter of identity.
                guard channel.failure == nil, !isStopping, step != .recreate, Self.isRefusal(error) else { throw error }
                logger.info("recovery step refused", metadata: ["step": "\(step)", "error": "\(error)"])
                let next = ladder.refused(step)
                step = next > step ? next : .recreate
            }
        }
        ladder.accepted(step)
        startPublishing()
        switch step {
        case .reactivate:
            for subscription in pipeline.subscriptions { enqueue(.catchUp(subscription.id, nil)) }
            if !pipeline.subscriptions.isEmpty { enqueue(.event(.reactivated)) }
        case .transfer: break
        case .recreate: break
        }
    }

    private static func isRefusal(_ error: OPCUAClientError) -> Bool {
        switch error.code {
        case .serviceFault, .sessionLost, .subscriptionLost, .security, .identityRejected: true
        default: false
        }
    }

    private func attempt(_ step: RecoveryLadder.Step, url: EndpointURL) async throws(OPCUAClientError) {
        switch step {
        case .reactivate:
            try await session.activate()
        case .transfer:
            try await ensureSession(url)
            try await transferSubscriptions()
        case .recreate:
            try await ensureSession(url)
            let had = !pipeline.subscriptions.isEmpty || status.connects > 0 || !configuration.restored.isEmpty
            pipeline.removeAllSubscriptions()
            batcher.reset()
            if had {
                let reason =
                    status.lastError.map(\.description) ?? "the server does not know the subscriptions any more"
                enqueue(.event(.recreated(reason: reason, handles: nil)))
            }
        }
    }

    /// A session for the steps that need a new one; the transfer step may have made it already.
    private func ensureSession(_ url: EndpointURL) async throws(OPCUAClientError) {
        if session.machine.isActive { return }
        try await session.create(url: url, name: "\(configuration.applicationName) \(configuration.id)")
        try await session.learn()
        batcher.setLimits(
            itemsPerCall: session.limits.itemsPerCall,
            itemsPerSubscription: session.limits.itemsPerSubscription(
                configured: configuration.maximumItemsPerSubscription
            )
        )
        status.limits = session.limits
    }

    private func startPublishing() {
        pipeline.reconnected(now: .now())
        armWatchdog()
        fillPipeline()
    }

    /// While connected: items, subscriptions, keep-alive reads.
    private func serve() async throws(OPCUAClientError) {
        var keepAliveAt = NIODeadline.now() + session.machine.keepAliveInterval
        var touchedAt = NIODeadline.now()
        while true {
            if let failure { throw failure }
            if isStopping { return }
            try await replaceLostSubscriptions()
            if let items = pendingUpdate {
                pendingUpdate = nil
                try await apply(items)
            }
            try await createItems()
            fillPipeline()
            let now = NIODeadline.now()
            if now >= keepAliveAt {
                try await keepSessionAlive()
                keepAliveAt = .now() + session.machine.keepAliveInterval
            }
            if pipeline.inFlight == 0, let interval = pipeline.keepInterval, now - touchedAt >= interval {
                try await touchSubscriptions()
                touchedAt = .now()
            } else if pipeline.inFlight > 0 {
                touchedAt = now
            }
            if let failure { throw failure }
            if isStopping { return }
            var until = keepAliveAt
            if let retry = batcher.nextRetry { until = min(until, retry) }
            await sleepController(until: until)
        }
    }

    /// Part 4, 5.7.1: a session nobody uses times out. Also shows a server that only pretends.
    private func keepSessionAlive() async throws(OPCUAClientError) {
        _ = try await session.read([WellKnownNodeId.serverServerStatusState])
    }

    /// Publishing is paused: any service that names the subscription resets its lifetime counter (Part 4, 5.14.1.1).
    private func touchSubscriptions() async throws(OPCUAClientError) {
        _ = try await session.call(
            SetPublishingModeRequest(publishingEnabled: true, subscriptionIds: pipeline.subscriptions.map(\.id))
        )
    }

    // MARK: Waiting

    private func sleepController(until deadline: NIODeadline) async {
        if isWakePending {
            isWakePending = false
            return
        }
        controllerTimer = eventLoop.scheduleTask(deadline: deadline) { [weak self] in
            self?.assumeIsolated { $0.wakeController() }
        }
        await withCheckedContinuation { controllerWaiter = $0 }
        controllerTimer?.cancel()
        controllerTimer = nil
        isWakePending = false
    }

    func wakeController() {
        isWakePending = true
        controllerWaiter?.resume()
        controllerWaiter = nil
    }

    /// The channel is closed or has to be: everything in flight fails, the controller starts over.
    func connectionFailed(_ error: OPCUAClientError) {
        if failure == nil { failure = error }
        session.channel?.close(error)
        wakeController()
    }

    // MARK: Status

    func setState(_ state: ConnectionStatus.State) {
        if status.state != state {
            status.state = state
            status.sinceUnixMicroseconds = WallClock.unixMicroseconds()
        }
        status.itemsTotal = batcher.items.count
        status.itemsActive = batcher.activeCount
        status.itemsBad = batcher.badCount
        status.subscriptions = pipeline.subscriptions.count
        session.limits.learntItemsPerCall = batcher.learntItemsPerCall ?? session.limits.learntItemsPerCall
        session.limits.learntItemsPerSubscription =
            batcher.learntItemsPerSubscription ?? session.limits.learntItemsPerSubscription
        session.limits.learntPublishRequests = pipeline.learntLimit ?? session.limits.learntPublishRequests
        status.limits = session.limits
        consumer.statusChanged(status)
    }

    /// A PublishResponse came for every subscription: the connection works.
    func proven() {
        guard !isProven else { return }
        isProven = true
        ladder.proven()
        backoff.succeeded()
        status.failedAttempts = 0
        status.lastError = nil
        setState(.connected)
    }
}
