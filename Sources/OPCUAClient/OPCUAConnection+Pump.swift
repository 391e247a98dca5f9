import Logging
import NIOCore
import OPCUACodec

/// What the pump does, in order.
enum PumpWork {
    case notification(ByteBuffer, PublishResponseView, receivedAt: Int64)
    /// The consumer has all parts of a notification and could not complete it without waiting.
    case completion(NotificationContext, ended: StatusCode?)
    /// Fetch what came to be while the connection was broken. The numbers are those the server says it holds.
    case catchUp(UInt32, [UInt32]?)
    case event(ContinuityEvent)
}

/// What becomes of NotificationMessages: at once where nothing has to be waited for, in the pump, a task, where something has.
extension OPCUAConnection {
    // MARK: At once

    /// Takes a message that has come: nearly always on the spot, so that it costs neither a switch of tasks nor a wake-up of
    /// another thread, which is most of what a small message would cost. Behind what the pump has to do it queues.
    func take(_ body: ByteBuffer, _ view: PublishResponseView, receivedAt: Int64) {
        let work = PumpWork.notification(body, view, receivedAt: receivedAt)
        // A large message's memory goes back to its pool, which it can only when those who handed it up have let go of it.
        guard received.isEmpty, !isPumpBusy, !isPumpStopped, !isDraining, !MessagePool.shared.keeps(body) else {
            return enqueue(work)
        }
        switch pipeline.judge(
            subscriptionID: view.subscriptionID,
            sequenceNumber: view.sequenceNumber,
            isKeepAlive: view.isKeepAlive
        ) {
        case .keepAlive: consumer.acknowledgeDurable()
        case .duplicate: break
        case .missing, .unknownSubscription: return enqueue(work)
        case .process:
            let context = context(of: view, view.subscriptionID, receivedAt: receivedAt, isRepublished: false)
            switch handOver(body, view, context) {
            case .refused: break
            // The pump asks the server, and gives the message again.
            case .unknownStructures: return enqueue(work)
            case .taken(let ended):
                do {
                    guard try consumer.completeAtOnce(context) else {
                        return enqueue(.completion(context, ended: ended))
                    }
                    completed(context, ended: ended)
                } catch {
                    refused(error)
                }
            }
        }
        if !received.isEmpty { wakePump() }
        fillPipeline()
    }

    // MARK: In the pump

    func enqueue(_ work: PumpWork) {
        received.append(work)
        wakePump()
    }

    private func wakePump() {
        pumpWaiter?.resume()
        pumpWaiter = nil
    }

    func stopPump() {
        isPumpStopped = true
        wakePump()
    }

    /// Processes what is received strictly in order, over reconnects too: what came before a break is still valid.
    func pump() async {
        while true {
            while received.isEmpty {
                if isPumpStopped { return }
                await withCheckedContinuation { pumpWaiter = $0 }
            }
            if isPumpStopped { return giveUpCompletion() }
            var work: PumpWork? = received.removeFirst()
            isPumpBusy = true
            switch work {
            case .notification(let body, let view, let receivedAt):
                await process(body, view, subscriptionID: view.subscriptionID, receivedAt: receivedAt)
            case .completion(let context, let ended): await complete(context, ended: ended)
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

    /// The run ends: what the consumer has of a message it never completed is void.
    private func giveUpCompletion() {
        guard case .completion(let context, _)? = received.first else { return }
        consumer.notificationAborted(context)
        received.removeFirst()
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
            case .keepAlive: return consumer.acknowledgeDurable()
            case .duplicate: return
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
        isRepublished: Bool
    ) async -> Bool {
        let context = context(of: view, subscriptionID, receivedAt: receivedAt, isRepublished: isRepublished)
        var rounds = 3
        while true {
            switch handOver(body, view, context, isLast: rounds == 0) {
            case .refused: return false
            case .unknownStructures(let unknown):
                // This message waits, and those behind it: nothing is lost or reordered, and no value is stored in two forms.
                rounds -= 1
                await describeStructures(unknown)
            case .taken(let ended): return await complete(context, ended: ended)
            }
        }
    }

    /// - Returns: whether the consumer has the message.
    @discardableResult
    private func complete(_ context: NotificationContext, ended: StatusCode?) async -> Bool {
        do {
            try await consumer.notificationComplete(context)
        } catch {
            refused(error)
            return false
        }
        completed(context, ended: ended)
        return true
    }

    // MARK: Either way

    private func context(
        of view: PublishResponseView,
        _ subscriptionID: UInt32,
        receivedAt: Int64,
        isRepublished: Bool
    ) -> NotificationContext {
        NotificationContext(
            subscriptionID: subscriptionID,
            sequenceNumber: view.sequenceNumber,
            publishTime: view.publishTime,
            receivedAtUnixMicroseconds: receivedAt,
            isRepublished: isRepublished,
            incarnation: pipeline.incarnation(of: subscriptionID) ?? 0
        )
    }

    private enum HandOver {
        /// The consumer has every part. The status is the one with which the server ends the subscription.
        case taken(ended: StatusCode?)
        /// Bytes that do not decode: the connection is given up.
        case refused
        /// The consumer has nothing: the server is to be asked about these, and the message to be handed over again.
        case unknownStructures([NodeId])
    }

    /// Gives the consumer the parts of a message.
    /// - Parameter isLast: unknown structures are taken as they are.
    private func handOver(
        _ body: ByteBuffer,
        _ view: PublishResponseView,
        _ context: NotificationContext,
        isLast: Bool = false
    ) -> HandOver {
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
            return .refused
        }
        let unknown = consumer.takeUnknownStructures()
        if !unknown.isEmpty, !isLast {
            consumer.notificationAborted(context)
            return .unknownStructures(unknown)
        }
        return .taken(ended: ended)
    }

    private func completed(_ context: NotificationContext, ended: StatusCode?) {
        pipeline.processed(subscriptionID: context.subscriptionID, sequenceNumber: context.sequenceNumber)
        if let ended {
            // Part 4, 7.25.4: with a bad status the subscription is closed; with GoodSubscriptionTransferred it is
            // another session's.
            lost(context.subscriptionID, "the server ended the subscription: \(ended)")
        }
        if pipeline.isPaused { consumer.acknowledgeDurable() }
    }

    private func refused(_ error: any Error) {
        connectionFailed(OPCUAClientError(.consumerRefused, "a notification could not be stored: \(error)"))
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
}
