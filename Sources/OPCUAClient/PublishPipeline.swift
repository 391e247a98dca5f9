package import NIOCore
package import OPCUACodec

/// The subscriptions of a session and its PublishRequests (Part 4, 5.14): how many are in flight, what to acknowledge,
/// which sequence numbers are missing, and until when silence is no sign of death.
package struct PublishPipeline: Sendable {
    package struct Subscription: Sendable, Equatable {
        package var id: UInt32
        /// Milliseconds.
        package var publishingInterval: Double
        package var keepAliveCount: UInt32
        package var lifetimeCount: UInt32
        /// The sequence number the next NotificationMessage must carry; 0 while unknown (taken over without memory).
        package var expected: UInt32 = 1
        package var lastHeard: NIODeadline
        /// A PublishResponse came since the last recovery.
        package var isProven = false
        /// Taken by the consumer, not durable yet; oldest first.
        package var unacknowledged: [UInt32] = []
        /// Given by the pipeline: unlike the id never used again.
        package internal(set) var incarnation: UInt32 = 0

        /// Part 4, 5.14.1.1: silence of `keepAliveCount` publishing intervals is ended by a keep-alive message.
        var keepAlivePeriod: TimeAmount {
            .milliseconds(Int64(min(publishingInterval, 86_400_000) * Double(min(keepAliveCount, 1_000_000))))
        }

        /// Two keep-alive periods; where they are short, one and a second for the way.
        var deadAt: NIODeadline { lastHeard + keepAlivePeriod + max(keepAlivePeriod, .seconds(1)) }

        /// When the server may forget the subscription, counted from the last sign of life of ours.
        var lifetime: TimeAmount {
            .milliseconds(Int64(min(publishingInterval, 86_400_000) * Double(min(lifetimeCount, 1_000_000))))
        }
    }

    /// What to do with a NotificationMessage.
    package enum Disposition: Sendable, Equatable {
        case process
        case keepAlive
        /// Seen before.
        case duplicate
        /// Republish these first, then ask again.
        case missing(first: UInt32, count: UInt32)
        case unknownSubscription
    }

    package enum FailureAction: Sendable, Equatable {
        /// Send another one, if there is room.
        case goOn
        /// Wait a little before the next request.
        case pause
        case subscriptionsGone
        case fail(OPCUAClientError)
    }

    package private(set) var subscriptions: [Subscription] = []
    package private(set) var inFlight = 0
    /// Requests in flight the server has shown to bear.
    package private(set) var learntLimit: Int?
    package private(set) var pendingAcknowledgements: [SubscriptionAcknowledgement] = []
    private let maximumUnacknowledged: Int
    /// The incarnation given last.
    package private(set) var lastIncarnation: UInt32 = 0

    /// Part of the specification of this client: 2 a subscription, at most 10.
    static let requestsPerSubscription = 2
    static let maximumRequests = 10

    package init(maximumUnacknowledged: Int, learntLimit: Int? = nil) {
        self.maximumUnacknowledged = max(1, maximumUnacknowledged)
        self.learntLimit = learntLimit
    }

    package var unacknowledgedCount: Int { subscriptions.reduce(0) { $0 + $1.unacknowledged.count } }

    /// Publishing waits until the consumer has made durable what it has.
    package var isPaused: Bool { unacknowledgedCount >= maximumUnacknowledged }

    /// PublishRequests there should be in flight.
    package var target: Int {
        if subscriptions.isEmpty { return 0 }
        return min(
            Self.maximumRequests,
            Self.requestsPerSubscription * subscriptions.count,
            learntLimit ?? Self.maximumRequests
        )
    }

    // MARK: Subscriptions

    package mutating func add(_ subscription: Subscription) { subscriptions.append(numbered(subscription)) }

    private mutating func numbered(_ subscription: Subscription) -> Subscription {
        var subscription = subscription
        lastIncarnation &+= 1
        subscription.incarnation = lastIncarnation
        return subscription
    }

    package mutating func remove(_ id: UInt32) {
        subscriptions.removeAll { $0.id == id }
        pendingAcknowledgements.removeAll { $0.subscriptionId == id }
    }

    /// The successor of a subscription the server ended takes its place.
    package mutating func replace(_ id: UInt32, with successor: Subscription) {
        guard let i = index(id) else { return }
        subscriptions[i] = numbered(successor)
        pendingAcknowledgements.removeAll { $0.subscriptionId == id }
    }

    package mutating func removeAllSubscriptions() {
        subscriptions = []
        pendingAcknowledgements = []
    }

    package func subscription(_ id: UInt32) -> Subscription? { subscriptions.first { $0.id == id } }

    /// Of a subscription that is known: see ``Subscription/incarnation``.
    func incarnation(of id: UInt32) -> UInt32? { index(id).map { subscriptions[$0].incarnation } }

    private func index(_ id: UInt32) -> Int? { subscriptions.firstIndex { $0.id == id } }

    /// A new connection: nothing is in flight, the silence before does not count.
    package mutating func reconnected(now: NIODeadline) {
        inFlight = 0
        for i in subscriptions.indices {
            subscriptions[i].lastHeard = now
            subscriptions[i].isProven = false
        }
    }

    /// The time in which publishing was paused or the consumer was busy is not the server's silence.
    package mutating func forgiveSilence(now: NIODeadline) {
        for i in subscriptions.indices { subscriptions[i].lastHeard = now }
    }

    // MARK: Requests

    /// Takes the right to send one PublishRequest, with the acknowledgements that ride on it; nil when none is to be sent.
    /// - Parameter queued: responses received and not processed yet; they count as in flight, which bounds them.
    package mutating func takeRequest(queued: Int, now: NIODeadline) -> [SubscriptionAcknowledgement]? {
        guard !isPaused, inFlight + queued < target else { return nil }
        // The server had nothing to answer: until now the silence was ours.
        if inFlight == 0 { forgiveSilence(now: now) }
        inFlight += 1
        let acknowledgements = pendingAcknowledgements
        pendingAcknowledgements = []
        return acknowledgements
    }

    /// A request ended without an answer: its acknowledgements have to be sent again.
    package mutating func requestLost(_ acknowledgements: [SubscriptionAcknowledgement]) {
        inFlight = max(0, inFlight - 1)
        let known = acknowledgements.filter { index($0.subscriptionId) != nil }
        pendingAcknowledgements.insert(contentsOf: known, at: 0)
    }

    /// A PublishResponse came.
    package mutating func responded(subscriptionID: UInt32, now: NIODeadline) {
        inFlight = max(0, inFlight - 1)
        guard let i = index(subscriptionID) else { return }
        subscriptions[i].lastHeard = now
        subscriptions[i].isProven = true
    }

    package var allProven: Bool { subscriptions.allSatisfy(\.isProven) }

    /// A ServiceFault came instead.
    package mutating func failed(_ status: StatusCode, _ acknowledgements: [SubscriptionAcknowledgement])
        -> FailureAction
    {
        requestLost(acknowledgements)
        switch status.withoutInfoBits {
        case .badTooManyPublishRequests:
            // What is still in flight is what the server bears.
            learntLimit = max(1, min(learntLimit ?? Self.maximumRequests, inFlight))
            return .goOn
        case .badNoSubscription, .badSubscriptionIdInvalid: return .subscriptionsGone
        // The server timed the request out (its timeout hint) or dropped it; the session is well.
        case .badTimeout, .badRequestTimeout, .badRequestCancelledByRequest, .badRequestInterrupted: return .goOn
        case .badTooManyOperations, .badResourceUnavailable, .badOutOfMemory, .badTcpNotEnoughResources,
            .badTcpServerTooBusy:
            return .pause
        default: return .fail(.service("Publish", status))
        }
    }

    // MARK: Sequence numbers (Part 4, 5.14.1.2 and 7.26)

    /// 0 is never used: after the largest comes 1.
    package static func next(_ number: UInt32) -> UInt32 { number == .max ? 1 : number + 1 }

    /// How far `number` is after `expected`: negative means before.
    static func distance(from expected: UInt32, to number: UInt32) -> Int64 {
        let plain = Int64(number) - Int64(expected)
        // Half of the range apart: wrapped around; 0 is left out.
        if plain < -0x8000_0000 { return plain + 0xFFFF_FFFF }
        if plain > 0x7FFF_FFFF { return plain - 0xFFFF_FFFF }
        return plain
    }

    /// Judges a NotificationMessage. A keep-alive carries the number the next message will have.
    package mutating func judge(subscriptionID: UInt32, sequenceNumber: UInt32, isKeepAlive: Bool) -> Disposition {
        guard let i = index(subscriptionID) else { return .unknownSubscription }
        let expected = subscriptions[i].expected
        if expected == 0 {
            subscriptions[i].expected = sequenceNumber
            return isKeepAlive ? .keepAlive : .process
        }
        let distance = Self.distance(from: expected, to: sequenceNumber)
        if distance > 0 { return .missing(first: expected, count: UInt32(distance)) }
        if isKeepAlive { return .keepAlive }
        return distance == 0 ? .process : .duplicate
    }

    /// The consumer has taken the message.
    package mutating func processed(subscriptionID: UInt32, sequenceNumber: UInt32) {
        guard let i = index(subscriptionID) else { return }
        subscriptions[i].expected = Self.next(sequenceNumber)
        subscriptions[i].unacknowledged.append(sequenceNumber)
    }

    /// Messages before `sequenceNumber` cannot be had any more.
    package mutating func skip(subscriptionID: UInt32, to sequenceNumber: UInt32) {
        guard let i = index(subscriptionID) else { return }
        subscriptions[i].expected = sequenceNumber
    }

    /// Everything of this subscription up to and including `sequenceNumber` is durable. What became durable too late,
    /// after its subscription was given up, concerns nobody: least of all a new subscription with the same id.
    package mutating func acknowledge(subscriptionID: UInt32, incarnation: UInt32, upTo sequenceNumber: UInt32) {
        guard let i = index(subscriptionID), subscriptions[i].incarnation == incarnation else { return }
        var count = 0
        for number in subscriptions[i].unacknowledged {
            guard Self.distance(from: number, to: sequenceNumber) >= 0 else { break }
            pendingAcknowledgements.append(
                SubscriptionAcknowledgement(subscriptionId: subscriptionID, sequenceNumber: number)
            )
            count += 1
        }
        subscriptions[i].unacknowledged.removeFirst(count)
    }

    /// A number the server still holds though it is durable here: acknowledge it (again).
    package mutating func acknowledgeAgain(subscriptionID: UInt32, sequenceNumber: UInt32) {
        guard index(subscriptionID) != nil else { return }
        pendingAcknowledgements.append(
            SubscriptionAcknowledgement(subscriptionId: subscriptionID, sequenceNumber: sequenceNumber)
        )
    }

    // MARK: Watchdog

    /// When the first subscription will have been silent for too long.
    package var watchdogDeadline: NIODeadline? { subscriptions.map(\.deadAt).min() }

    /// The subscription that has been silent for more than two keep-alive periods.
    package func silentSubscription(now: NIODeadline) -> Subscription? { subscriptions.first { $0.deadAt <= now } }

    /// How often a paused subscription must be touched so that the server keeps it.
    package var keepInterval: TimeAmount? {
        subscriptions.map(\.lifetime.nanoseconds).min().map { .nanoseconds(max(1_000_000_000, $0 / 3)) }
    }
}
