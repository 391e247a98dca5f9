import NIOCore
import OPCUACodec
import Testing

@testable import OPCUAClient

@Suite("Publish pipeline")
struct PublishPipelineTests {
    static let start = NIODeadline.uptimeNanoseconds(1_000_000_000)

    static func subscription(_ id: UInt32, expected: UInt32 = 1) -> PublishPipeline.Subscription {
        PublishPipeline.Subscription(
            id: id,
            publishingInterval: 500,
            keepAliveCount: 20,
            lifetimeCount: 60,
            expected: expected,
            lastHeard: start
        )
    }

    static func pipeline(_ ids: UInt32..., maximumUnacknowledged: Int = 100) -> PublishPipeline {
        var pipeline = PublishPipeline(maximumUnacknowledged: maximumUnacknowledged)
        for id in ids { pipeline.add(subscription(id)) }
        return pipeline
    }

    /// Takes as many requests as are given.
    static func fill(_ pipeline: inout PublishPipeline, queued: Int = 0) -> [[SubscriptionAcknowledgement]] {
        var taken: [[SubscriptionAcknowledgement]] = []
        while let acknowledgements = pipeline.takeRequest(queued: queued, now: start) { taken.append(acknowledgements) }
        return taken
    }

    static func acknowledgements(_ id: UInt32, _ numbers: UInt32...) -> [SubscriptionAcknowledgement] {
        numbers.map { SubscriptionAcknowledgement(subscriptionId: id, sequenceNumber: $0) }
    }

    // MARK: Requests

    @Test func keepsTwoRequestsASubscriptionAndTenAtMostInFlight() {
        var none = Self.pipeline()
        #expect(Self.fill(&none).isEmpty)
        var one = Self.pipeline(1)
        #expect(Self.fill(&one).count == 2)
        var seven = Self.pipeline(1, 2, 3, 4, 5, 6, 7)
        #expect(Self.fill(&seven).count == 10)
    }

    @Test func countsWhatIsReceivedAndNotProcessedAsInFlight() {
        var pipeline = Self.pipeline(1)
        #expect(Self.fill(&pipeline, queued: 1).count == 1)
        #expect(Self.fill(&pipeline, queued: 2).isEmpty)
        pipeline.responded(subscriptionID: 1, now: Self.start)
        #expect(Self.fill(&pipeline, queued: 2).isEmpty, "two wait to be processed")
        #expect(Self.fill(&pipeline, queued: 0).count == 2)
    }

    @Test func shrinksOnTooManyPublishRequestsAndStaysShrunk() {
        var pipeline = Self.pipeline(1, 2, 3)
        #expect(Self.fill(&pipeline).count == 6)
        #expect(pipeline.failed(.badTooManyPublishRequests, []) == .goOn)
        #expect(pipeline.failed(.badTooManyPublishRequests, []) == .goOn)
        #expect(pipeline.learntLimit == 4)
        #expect(Self.fill(&pipeline).isEmpty)
        pipeline.reconnected(now: Self.start)
        #expect(Self.fill(&pipeline).count == 4, "learnt for good")
        for _ in 0..<9 { _ = pipeline.failed(.badTooManyPublishRequests, []) }
        #expect(pipeline.learntLimit == 1, "one is always sent")
        #expect(PublishPipeline(maximumUnacknowledged: 1, learntLimit: 4).learntLimit == 4)
    }

    @Test(arguments: [
        (StatusCode.badNoSubscription, PublishPipeline.FailureAction.subscriptionsGone),
        (.badSubscriptionIdInvalid, .subscriptionsGone), (.badTimeout, .goOn), (.badRequestTimeout, .goOn),
        (.badTooManyOperations, .pause), (.badOutOfMemory, .pause),
        (.badSessionIdInvalid, .fail(.service("Publish", .badSessionIdInvalid))),
    ])
    func knowsWhatAFaultMeans(status: StatusCode, action: PublishPipeline.FailureAction) {
        var pipeline = Self.pipeline(1)
        _ = Self.fill(&pipeline)
        #expect(pipeline.failed(status, []) == action)
        #expect(pipeline.inFlight == 1)
    }

    // MARK: Acknowledgements

