import OPCUACodec

/// Publish and Republish (Part 4, 5.13.5 and 5.13.6).
extension FieldServer {
    /// The publishing timer of a subscription fired.
    func publishCycle(_ subscription: Subscription) {
        subscription.nextPublish += subscription.publishingInterval
        // After a pause of the process the rhythm starts anew instead of catching up.
        if subscription.nextPublish <= now { subscription.nextPublish = now + subscription.publishingInterval }
        poll(subscription)
        let action = subscription.publishing.timerFired(
            hasNotifications: subscription.isEnabled && subscription.hasNotifications,
            hasRequest: subscription.session?.publishCalls.isEmpty == false
        )
        perform(action, subscription)
    }

    private func perform(_ action: PublishingStateMachine.Action, _ subscription: Subscription) {
        switch action {
        case .none: break
        case .sendKeepAlive: sendKeepAlive(subscription)
        case .sendNotifications: sendNotifications(subscription)
        case .expire:
            let session = subscription.session
            session?.addFarewell(
                Session.Farewell(
                    subscription: subscription.id,
                    sequenceNumber: subscription.takeSequenceNumber(),
                    status: .badTimeout
                )
            )
            delete(subscription)
        }
    }

    /// Sends message after message as long as there are notifications and requests.
    private func sendNotifications(_ subscription: Subscription) {
        guard let session = subscription.session else { return }
        let asked = subscription.maximumNotifications
        let limit = asked > 0 ? min(asked, limits.notificationsPerMessage) : limits.notificationsPerMessage
        while subscription.hasNotifications, let call = takeCall(session) {
            let message = subscription.takeMessage(limit: limit, time: time)
            accounting.published += UInt64(message.values)
            accounting.notifications += 1
            tagAccounting.publish(message.marks)
            for forgotten in subscription.retransmission.append(message) {
                accounting.forgotten += UInt64(forgotten.values)
            }
            let more = subscription.hasNotifications
            subscription.publishing.sent(more: more)
            respond(call, subscription, message.bytes, more: more)
        }
    }

    private func sendKeepAlive(_ subscription: Subscription) {
        guard let session = subscription.session, let call = takeCall(session) else { return }
        subscription.publishing.sent(more: false)
        accounting.keepAlives += 1
        let message = NotificationMessage(
            sequenceNumber: subscription.keepAliveSequenceNumber,
            publishTime: DateTime(ticks: time)
        )
        respond(call, subscription, message.encoded, more: false)
    }

    /// Tells a session what became of subscriptions it no longer has (Part 4, 7.25.4).
    func sayFarewell(_ session: Session) {
        while !session.farewells.isEmpty, let call = takeCall(session) {
            let farewell = session.farewells.removeFirst()
            let message = NotificationMessage(
                sequenceNumber: farewell.sequenceNumber,
                publishTime: DateTime(ticks: time),
                notificationData: [ExtensionObject(StatusChangeNotification(status: farewell.status))]
            )
            respond(call, id: farewell.subscription, available: [], message.encoded, more: false)
        }
    }

    private func takeCall(_ session: Session) -> Session.PublishCall? {
        session.publishCalls.isEmpty ? nil : session.publishCalls.removeFirst()
    }

    private func respond(_ call: Session.PublishCall, _ subscription: Subscription, _ message: [UInt8], more: Bool) {
        respond(
            call,
            id: subscription.id,
            available: subscription.retransmission.sequenceNumbers,
            message,
            more: more
        )
    }

    /// Writes the PublishResponse around an encoded NotificationMessage: the message is copied, never encoded again.
    private func respond(
        _ call: Session.PublishCall,
        id: UInt32,
        available: [UInt32],
        _ message: [UInt8],
        more: Bool
    ) {
        var encoder = BinaryEncoder(reservingCapacity: 128 + 4 * (available.count + call.results.count) + message.count)
        PublishResponse.binaryEncodingId.encode(to: &encoder)
        ResponseHeader(timestamp: DateTime(ticks: time), requestHandle: call.requestHandle).encode(to: &encoder)
        encoder.integer(id)
        encoder.array(available) { $1.integer($0) }
        encoder.boolean(more)
        encoder.bytes.append(contentsOf: message)
        encoder.array(call.results) { $0.encode(to: &$1) }
        encoder.integer(Int32(-1))
        call.peer.respond(call.requestID, encoder.bytes)
    }

