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
    let pace: LoopPace?
    /// The last PublishResponse.
    var lastMessageAt = NIODeadline.now()

    let session: ClientSession
    var pipeline: PublishPipeline
    var batcher: MonitoredItemBatcher
    var ladder: RecoveryLadder
    var backoff: ReconnectBackoff

    package internal(set) var status = ConnectionStatus()

    /// Which of the URLs to use.
    var servers: RedundantServers
    /// Why the present connection is broken; nil while it is well.
    var failure: OPCUAClientError?
    /// A subscription the server ended by itself.
    var lostSubscriptions: [(id: UInt32, reason: String)] = []
    /// Subscriptions in our session that are not ours: to be deleted, as they take our PublishRequests.
    var straySubscriptions: Set<UInt32> = []
    /// New subscriptions are about to be made: what was received under the old ones has to be processed before.
    var isDraining = false
    /// When the connection that worked last broke.
    private var lostAt: NIODeadline?
    private var loggedAt: NIODeadline?
    private var loggedCode: OPCUAClientError.Code?
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
    /// Of the present session.
    var structures = StructureTypes()
    /// Items with a deadband in percent that the server refuses: their ranges are to be read.
    var rangesWanted: [MonitoredItemSpecification] = []
    /// That a server tells no range is said once.
    var saidNoRange = false
    /// Reading types broke the connection once: not again (WinCC).
    var mayReadTypes = true

    /// - Parameters:
    ///   - security: own certificate and trust store; needed for Sign and SignAndEncrypt, and to encrypt passwords.
    ///   - limits: learnt in an earlier run.
    ///   - reverse: where servers dial in; `eventLoop` must be its event loop where a URL is one of those.
    ///   - pace: the event loop's, where messages of many connections may gather.
    package init(
        configuration: ConnectionConfiguration,
        eventLoop: any EventLoop,
        consumer: any NotificationConsumer,
        logger: Logger,
        security: ClientSecurity? = nil,
        limits: ServerLimits = ServerLimits(),
        reverse: ReverseListener? = nil,
        pace: LoopPace? = nil,
        jitterSeed: UInt64? = nil
    ) {
        // The batcher holds the items; everything else does without.
        var common = configuration
        common.items = []
        self.configuration = common
        self.eventLoop = eventLoop
        self.consumer = consumer
        self.logger = logger
        self.pace = pace
        session = ClientSession(
            configuration: common,
            security: security,
            eventLoop: eventLoop,
            limits: limits,
            reverse: reverse
        )
        session.reversePatience = .seconds(60)
        pipeline = PublishPipeline(
            maximumUnacknowledged: configuration.maximumUnacknowledged,
            learntLimit: limits.learntPublishRequests
        )
        batcher = MonitoredItemBatcher(
            items: configuration.items,
            itemsPerCall: limits.itemsPerCall,
            itemsPerSubscription: limits.itemsPerSubscription(configured: configuration.maximumItemsPerSubscription)
        )
        servers = RedundantServers(count: configuration.endpointURLs.count)
        ladder = RecoveryLadder(restoredSubscriptions: !configuration.restored.isEmpty)
        backoff = ReconnectBackoff(
            initial: .milliseconds(configuration.reconnectDelay),
            maximum: .milliseconds(configuration.maximumReconnectDelay),
            seed: jitterSeed ?? UInt64.random(in: .min ... .max)
        )
    }

    // MARK: Life

    /// Keeps the connection until `shutdown` or cancellation; never returns because of the peer. Call once.
    package func run() async {
        guard !isRunning, !isStopping else { return }
        isRunning = true
        restore()
        let reverse = await expectServers()
        await withTaskCancellationHandler {
            await withDiscardingTaskGroup { group in
                group.addTask { await self.pump() }
                await self.control()
                self.stopPump()
            }
        } onCancel: {
            eventLoop.execute { self.assumeIsolated { $0.stop(keepSubscriptions: true) } }
        }
        for endpoint in reverse { await session.reverse?.unexpect(endpoint) }
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
        if !isConnected {
            // A call in flight may be making a session that has to be closed: a moment for its answer.
            session.abandonDial()
            session.deadline = .now() + .seconds(1)
            eventLoop.scheduleTask(in: .seconds(1)) { [weak self] in
                self?.assumeIsolated { if !$0.isConnected { $0.session.channel?.close(.stopped) } }
            }
        }
        wakeController()
    }

    /// Replaces the list of items: new ones are created, gone ones deleted, changed ones modified, without a reconnect.
    package func update(items: [MonitoredItemSpecification]) {
        pendingUpdate = items
        wakeController()
    }

    /// Servers that dial in while this connection is busy or waits are kept for it.
    private func expectServers() async -> [ReverseEndpoint] {
        guard let reverse = session.reverse else { return [] }
        let urls = configuration.endpointURLs.compactMap { try? EndpointURL($0) }
        let endpoints = urls.filter(\.isReverse).map { ReverseEndpoint($0) }
        for endpoint in endpoints { await reverse.expect(endpoint) }
        return endpoints
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
                session.deadline = .now() + .milliseconds(configuration.connectionTimeout)
                try await establish()
                session.deadline = nil
            } catch {
                session.deadline = nil
                await abandonSession()
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
        case .serverDegraded:
            await session.close(deleteSubscriptions: true, timeout: .seconds(1))
            changeServer()
        default: break
        }
        let wasProven = isProven || error.code == .serverDegraded
        closeChannel(error)
        if isStopping { return }
        note(error)
        lostAt = lostAt ?? .now()
        logger.warning("connection lost", metadata: ["error": "\(error)"])
        if wasProven {
            // Reconnect at once.
            return setState(.connecting)
        }
        await backOff(after: error)
    }

    private func note(_ error: OPCUAClientError) {
        status.lastError = error
        status.latestError = error
        status.latestErrorUnixMicroseconds = WallClock.unixMicroseconds()
    }

    private func backOff(after error: OPCUAClientError) async {
        note(error)
        if error.code == .serverDegraded {
            changeServer()
            return setState(.connecting)
        }
        status.failedAttempts += 1
        let failing = servers.current
        let isFresh = servers.failed(now: .now())
        if servers.current != failing { changeServer() }
        if isFresh { return setState(.connecting) }
        let delay = backoff.delayAfterFailure(
            longest: error.isRetriedAtLongestDelayOnly || status.failedAttempts >= configuration.maximumAttempts
        )
        setState(status.failedAttempts >= configuration.maximumAttempts ? .down : .backingOff)
        // Nobody was called, so nobody is spared by a delay: wait on.
        if error.code == .noReverseHello { return logFailure(error, retryIn: .zero) }
        logFailure(error, retryIn: delay)
        let until = NIODeadline.now() + delay
        while !isStopping, NIODeadline.now() < until { await sleepController(until: until) }
    }

    /// What one server remembers the others do not know.
    private func changeServer() {
        ladder.sessionGone()
        ladder.subscriptionsGone()
        session.machine.gone()
    }

    /// A server that is away is said once, then once a minute; what only a person can mend, such as a wrong password, once.
    /// `proven` says when it is back.
    private func logFailure(_ error: OPCUAClientError, retryIn delay: TimeAmount) {
        let now = NIODeadline.now()
        if let loggedAt, error.isRetriedAtLongestDelayOnly || now - loggedAt < .minutes(1), loggedCode == error.code,
            status.failedAttempts > 1
        {
            return
        }
        loggedAt = now
        loggedCode = error.code
        logger.warning(
            "connection attempt failed",
            metadata: [
                "error": "\(error)", "error_type": "\(error.code)", "attempt": "\(status.failedAttempts)",
                "retry_in_ms": "\(delay.nanoseconds / 1_000_000)",
            ]
        )
    }

    private func closeChannel(_ error: OPCUAClientError) {
        watchdog?.cancel()
        watchdog = nil
        straySubscriptions = []
        session.channel?.close(error)
        session.detach()
        batcher.connectionLost()
    }

    /// While connected: items, subscriptions, keep-alive reads.
    private func serve() async throws(OPCUAClientError) {
        var keepAliveAt = NIODeadline.now() + session.machine.keepAliveInterval
        var touchedAt = NIODeadline.now()
        while true {
            if let failure { throw failure }
            if isStopping { return }
            try await deleteStraySubscriptions()
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
    func keepSessionAlive() async throws(OPCUAClientError) {
        let values = try await session.read(
            servers.isSingle
                ? [WellKnownNodeId.serverServerStatusState]
                : [WellKnownNodeId.serverServerStatusState, WellKnownNodeId.serverServiceLevel]
        )
        if values.count == 2 { try judge(serviceLevel: values[1]) }
        // Without tags there is no notification to prove that the connection works.
        if pipeline.subscriptions.isEmpty { proven() }
    }

    /// Part 4, 6.6.2.4.2; a server that does not tell is taken for healthy.
    func judge(serviceLevel: DataValue) throws(OPCUAClientError) {
        guard case .byte(let level) = serviceLevel.value else { return }
        guard servers.told(level, now: .now()) else { return }
        throw OPCUAClientError(
            .serverDegraded,
            "the server tells service level \(level), below \(RedundantServers.healthy): trying another one of the set"
        )
    }

    /// Publishing is paused: any service that names the subscription resets its lifetime counter (Part 4, 5.14.1.1).
    private func touchSubscriptions() async throws(OPCUAClientError) {
        _ = try await session.call(
            SetPublishingModeRequest(publishingEnabled: true, subscriptionIds: pipeline.subscriptions.map(\.id))
        )
    }

    // MARK: Waiting

    func sleepController(until deadline: NIODeadline) async {
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
        servers.succeeded()
        var metadata: Logger.Metadata = [
            "endpoint": "\(status.endpointURL ?? "")", "failed_attempts": "\(status.failedAttempts)",
        ]
        if let lostAt {
            metadata["outage_ms"] = "\((NIODeadline.now() - lostAt).nanoseconds / 1_000_000)"
            self.lostAt = nil
        }
        logger.info("connected", metadata: metadata)
        status.failedAttempts = 0
        status.lastError = nil
        setState(.connected)
    }
}
