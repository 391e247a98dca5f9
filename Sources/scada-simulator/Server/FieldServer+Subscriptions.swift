import OPCUACodec

/// The subscription service set but for publishing (Part 4, 5.13).
extension FieldServer {
    private struct Revised {
        var interval: Double
        var lifetime: UInt32
        var keepAlive: UInt32
    }

    private func revise(interval: Double, lifetime: UInt32, keepAlive: UInt32) -> Revised {
        let interval = limits.publishingInterval.clamp(interval)
        // A keep-alive at least every day, a life time of three keep-alives (Part 4, 5.13.2.2).
        let keepAlive = min(max(keepAlive, 1), UInt32(min(max(86_400_000 / interval, 1), 1e6)))
        return Revised(
            interval: interval,
            lifetime: min(max(lifetime, 3 * keepAlive), 10_000_000),
            keepAlive: keepAlive
        )
    }

    func createSubscription(
        _ request: CreateSubscriptionRequest,
        _ session: Session
    ) throws(ServiceFailure) -> CreateSubscriptionResponse {
        guard session.subscriptions.count < limits.subscriptionsPerSession else {
            throw ServiceFailure(.badTooManySubscriptions)
        }
        let revised = revise(
            interval: request.requestedPublishingInterval,
            lifetime: request.requestedLifetimeCount,
            keepAlive: request.requestedMaxKeepAliveCount
        )
        let subscription = Subscription(
            id: nextSubscriptionID,
            session: session,
            publishingInterval: Int64(revised.interval * 1e6),
            maximumNotifications: Int(request.maxNotificationsPerPublish),
            isEnabled: request.publishingEnabled,
            priority: request.priority,
            publishing: PublishingStateMachine(keepAliveCount: revised.keepAlive, lifetimeCount: revised.lifetime),
            now: now
        )
        nextSubscriptionID += 1
        if let phase = configuration.publishingPhase { subscription.keepPhase(phase, now: now) }
        subscriptions[subscription.id] = subscription
        publishOrder.append(subscription)
        attach(subscription, to: session)
        return CreateSubscriptionResponse(
            subscriptionId: subscription.id,
            revisedPublishingInterval: revised.interval,
            revisedLifetimeCount: revised.lifetime,
            revisedMaxKeepAliveCount: revised.keepAlive
        )
    }

    /// Higher priority first, then the older one (Part 4, 5.13.2.2).
    private func attach(_ subscription: Subscription, to session: Session) {
        subscription.session = session
        let index = session.subscriptions.firstIndex { $0.priority < subscription.priority }
        session.subscriptions.insert(subscription, at: index ?? session.subscriptions.count)
    }

    func modifySubscription(
        _ request: ModifySubscriptionRequest,
        _ session: Session
    ) throws(ServiceFailure) -> ModifySubscriptionResponse {
        let subscription = try subscription(request.subscriptionId, session)
        let revised = revise(
            interval: request.requestedPublishingInterval,
            lifetime: request.requestedLifetimeCount,
            keepAlive: request.requestedMaxKeepAliveCount
        )
        subscription.publishingInterval = Int64(revised.interval * 1e6)
        subscription.nextPublish = min(subscription.nextPublish, now + subscription.publishingInterval)
        if let phase = configuration.publishingPhase { subscription.keepPhase(phase, now: now) }
        subscription.publishing.keepAliveCount = revised.keepAlive
        subscription.publishing.lifetimeCount = revised.lifetime
        subscription.maximumNotifications = Int(request.maxNotificationsPerPublish)
        if subscription.priority != request.priority {
            subscription.priority = request.priority
            session.subscriptions.removeAll { $0 === subscription }
            attach(subscription, to: session)
        }
        return ModifySubscriptionResponse(
            revisedPublishingInterval: revised.interval,
            revisedLifetimeCount: revised.lifetime,
            revisedMaxKeepAliveCount: revised.keepAlive
        )
    }

    /// A subscription of this session; any call about it keeps it alive.
    func subscription(_ id: UInt32, _ session: Session) throws(ServiceFailure) -> Subscription {
        guard let subscription = subscriptions[id], subscription.session === session else {
            throw ServiceFailure(.badSubscriptionIdInvalid)
        }
        subscription.publishing.clientIsAlive()
        return subscription
    }

