import OPCUACodec

/// Things that go wrong on command.
extension FieldServer {
    /// Forgets all subscriptions without a word but to those who ask: the sessions stay.
    func loseSubscriptions() {
        for subscription in publishOrder { delete(subscription) }
        for session in sessions.values {
            for call in session.publishCalls { refuse(call, .badNoSubscription) }
            session.publishCalls = []
        }
    }

    /// What a restart of the server program does: the field and its history are elsewhere and go on.
    func forgetEverything() {
        for subscription in publishOrder { delete(subscription) }
        sessions = [:]
        startTime = time
        // Not the same ids again: a client that mixes them up is found out.
        nextSubscriptionID = UInt32.random(in: 1...1_000_000)
    }

    /// Cuts the connection of a request that asks for types, if that was asked for.
    func cutIfTypes(_ asksForTypes: Bool, _ session: Session) throws(ServiceFailure) {
        guard typeRequestsToCut > 0, asksForTypes else { return }
        typeRequestsToCut -= 1
        session.peer?.cut()
        throw ServiceFailure(.badConnectionClosed)
    }

    /// Takes a tag away: its items report BadNodeIdUnknown once and nothing more.
    func remove(_ tag: Int) {
        guard space.removedTags.insert(tag).inserted else { return }
        var last = field.newest[tag]
        last.status = StatusCode.badNodeIdUnknown.rawValue
        last.source = time
        watchers[tag].forEach { subscription, slot in count(subscription.offer(last, slot: slot), tag: tag) }
    }
}