    @Test func acknowledgesOnlyWhatIsDurable() {
        var pipeline = Self.pipeline(1)
        let incarnation = pipeline.subscriptions[0].incarnation
        for number in 1...5 as ClosedRange<UInt32> {
            pipeline.processed(subscriptionID: 1, sequenceNumber: number)
        }
        #expect(Self.fill(&pipeline) == [[], []], "nothing is durable yet")
        pipeline.acknowledge(subscriptionID: 1, incarnation: incarnation, upTo: 3)
        pipeline.responded(subscriptionID: 1, now: Self.start)
        #expect(Self.fill(&pipeline) == [Self.acknowledgements(1, 1, 2, 3)])
        pipeline.acknowledge(subscriptionID: 1, incarnation: incarnation, upTo: 3)
        pipeline.responded(subscriptionID: 1, now: Self.start)
        #expect(Self.fill(&pipeline) == [[]], "each is acknowledged once")
        #expect(pipeline.unacknowledgedCount == 2)
    }

    @Test func acknowledgesAcrossTheWrapAround() {
        var pipeline = PublishPipeline(maximumUnacknowledged: 10)
        pipeline.add(Self.subscription(1, expected: .max))
        pipeline.processed(subscriptionID: 1, sequenceNumber: .max)
        pipeline.processed(subscriptionID: 1, sequenceNumber: 1)
        pipeline.processed(subscriptionID: 1, sequenceNumber: 2)
        pipeline.acknowledge(subscriptionID: 1, incarnation: pipeline.lastIncarnation, upTo: 1)
        #expect(pipeline.pendingAcknowledgements == Self.acknowledgements(1, .max, 1))
        #expect(pipeline.subscriptions[0].unacknowledged == [2])
    }

    @Test func sendsAcknowledgementsOfALostRequestAgain() {
        var pipeline = Self.pipeline(1, 2)
        let lost = Self.acknowledgements(1, 1, 2) + Self.acknowledgements(2, 7)
        _ = Self.fill(&pipeline)
        pipeline.remove(2)
        pipeline.requestLost(lost)
        #expect(pipeline.pendingAcknowledgements == Self.acknowledgements(1, 1, 2), "not those of what is gone")
    }

    @Test func aRestartedServersSubscriptionIsNotTheOneWithTheSameId() {
        var pipeline = Self.pipeline(1)
        let old = pipeline.lastIncarnation
        for number in 1...9 as ClosedRange<UInt32> {
            pipeline.processed(subscriptionID: 1, sequenceNumber: number)
        }
        pipeline.removeAllSubscriptions()
        pipeline.add(Self.subscription(1))
        pipeline.processed(subscriptionID: 1, sequenceNumber: 1)
        pipeline.acknowledge(subscriptionID: 1, incarnation: old, upTo: 9)
        #expect(pipeline.pendingAcknowledgements.isEmpty, "the new number 1 is not durable")
        #expect(pipeline.lastIncarnation != old)
        pipeline.acknowledge(subscriptionID: 1, incarnation: pipeline.lastIncarnation, upTo: 1)
        #expect(pipeline.pendingAcknowledgements == Self.acknowledgements(1, 1))
    }

    @Test func pausesAtTheBoundOfWhatIsNotDurable() {
        var pipeline = Self.pipeline(1, maximumUnacknowledged: 3)
        for number in 1...3 as ClosedRange<UInt32> {
            pipeline.processed(subscriptionID: 1, sequenceNumber: number)
        }
        #expect(pipeline.isPaused)
        #expect(Self.fill(&pipeline).isEmpty)
        pipeline.acknowledge(subscriptionID: 1, incarnation: pipeline.lastIncarnation, upTo: 1)
        #expect(!pipeline.isPaused)
        #expect(Self.fill(&pipeline).count == 2)
    }

    // MARK: Sequence numbers

    @Test func judgesNumbers() {
        var pipeline = PublishPipeline(maximumUnacknowledged: 10)
        pipeline.add(Self.subscription(1, expected: 5))
        func judge(_ number: UInt32, keepAlive: Bool = false) -> PublishPipeline.Disposition {
            pipeline.judge(subscriptionID: 1, sequenceNumber: number, isKeepAlive: keepAlive)
        }
        #expect(judge(5) == .process)
        #expect(judge(4) == .duplicate)
        #expect(judge(8) == .missing(first: 5, count: 3))
        #expect(judge(5, keepAlive: true) == .keepAlive, "a keep-alive carries the number the next message will have")
        #expect(judge(7, keepAlive: true) == .missing(first: 5, count: 2))
        #expect(judge(3, keepAlive: true) == .keepAlive, "servers that repeat the last number")
        #expect(pipeline.judge(subscriptionID: 2, sequenceNumber: 1, isKeepAlive: false) == .unknownSubscription)
    }

