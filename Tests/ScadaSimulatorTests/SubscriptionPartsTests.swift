import OPCUACodec
import Testing

@testable import scada_simulator

@Suite struct SampleQueueTests {
    private func sample(_ number: UInt32) -> Sample {
        Sample(value: Double(number), source: Int64(number), count: number, status: 0)
    }

    private func drain(_ queue: inout SampleQueue) -> [Sample] {
        var result: [Sample] = []
        while let next = queue.popFirst() { result.append(next) }
        return result
    }

    @Test func `discarding the oldest marks the one that is then the oldest`() {
        var queue = SampleQueue(size: 3, discardsOldest: true)
        let lost = (1...5).map { queue.append(sample($0)) }
        #expect(lost == [false, false, false, true, true])
        let samples = drain(&queue)
        #expect(samples.map(\.count) == [3, 4, 5])
        #expect(samples.map(\.status) == [Sample.overflow, 0, 0])
        #expect(StatusCode(rawValue: samples[0].status).hasOverflow)
    }

    @Test func `discarding the newest replaces it and marks the new one`() {
        var queue = SampleQueue(size: 3, discardsOldest: false)
        for number: UInt32 in 1...5 { _ = queue.append(sample(number)) }
        let samples = drain(&queue)
        #expect(samples.map(\.count) == [1, 2, 5])
        #expect(samples.map(\.status) == [0, 0, Sample.overflow])
    }

    @Test(arguments: [true, false])
    func `a queue of one holds the newest without a mark`(discardsOldest: Bool) {
        var queue = SampleQueue(size: 1, discardsOldest: discardsOldest)
        #expect((1...3).map { queue.append(sample($0)) } == [false, true, true])
        #expect(drain(&queue) == [sample(3)])
    }

    /// Every sequence of 12 appends and pops on queues of 1 to 5, against a plain array.
    @Test(arguments: 1...5, [true, false])
    func `behaves like a plain array in every order of events`(size: Int, discardsOldest: Bool) {
        for sequence in 0..<(1 << 12) {
            var queue = SampleQueue(size: size, discardsOldest: discardsOldest)
            var model: [Sample] = []
            for step in 0..<12 {
                if sequence >> step & 1 == 0 {
                    let next = sample(UInt32(step + 1))
                    let full = model.count == size
                    if full, size == 1 {
                        model = [next]
                    } else if full, discardsOldest {
                        model.removeFirst()
                        model[0].status |= Sample.overflow
                        model.append(next)
                    } else if full {
                        model[size - 1] = next
                        model[size - 1].status |= Sample.overflow
                    } else {
                        model.append(next)
                    }
                    guard queue.append(next) == full else {
                        Issue.record("append in sequence \(sequence), step \(step)")
                        return
                    }
                } else {
                    let expected = model.isEmpty ? nil : model.removeFirst()
                    guard queue.popFirst() == expected else {
                        Issue.record("pop in sequence \(sequence), step \(step)")
                        return
                    }
                }
            }
            guard drain(&queue) == model else {
                Issue.record("rest of sequence \(sequence)")
                return
            }
        }
    }
}

@Suite struct WatchersTests {
    @Test func `each item is called once, removed ones never`() throws {
        let client = TestClient(TestClient.server())
        try client.connect()
        let ids = [try client.subscribe(), try client.subscribe()]
        let subscriptions = ids.compactMap { client.server.subscriptions[$0] }
        let all = subscriptions.indices.flatMap { index in (0..<3).map { [index, $0] } }
        // Every order of removing the six.
        for seed: UInt64 in 0..<200 {
            var generator = SeededGenerator(seed: seed)
            var watchers = Watchers()
            for pair in all { watchers.add(subscriptions[pair[0]], slot: pair[1]) }
            var left = Set(all)
            for pair in all.shuffled(using: &generator) {
                var called: [[Int]] = []
                watchers.forEach { subscription, slot in
                    called.append([subscription === subscriptions[0] ? 0 : 1, slot])
                }
                #expect(called.count == left.count && Set(called) == left)
                watchers.remove(subscriptions[pair[0]], slot: pair[1])
                left.remove(pair)
            }
            #expect(watchers.isEmpty)
        }
    }
}

