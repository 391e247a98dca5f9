import Logging
import NIOCore
import OPCUACodec

/// PublishRequests and their answers.
extension OPCUAConnection {
    // MARK: Requests

    /// Sends as many PublishRequests as there should be in flight.
    func fillPipeline() {
        guard failure == nil, session.isActive, let channel = session.channel else { return }
        // Not while every subscription is known to be gone: the server would refuse each request.
        guard lostSubscriptions.isEmpty || lostSubscriptions.count < pipeline.subscriptions.count else { return }
        while let acknowledgements = pipeline.takeRequest(
            queued: received.count + (isPumpBusy ? 1 : 0),
            now: .now()
        ) {
            sendPublish(acknowledgements, on: channel)
            if failure != nil { return }
        }
    }

    private func sendPublish(_ acknowledgements: [SubscriptionAcknowledgement], on channel: ClientChannel) {
        let id = channel.nextRequestID()
        let incarnation = pipeline.lastIncarnation
        let request = PublishRequest(
            requestHeader: RequestHeader(
                authenticationToken: session.authenticationToken,
                timestamp: WallClock.dateTime(),
                requestHandle: id
            ),
            subscriptionAcknowledgements: acknowledgements
        )
        channel.send(request.messageBody, requestID: id, timeout: nil) { [weak self] result in
            self?.assumeIsolated { $0.publishAnswered(result, acknowledgements, sentBy: incarnation) }
        }
    }

    /// - Parameter sentBy: the newest subscription when the request was sent.
    private func publishAnswered(
        _ result: Result<ByteBuffer, OPCUAClientError>,
        _ acknowledgements: [SubscriptionAcknowledgement],
        sentBy incarnation: UInt32
    ) {
        let body: ByteBuffer
        switch result {
        case .success(let bytes): body = bytes
        case .failure(let error):
            pipeline.requestLost(acknowledgements)
            if failure == nil, session.channel?.failure == nil { connectionFailed(error) }
            return
        }
        let view: PublishResponseView
        do throws(DecodingError) { view = try PublishResponseView(body) } catch {
            pipeline.requestLost(acknowledgements)
            return connectionFailed(.decoding(error, in: "Publish response"))
        }
        if view.isFault || view.serviceResult.isBad {
            return publishRefused(view.serviceResult, acknowledgements, sentBy: incarnation)
        }
        let now = NIODeadline.now()
        pipeline.responded(subscriptionID: view.subscriptionID, now: now)
        pace?.received(now: now, previous: lastMessageAt, more: view.moreNotifications)
        lastMessageAt = now
        if !isProven, pipeline.allProven { proven() }
        take(body, view, receivedAt: WallClock.unixMicroseconds())
    }

    private func publishRefused(
        _ status: StatusCode,
        _ acknowledgements: [SubscriptionAcknowledgement],
        sentBy incarnation: UInt32
    ) {
        let limit = pipeline.learntLimit
        switch pipeline.failed(status, acknowledgements) {
        case .goOn:
            if pipeline.learntLimit != limit {
                logger.info(
                    "server takes fewer publish requests",
                    metadata: ["in_flight": "\(pipeline.learntLimit ?? 0)"]
                )
            }
            fillPipeline()
        case .pause:
            eventLoop.scheduleTask(in: .seconds(1)) { [weak self] in self?.assumeIsolated { $0.fillPipeline() } }
        case .subscriptionsGone:
            // The session is well: new subscriptions in it. What was made after this request was sent is not meant.
            for subscription in pipeline.subscriptions where subscription.incarnation <= incarnation {
                lost(subscription.id, "Publish: \(status)")
            }
        case .fail(let error): connectionFailed(error)
        }
    }

    /// Notes that the server does not have a subscription any more; the controller makes a new one.
    func lost(_ subscriptionID: UInt32, _ reason: String) {
        guard !lostSubscriptions.contains(where: { $0.id == subscriptionID }) else { return }
        lostSubscriptions.append((subscriptionID, reason))
        wakeController()
    }

    /// This notification and all before it of the same subscription are durable: the server may forget them. The
    /// acknowledgement rides on the next PublishRequest.
    package func acknowledge(_ context: NotificationContext) {
        pipeline.acknowledge(
            subscriptionID: context.subscriptionID,
            incarnation: context.incarnation,
            upTo: context.sequenceNumber
        )
        fillPipeline()
    }

    /// At the end of an orderly run: acknowledgements that found no request to ride on.
    func sendLastAcknowledgements() {
        consumer.acknowledgeDurable()
        guard failure == nil, let channel = session.channel, !pipeline.pendingAcknowledgements.isEmpty else { return }
        let acknowledgements = pipeline.pendingAcknowledgements
        let id = channel.nextRequestID()
        let request = PublishRequest(
            requestHeader: RequestHeader(
                authenticationToken: session.authenticationToken,
                timestamp: WallClock.dateTime(),
                requestHandle: id
            ),
            subscriptionAcknowledgements: acknowledgements
        )
        channel.send(request.messageBody, requestID: id, timeout: nil) { _ in }
    }

    // MARK: Watchdog

    func armWatchdog() {
        guard watchdog == nil, failure == nil, let deadline = pipeline.watchdogDeadline else { return }
        watchdog = eventLoop.scheduleTask(deadline: deadline) { [weak self] in
            self?.assumeIsolated { $0.watchdogFired() }
        }
    }

    private func watchdogFired() {
        watchdog = nil
        guard failure == nil, isConnected || session.machine.isActive else { return }
        let now = NIODeadline.now()
        if let silent = pipeline.silentSubscription(now: now) {
            // Silence without a request in flight is ours, not the server's.
            if pipeline.inFlight == 0 || isPumpBusy {
                pipeline.forgiveSilence(now: now)
            } else {
                return connectionFailed(
                    OPCUAClientError(
                        .watchdog,
                        "no PublishResponse for subscription \(silent.id) within two keep-alive periods of "
                            + "\(silent.keepAlivePeriod.nanoseconds / 1_000_000) ms",
                        status: .badTimeout,
                        advice: "The server or the network is frozen; connecting anew"
                    )
                )
            }
        }
        armWatchdog()
    }
}
