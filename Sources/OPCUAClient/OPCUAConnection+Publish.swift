import Logging
import NIOCore
import OPCUACodec

/// What the pump does, in order.
enum PumpWork {
    case notification(ByteBuffer, PublishResponseView, receivedAt: Int64)
    /// Fetch what came to be while the connection was broken. The numbers are those the server says it holds.
    case catchUp(UInt32, [UInt32]?)
    case event(ContinuityEvent)
}

extension OPCUAConnection {
    // MARK: Requests

    /// Sends as many PublishRequests as there should be in flight.
    func fillPipeline() {
        guard failure == nil, session.machine.isActive, let channel = session.channel else { return }
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
                authenticationToken: session.machine.authenticationToken,
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
        if !isProven, pipeline.allProven { proven() }
        enqueue(.notification(body, view, receivedAt: WallClock.unixMicroseconds()))
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
        guard failure == nil, let channel = session.channel, !pipeline.pendingAcknowledgements.isEmpty else { return }
        let acknowledgements = pipeline.pendingAcknowledgements
        let id = channel.nextRequestID()
        let request = PublishRequest(
            requestHeader: RequestHeader(
                authenticationToken: session.machine.authenticationToken,
                timestamp: WallClock.dateTime(),
                requestHandle: id
            ),
            subscriptionAcknowledgements: acknowledgements
        )
        channel.send(request.messageBody, requestID: id, timeout: nil) { _ in }
    }

    // MARK: Pump

    func enqueue(_ work: PumpWork) {
        received.append(work)
        pumpWaiter?.resume()
        pumpWaiter = nil
    }

    func stopPump() {
        isPumpStopped = true
        pumpWaiter?.resume()
        pumpWaiter = nil
    }

    /// Processes what is received strictly in order, over reconnects too: what came before a break is still valid.
    func pump() async {
        while true {
            while received.isEmpty {
                if isPumpStopped { return }
                await withCheckedContinuation { pumpWaiter = $0 }
            }
            if isPumpStopped { return }
            var work: PumpWork? = received.removeFirst()
            isPumpBusy = true
            switch work {
            case .notification(let body, let view, let receivedAt):
                await process(body, view, subscriptionID: view.subscriptionID, receivedAt: receivedAt)
            case .catchUp(let subscriptionID, let available):
                await catchUp(subscriptionID, available: available)
            case .event(let event): await consumer.continuity(event)
            case nil: break
            }
            recycle(&work)
            isPumpBusy = false
            if isDraining && received.isEmpty { wakeController() }
            fillPipeline()
        }
    }

    /// Memory that anybody else refers to is not taken back: the work must be gone before.
    private func recycle(_ work: inout PumpWork?) {
        guard case .notification(var body, _, _) = work else { return }
        work = nil
        MessagePool.shared.put(&body)
    }

    private func process(
        _ body: ByteBuffer,
        _ view: PublishResponseView,
        subscriptionID: UInt32,
        receivedAt: Int64
    ) async {
        while true {
            switch pipeline.judge(
                subscriptionID: subscriptionID,
                sequenceNumber: view.sequenceNumber,
                isKeepAlive: view.isKeepAlive
            ) {
            case .keepAlive, .duplicate: return
            case .unknownSubscription:
                straySubscriptions.insert(subscriptionID)
                return wakeController()
            case .missing(let first, let count):
                guard await republish(subscriptionID, from: first, count: count, to: view.sequenceNumber) else {
                    return
                }
            case .process:
                await deliver(body, view, subscriptionID: subscriptionID, receivedAt: receivedAt, isRepublished: false)
                return
            }
        }
    }

    /// - Returns: whether the consumer has the message.
    @discardableResult
    func deliver(
        _ body: ByteBuffer,
        _ view: PublishResponseView,
        subscriptionID: UInt32,
        receivedAt: Int64,
        isRepublished: Bool,
        lookingUp rounds: Int = 3
    ) async -> Bool {
        let context = NotificationContext(
            subscriptionID: subscriptionID,
            sequenceNumber: view.sequenceNumber,
            publishTime: view.publishTime,
            receivedAtUnixMicroseconds: receivedAt,
            isRepublished: isRepublished,
            incarnation: pipeline.subscription(subscriptionID)?.incarnation ?? 0
        )
        var ended: StatusCode?
        let consumer = self.consumer
        let error: DecodingError? = body.withUnsafeReadableBytes { bytes in
            do throws(DecodingError) {
                try view.forEachPart(in: bytes) { (part) throws(DecodingError) in
                    switch part {
                    case .dataChange(let content): try consumer.dataChange(content, context)
                    case .statusChange(let status): ended = status
                    case .other: break
                    }
                }
                return nil
            } catch {
                return error
            }
        }
        if let error {
            consumer.notificationAborted(context)
            giveUpOrRetry(context, error)
            return false
        }
        let unknown = consumer.takeUnknownStructures()
        if !unknown.isEmpty, rounds > 0 {
            // This message waits, and those behind it: nothing is lost or reordered, and no value is stored in two forms.
            consumer.notificationAborted(context)
            await describeStructures(unknown)
            return await deliver(
                body,
                view,
                subscriptionID: subscriptionID,
                receivedAt: receivedAt,
                isRepublished: isRepublished,
                lookingUp: rounds - 1
            )
        }
        do {
            try await consumer.notificationComplete(context)
        } catch {
            connectionFailed(
                OPCUAClientError(.consumerRefused, "a notification could not be stored: \(error)")
            )
            return false
        }
        pipeline.processed(subscriptionID: subscriptionID, sequenceNumber: view.sequenceNumber)
        if let ended {
            // Part 4, 7.25.4: with a bad status the subscription is closed; with GoodSubscriptionTransferred it is
            // another session's.
            lost(subscriptionID, "the server ended the subscription: \(ended)")
        }
        return true
    }

    /// Bytes that do not decode: once may be the line, twice is the message.
    private func giveUpOrRetry(_ context: NotificationContext, _ error: DecodingError) {
        if let poison, poison == (context.subscriptionID, context.sequenceNumber) {
            self.poison = nil
            lose(context.subscriptionID, context.sequenceNumber...context.sequenceNumber)
            pipeline.skip(
                subscriptionID: context.subscriptionID,
                to: PublishPipeline.next(context.sequenceNumber)
            )
            pipeline.acknowledgeAgain(
                subscriptionID: context.subscriptionID,
                sequenceNumber: context.sequenceNumber
            )
        } else {
            poison = (context.subscriptionID, context.sequenceNumber)
        }
        connectionFailed(.decoding(error, in: "notification"))
    }

    /// Reports numbers that cannot be had any more.
    func lose(_ subscriptionID: UInt32, _ numbers: ClosedRange<UInt32>) {
        let slot = pipeline.subscriptions.firstIndex { $0.id == subscriptionID }
        let bySlot = batcher.handlesBySlot()
        let handles = slot.flatMap { bySlot.indices.contains($0) ? bySlot[$0] : nil } ?? []
        logger.warning(
            "notifications lost",
            metadata: [
                "subscription": "\(subscriptionID)", "first": "\(numbers.lowerBound)", "last": "\(numbers.upperBound)",
            ]
        )
        let event = ContinuityEvent.notificationsLost(
            subscriptionID: subscriptionID,
            sequenceNumbers: numbers,
            handles: handles
        )
        received.prepend(.event(event))
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