@Suite struct SampleFilterTests {
    private func filter(
        _ type: UInt32,
        _ value: Double,
        trigger: DataChangeTrigger = .statusValue,
        kind: TagKind? = .casingPressure,
        limits: ServerLimits = ServerLimits()
    ) throws -> SampleFilter {
        let encoded = ExtensionObject(DataChangeFilter(trigger: trigger, deadbandType: type, deadbandValue: value))
        return try SampleFilter(encoded, kind: kind, limits: limits)
    }

    private func sample(_ value: Double, status: UInt32 = 0, source: Int64 = 0) -> Sample {
        Sample(value: value, source: source, count: 1, status: status)
    }

    @Test func `a deadband excludes its border`() throws {
        let absolute = try filter(1, 2)
        #expect(!absolute.passes(sample(12), after: sample(10)))
        #expect(absolute.passes(sample(12.01), after: sample(10)))
        #expect(absolute.passes(sample(7.9), after: sample(10)))
        #expect(absolute.passes(sample(10), after: nil))
        // 0.1 % of 0…5000 PSI.
        let percent = try filter(2, 0.1)
        #expect(percent.deadband == 5)
    }

    @Test func `a new status always passes; triggers say what else does`() throws {
        let dead = try filter(1, 100)
        #expect(dead.passes(sample(10, status: 0x4093_0000), after: sample(10)))
        let status = try filter(0, 0, trigger: .status)
        #expect(!status.passes(sample(11), after: sample(10)))
        let stamp = try filter(1, 100, trigger: .statusValueTimestamp)
        #expect(stamp.passes(sample(10, source: 1), after: sample(10)))
        #expect(!SampleFilter.none.passes(sample(10, source: 1), after: sample(10)))
    }

    @Test func `wrong filters are refused with the code that says why`() {
        #expect(throws: ServiceFailure(.badDeadbandFilterInvalid)) { try filter(1, -1) }
        #expect(throws: ServiceFailure(.badDeadbandFilterInvalid)) { try filter(2, 101) }
        #expect(throws: ServiceFailure(.badDeadbandFilterInvalid)) { try filter(3, 1) }
        #expect(throws: ServiceFailure(.badFilterNotAllowed)) { try filter(2, 1, kind: nil) }
        var limits = ServerLimits()
        limits.refusesDeadband = true
        #expect(throws: ServiceFailure(.badFilterNotAllowed)) { try filter(1, 1, limits: limits) }
        #expect(throws: ServiceFailure(.badMonitoredItemFilterUnsupported)) {
            try SampleFilter(ExtensionObject(AnonymousIdentityToken()), kind: .power, limits: ServerLimits())
        }
    }
}

@Suite struct NotificationMessageWriterTests {
    @Test(arguments: [TimestampsToReturn.source, .server, .both, .neither])
    func `what is written decodes to what was meant`(timestamps: TimestampsToReturn) throws {
        let samples = [
            Sample(value: 1.5, source: 77, count: 1, status: 0),
            Sample(value: -.infinity, source: 78, count: 2, status: Sample.overflow),
        ]
        var writer = NotificationMessageWriter(sequenceNumber: 9, publishTime: 1_234)
        var expected: [MonitoredItemNotification] = []
        // Enough to make the writer's memory grow several times.
        for index in 0..<500 {
            let handle = UInt32(index) &* 77_777_777
            let template = NotificationTemplate(clientHandle: handle, timestamps: timestamps)
            for sample in samples {
                writer.append(sample, template, serverTime: 555)
                let source = timestamps == .source || timestamps == .both
                let server = timestamps == .server || timestamps == .both
                expected.append(
                    MonitoredItemNotification(
                        clientHandle: handle,
                        value: DataValue(
                            .double(sample.value),
                            status: StatusCode(rawValue: sample.status),
                            sourceTimestamp: source ? DateTime(ticks: sample.source) : nil,
                            serverTimestamp: server ? DateTime(ticks: 555) : nil
                        )
                    )
                )
            }
            let other = DataValue(.string("x"), serverTimestamp: DateTime(ticks: 1))
            writer.append(clientHandle: handle, encoded: other.encoded)
            expected.append(MonitoredItemNotification(clientHandle: handle, value: other))
        }
        #expect(writer.count == 1_500)
        let message = try NotificationMessage(decoding: writer.finish())
        #expect(message.sequenceNumber == 9)
        #expect(message.publishTime == DateTime(ticks: 1_234))
        let change = try #require(try message.notificationData.first?.decoded(as: DataChangeNotification.self))
        #expect(change.monitoredItems == expected)
        #expect(message.notificationData.count == 1)
    }
}