    func deleteSubscriptions(
        _ request: DeleteSubscriptionsRequest,
        _ session: Session
    ) throws(ServiceFailure) -> DeleteSubscriptionsResponse {
        let results = try each(request.subscriptionIds, limits.nodesPerCall) { id in
            guard let subscription = subscriptions[id], subscription.session === session else {
                return StatusCode.badSubscriptionIdInvalid
            }
            delete(subscription)
            return .good
        }
        // Requests that wait for a subscription wait in vain now (Part 4, 5.13.5.3).
        if session.subscriptions.isEmpty, session.farewells.isEmpty {
            for call in session.publishCalls { refuse(call, .badNoSubscription) }
            session.publishCalls = []
        }
        return DeleteSubscriptionsResponse(results: results)
    }

    func setPublishingMode(
        _ request: SetPublishingModeRequest,
        _ session: Session
    ) throws(ServiceFailure) -> SetPublishingModeResponse {
        let results = try each(request.subscriptionIds, limits.nodesPerCall) { id in
            guard let subscription = subscriptions[id], subscription.session === session else {
                return StatusCode.badSubscriptionIdInvalid
            }
            subscription.publishing.clientIsAlive()
            subscription.isEnabled = request.publishingEnabled
            return .good
        }
        return SetPublishingModeResponse(results: results)
    }

    func transferSubscriptions(
        _ request: TransferSubscriptionsRequest,
        _ session: Session
    ) throws(ServiceFailure) -> TransferSubscriptionsResponse {
        let results = try each(request.subscriptionIds, limits.nodesPerCall) { id in
            transfer(id, to: session, initialValues: request.sendInitialValues)
        }
        return TransferSubscriptionsResponse(results: results)
    }

    private func transfer(_ id: UInt32, to session: Session, initialValues: Bool) -> TransferResult {
        guard let subscription = subscriptions[id] else {
            return TransferResult(statusCode: .badSubscriptionIdInvalid)
        }
        guard subscription.user == session.user else { return TransferResult(statusCode: .badUserAccessDenied) }
        if let old = subscription.session {
            if old === session { return TransferResult(statusCode: .badNothingToDo) }
            old.subscriptions.removeAll { $0 === subscription }
            old.addFarewell(
                Session.Farewell(
                    subscription: id,
                    sequenceNumber: subscription.keepAliveSequenceNumber,
                    status: .goodSubscriptionTransferred
                )
            )
            sayFarewell(old)
        }
        attach(subscription, to: session)
        subscription.publishing.clientIsAlive()
        if initialValues { offerInitialValues(subscription) }
        return TransferResult(
            statusCode: .good,
            availableSequenceNumbers: subscription.retransmission.sequenceNumbers
        )
    }

    /// Queues the newest value of every item that has nothing queued (Part 4, 5.13.7.2).
    private func offerInitialValues(_ subscription: Subscription) {
        for slot in subscription.slots.values.sorted() {
            let item = subscription.items[slot]
            guard !item.hasNotifications else { continue }
            subscription.modify(slot: slot) { $0.reportAnyway() }
            if case .tag(let tag) = item.target {
                count(subscription.offer(field.newest[tag], slot: slot), tag: tag)
            }
        }
    }

    /// Forgets a subscription with all its items, and what it had queued and sent is counted as lost.
    func delete(_ subscription: Subscription) {
        for slot in subscription.slots.values { unwatch(subscription.items[slot], slot, subscription) }
        let lost = subscription.unacknowledgedValues
        accounting.abandoned += UInt64(lost.queued)
        accounting.forgotten += UInt64(lost.sent)
        subscriptions[subscription.id] = nil
        publishOrder.removeAll { $0 === subscription }
        subscription.session?.subscriptions.removeAll { $0 === subscription }
        subscription.session = nil
    }

    func unwatch(_ item: MonitoredItem, _ slot: Int, _ subscription: Subscription) {
        guard case .tag(let tag) = item.target else { return }
        watchers[tag].remove(subscription, slot: slot)
    }

    /// Runs an operation for each element of a call; none at all or more than `limit` is refused as a whole.
    func each<Element, Result>(
        _ elements: [Element],
        _ limit: Int,
        _ operation: (Element) -> Result
    ) throws(ServiceFailure) -> [Result] {
        guard !elements.isEmpty else { throw ServiceFailure(.badNothingToDo) }
        guard elements.count <= limit else { throw ServiceFailure(.badTooManyOperations) }
        return elements.map(operation)
    }
}