    func refuse(_ call: Session.PublishCall, _ status: StatusCode) {
        call.peer.respond(call.requestID, Self.fault(status, handle: call.requestHandle, time: time))
    }

    func publish(_ request: PublishRequest, _ call: Call) throws(ServiceFailure) {
        let session = try activeSession(call)
        // Acknowledgements count even when the request itself is refused: the client will not send them again.
        let results = request.subscriptionAcknowledgements.map { acknowledge($0, session) }
        guard !session.subscriptions.isEmpty || !session.farewells.isEmpty else {
            throw ServiceFailure(.badNoSubscription)
        }
        let hint = call.header.timeoutHint
        session.publishCalls.append(
            Session.PublishCall(
                peer: call.peer,
                requestID: call.requestID,
                requestHandle: call.header.requestHandle,
                deadline: hint == 0 ? .max : now + Int64(hint) * 1_000_000,
                results: results
            )
        )
        if session.publishCalls.count > limits.publishRequests, let oldest = takeCall(session) {
            refuse(oldest, .badTooManyPublishRequests)
        }
        sayFarewell(session)
        for subscription in session.subscriptions where !session.publishCalls.isEmpty {
            let action = subscription.publishing.requestArrived(
                hasNotifications: subscription.isEnabled && subscription.hasNotifications
            )
            guard action != .none else { continue }
            perform(action, subscription)
            // The next one that is late comes first next time.
            session.rotate(subscription)
            break
        }
    }

    private func acknowledge(_ acknowledgement: SubscriptionAcknowledgement, _ session: Session) -> StatusCode {
        guard let subscription = subscriptions[acknowledgement.subscriptionId], subscription.session === session else {
            return .badSubscriptionIdInvalid
        }
        guard let message = subscription.retransmission.acknowledge(acknowledgement.sequenceNumber) else {
            return .badSequenceNumberUnknown
        }
        accounting.acknowledged += UInt64(message.values)
        tagAccounting.acknowledge(message.marks)
        return .good
    }

    func republish(_ request: RepublishRequest, _ call: Call) throws(ServiceFailure) {
        let session = try activeSession(call)
        let subscription = try subscription(request.subscriptionId, session)
        guard let message = subscription.retransmission.message(request.retransmitSequenceNumber) else {
            throw ServiceFailure(.badMessageNotAvailable)
        }
        accounting.republished += UInt64(message.values)
        var encoder = BinaryEncoder(reservingCapacity: 64 + message.bytes.count)
        RepublishResponse.binaryEncodingId.encode(to: &encoder)
        ResponseHeader(timestamp: DateTime(ticks: time), requestHandle: call.header.requestHandle).encode(to: &encoder)
        encoder.bytes.append(contentsOf: message.bytes)
        call.peer.respond(call.requestID, encoder.bytes)
    }

    /// Publish requests whose client gave up waiting (Part 4, 7.32, timeoutHint).
    func expireCalls() {
        for session in sessions.values where session.publishCalls.contains(where: { $0.deadline <= now }) {
            for call in session.publishCalls where call.deadline <= now { refuse(call, .badTimeout) }
            session.publishCalls.removeAll { $0.deadline <= now }
        }
    }
}

extension Session {
    /// Moves a subscription behind those of the same priority.
    func rotate(_ subscription: Subscription) {
        guard subscriptions.count > 1, let index = subscriptions.firstIndex(where: { $0 === subscription }) else {
            return
        }
        subscriptions.remove(at: index)
        let place = subscriptions.firstIndex { $0.priority < subscription.priority }
        subscriptions.insert(subscription, at: place ?? subscriptions.count)
    }
}