@Suite struct RetransmissionQueueTests {
    private func message(_ number: UInt32, bytes: Int = 1) -> RetransmissionQueue.Message {
        RetransmissionQueue.Message(
            sequenceNumber: number,
            bytes: Array(repeating: 0, count: bytes),
            values: Int(number),
            marks: []
        )
    }

    @Test func `a message is acknowledged once, in any order`() {
        var queue = RetransmissionQueue()
        for number: UInt32 in 1...100 { #expect(queue.append(message(number)).isEmpty) }
        #expect(queue.acknowledge(50)?.values == 50)
        #expect(queue.acknowledge(50) == nil)
        #expect(queue.message(50) == nil)
        for number: UInt32 in 1...40 { #expect(queue.acknowledge(number)?.sequenceNumber == number) }
        #expect(queue.message(41)?.values == 41)
        #expect(queue.sequenceNumbers == Array(41...49) + Array(51...100))
        #expect(queue.count == 59)
        #expect(queue.byteCount == 59)
    }

    @Test func `the oldest goes at the bound of messages`() {
        var queue = RetransmissionQueue()
        for number in 1...UInt32(RetransmissionQueue.maximumMessages) { _ = queue.append(message(number)) }
        #expect(queue.append(message(5_000)).map(\.sequenceNumber) == [1])
        #expect(queue.count == RetransmissionQueue.maximumMessages)
    }

    @Test func `the oldest go at the bound of bytes, the newest never`() {
        var queue = RetransmissionQueue()
        let third = RetransmissionQueue.maximumBytes / 3
        for number: UInt32 in 1...3 { #expect(queue.append(message(number, bytes: third)).isEmpty) }
        let large = queue.append(message(4, bytes: RetransmissionQueue.maximumBytes + 1))
        #expect(large.map(\.sequenceNumber) == [1, 2, 3])
        #expect(queue.sequenceNumbers == [4])
    }
}

@Suite struct PublishingStateMachineTests {
    @Test func `the first cycle speaks, then keep-alives come after the agreed silence`() {
        var machine = PublishingStateMachine(keepAliveCount: 3, lifetimeCount: 9)
        #expect(machine.timerFired(hasNotifications: false, hasRequest: true) == .sendKeepAlive)
        machine.sent(more: false)
        let actions = (0..<4).map { _ in machine.timerFired(hasNotifications: false, hasRequest: true) }
        #expect(actions == [.none, .none, .sendKeepAlive, .sendKeepAlive])
    }

    @Test func `notifications wait for a request`() {
        var machine = PublishingStateMachine(keepAliveCount: 3, lifetimeCount: 9)
        #expect(machine.timerFired(hasNotifications: true, hasRequest: false) == .none)
        #expect(machine.isLate)
        #expect(machine.requestArrived(hasNotifications: true) == .sendNotifications)
        machine.sent(more: true)
        #expect(machine.requestArrived(hasNotifications: true) == .sendNotifications)
        machine.sent(more: false)
        #expect(machine.requestArrived(hasNotifications: true) == .none)
    }

    @Test func `a client that never asks loses the subscription at the end of its life time`() {
        var machine = PublishingStateMachine(keepAliveCount: 1, lifetimeCount: 4)
        let actions = (0..<4).map { _ in machine.timerFired(hasNotifications: false, hasRequest: false) }
        #expect(actions == [.none, .none, .none, .expire])
        var alive = PublishingStateMachine(keepAliveCount: 1, lifetimeCount: 4)
        for _ in 0..<20 {
            #expect(alive.timerFired(hasNotifications: false, hasRequest: false) == .none)
            alive.clientIsAlive()
        }
    }
}