    @Test func goesOnAfterWhatCannotBeHad() {
        var pipeline = Self.pipeline(1)
        pipeline.skip(subscriptionID: 1, to: 8)
        #expect(pipeline.judge(subscriptionID: 1, sequenceNumber: 8, isKeepAlive: false) == .process)
        #expect(pipeline.subscriptions[0].unacknowledged.isEmpty, "what never came is not acknowledged")
    }

    @Test func numbersWrapAroundToOne() {
        #expect(PublishPipeline.next(.max) == 1)
        #expect(PublishPipeline.distance(from: .max, to: 1) == 1)
        #expect(PublishPipeline.distance(from: 1, to: .max) == -1)
        #expect(PublishPipeline.distance(from: .max - 1, to: 3) == 4)
        #expect(PublishPipeline.distance(from: 7, to: 7) == 0)
        var pipeline = PublishPipeline(maximumUnacknowledged: 10)
        pipeline.add(Self.subscription(1, expected: .max))
        #expect(
            pipeline.judge(subscriptionID: 1, sequenceNumber: 1, isKeepAlive: false) == .missing(first: .max, count: 1)
        )
        pipeline.processed(subscriptionID: 1, sequenceNumber: .max)
        #expect(pipeline.judge(subscriptionID: 1, sequenceNumber: 1, isKeepAlive: false) == .process)
    }

    // MARK: Subscriptions and silence

    @Test func aSuccessorTakesThePlaceOfALostSubscription() {
        var pipeline = Self.pipeline(1, 2, 3)
        pipeline.acknowledgeAgain(subscriptionID: 2, sequenceNumber: 4)
        pipeline.replace(2, with: Self.subscription(9))
        #expect(pipeline.subscriptions.map(\.id) == [1, 9, 3])
        #expect(pipeline.pendingAcknowledgements.isEmpty)
    }

    @Test func isProvenWhenEverySubscriptionWasHeard() {
        var pipeline = Self.pipeline(1, 2)
        pipeline.responded(subscriptionID: 1, now: Self.start)
        #expect(!pipeline.allProven)
        pipeline.responded(subscriptionID: 2, now: Self.start)
        #expect(pipeline.allProven)
        pipeline.reconnected(now: Self.start)
        #expect(!pipeline.allProven)
    }

    @Test func silenceOfMoreThanTwoKeepAlivePeriodsIsDeath() {
        var pipeline = Self.pipeline(1, 2)
        _ = Self.fill(&pipeline)
        let dead = Self.start + .seconds(20)
        #expect(pipeline.watchdogDeadline == dead)
        #expect(pipeline.silentSubscription(now: dead - .nanoseconds(1)) == nil)
        pipeline.responded(subscriptionID: 1, now: dead - .seconds(1))
        #expect(pipeline.silentSubscription(now: dead)?.id == 2)
    }

    @Test func silenceWithoutARequestIsOurs() {
        var pipeline = Self.pipeline(1)
        let later = Self.start + .hours(1)
        _ = pipeline.takeRequest(queued: 0, now: later)
        #expect(pipeline.silentSubscription(now: later + .milliseconds(19_999)) == nil)
        _ = pipeline.takeRequest(queued: 0, now: later + .seconds(10))
        #expect(pipeline.silentSubscription(now: later + .seconds(20)) != nil, "one more request does not excuse it")
    }

    @Test func absurdIntervalsOfAServerDoNotTrap() {
        var subscription = Self.subscription(1)
        subscription.publishingInterval = 1e300
        subscription.keepAliveCount = .max
        subscription.lifetimeCount = .max
        var pipeline = PublishPipeline(maximumUnacknowledged: 1)
        pipeline.add(subscription)
        #expect(pipeline.watchdogDeadline != nil)
        #expect(pipeline.keepInterval != nil)
    }
}
