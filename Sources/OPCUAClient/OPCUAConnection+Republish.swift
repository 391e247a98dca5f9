import NIOCore
import OPCUACodec

/// Fetching notifications again (Part 4, 5.14.6).
extension OPCUAConnection {
    private enum Republished {
        case delivered
        case notAvailable
        case failed
    }

    /// - Parameter missing: numbers before this one that cannot be had. Reported before this one is delivered: the hole lies between
    ///   what was known before it and the first value after.
    private func republish(
        _ subscriptionID: UInt32,
        number: UInt32,
        missing: (first: UInt32, last: UInt32)? = nil
    ) async -> Republished {
        // The subscription is about to be given up: what is missing is missing, what is here is taken.
        if isDraining { return .notAvailable }
        guard failure == nil, session.machine.isActive, let channel = session.channel else { return .failed }
        let id = channel.nextRequestID()
        let timeout = session.timeout
        let request = RepublishRequest(
            requestHeader: RequestHeader(
                authenticationToken: session.machine.authenticationToken,
                timestamp: WallClock.dateTime(),
                requestHandle: id,
                timeoutHint: UInt32(clamping: timeout.nanoseconds / 1_000_000)
            ),
            subscriptionId: subscriptionID,
            retransmitSequenceNumber: number
        )
        let result: Result<ByteBuffer, OPCUAClientError> = await withCheckedContinuation { continuation in
            channel.send(request.messageBody, requestID: id, timeout: timeout) { continuation.resume(returning: $0) }
        }
        guard case .success(let body) = result else { return .failed }
        let view: PublishResponseView
        do throws(DecodingError) { view = try PublishResponseView(body) } catch {
            connectionFailed(.decoding(error, in: "Republish response"))
            return .failed
        }
        if view.isFault || view.serviceResult.isBad {
            switch view.serviceResult.withoutInfoBits {
            case .badSessionIdInvalid, .badSessionClosed, .badSessionNotActivated, .badSecureChannelIdInvalid,
                .badSecureChannelClosed:
                connectionFailed(.service("Republish", view.serviceResult))
                return .failed
            case .badSubscriptionIdInvalid, .badNoSubscription:
                lost(subscriptionID, "Republish: \(view.serviceResult)")
                return .failed
            default:
                // BadMessageNotAvailable; servers without a retransmission queue say BadServiceUnsupported or worse.
                return .notAvailable
            }
        }
        guard view.sequenceNumber == number else { return .notAvailable }
        if let missing { await report(lost: subscriptionID, missing.first, missing.last) }
        let delivered = await deliver(
            body,
            view,
            subscriptionID: subscriptionID,
            receivedAt: WallClock.unixMicroseconds(),
            isRepublished: true
        )
        return delivered ? .delivered : .failed
    }

    /// More numbers than a server's retransmission queue holds are not asked for one by one.
    private static let largestRepublishedGap: UInt32 = 1000

    /// Fetches missing messages; those that are gone are reported as lost.
    /// - Returns: false when the connection broke meanwhile: nothing after may be processed.
    func republish(_ subscriptionID: UInt32, from first: UInt32, count: UInt32, to end: UInt32) async -> Bool {
        var number = first
        var lostFrom: UInt32?
        var last = first
        var remaining = count
        if count > Self.largestRepublishedGap {
            lostFrom = first
            number = first &+ (count - Self.largestRepublishedGap)
            if number < first { number = number &+ 1 }
            last = number &- 1
            remaining = Self.largestRepublishedGap
        }
        while remaining > 0 {
            let missing = lostFrom.map { (first: $0, last: last) }
            switch await republish(subscriptionID, number: number, missing: missing) {
            case .failed:
                // These are not asked for again.
                if let missing { await report(lost: subscriptionID, missing.first, missing.last) }
                return false
            case .notAvailable:
                if lostFrom == nil { lostFrom = number }
                last = number
                pipeline.skip(subscriptionID: subscriptionID, to: PublishPipeline.next(number))
            case .delivered: lostFrom = nil
            }
            number = PublishPipeline.next(number)
            remaining -= 1
        }
        if let from = lostFrom { await report(lost: subscriptionID, from, last) }
        pipeline.skip(subscriptionID: subscriptionID, to: end)
        return true
    }

    private func report(lost subscriptionID: UInt32, _ first: UInt32, _ last: UInt32) async {
        lose(subscriptionID, min(first, last)...max(first, last))
        if case .event(let event)? = received.first {
            received.removeFirst()
            await consumer.continuity(event)
        }
    }

    /// After a break: asks for the next messages until the server has no more; what is missing beyond shows in the
    /// numbers of the next notification.
    func catchUp(_ subscriptionID: UInt32, available: [UInt32]?) async {
        guard let subscription = pipeline.subscription(subscriptionID) else { return }
        for number in (available ?? []).prefix(Int(Self.largestRepublishedGap))
        where PublishPipeline.distance(from: subscription.expected, to: number) < 0 {
            if !subscription.unacknowledged.contains(number) {
                pipeline.acknowledgeAgain(subscriptionID: subscriptionID, sequenceNumber: number)
            }
        }
        for _ in 0..<Self.largestRepublishedGap {
            guard let expected = pipeline.subscription(subscriptionID)?.expected, expected != 0 else { return }
            if let available, !available.contains(expected) { return }
            guard case .delivered = await republish(subscriptionID, number: expected) else { return }
        }
    }
}
