import NIOCore
package import OPCUACodec

/// A Publish or Republish response taken apart down to its notifications, in place (Part 4, 5.14.5, 5.14.6 and 7.26).
///
/// Nothing here is per value: it reads the headers and remembers where the notifications begin.
package struct PublishResponseView: Equatable {
    var serviceResult: StatusCode
    var subscriptionID: UInt32
    /// Offset of the first of the sequence numbers the server still holds, and how many there are.
    private var availableOffset: Int
    private var availableCount: Int
    var moreNotifications: Bool
    var sequenceNumber: UInt32
    var publishTime: DateTime
    /// Offset of the first ExtensionObject of NotificationData.
    private var notificationsOffset: Int
    private(set) var notificationCount: Int
    /// ServiceFault instead of a response.
    var isFault: Bool

    /// A message without notifications only says that the server lives.
    var isKeepAlive: Bool { notificationCount == 0 }

    package init(_ bytes: UnsafeRawBufferPointer) throws(DecodingError) {
        var decoder = BinaryDecoder(bytes)
        let id = try NodeId(from: &decoder)
        let header = try ResponseHeader(from: &decoder)
        serviceResult = header.serviceResult
        subscriptionID = 0
        availableOffset = 0
        availableCount = 0
        moreNotifications = false
        sequenceNumber = 0
        publishTime = .null
        notificationsOffset = 0
        notificationCount = 0
        isFault = id == ServiceFault.binaryEncodingId
        if isFault || serviceResult.isBad { return }
        switch id {
        case PublishResponse.binaryEncodingId:
            subscriptionID = try decoder.uint32()
            availableCount = try decoder.arrayLength(minimumElementSize: 4)
            availableOffset = decoder.offset
            _ = try decoder.take(4 * availableCount)
            moreNotifications = try decoder.boolean()
        case RepublishResponse.binaryEncodingId: break
        default: throw decoder.failure(.unexpectedType)
        }
        sequenceNumber = try decoder.uint32()
        publishTime = try DateTime(from: &decoder)
        notificationCount = try decoder.arrayLength(minimumElementSize: 3)
        notificationsOffset = decoder.offset
    }

    init(_ body: ByteBuffer) throws(DecodingError) {
        let result: Result<PublishResponseView, DecodingError> = body.withUnsafeReadableBytes { bytes in
            do throws(DecodingError) { return .success(try PublishResponseView(bytes)) } catch {
                return .failure(error)
            }
        }
        self = try result.get()
    }

    /// One element of NotificationData.
    package enum Part {
        /// The encoded DataChangeNotification.
        case dataChange(UnsafeRawBufferPointer)
        case statusChange(StatusCode)
        /// Events, or a vendor's own kind: nothing this client asked for.
        case other(NodeId)
    }

    /// Calls `body` for each part; `bytes` must be those the view was made of.
    package func forEachPart(
        in bytes: UnsafeRawBufferPointer,
        _ body: (Part) throws(DecodingError) -> Void
    ) throws(DecodingError) {
        var decoder = BinaryDecoder(bytes)
        decoder.offset = notificationsOffset
        for _ in 0..<notificationCount {
            let type = try NodeId(from: &decoder)
            let encoding = try decoder.uint8()
            // Part 6, 5.2.2.15: 1 is a binary body with its length in front.
            guard encoding == 1, let content = try decoder.lengthPrefixed() else {
                if encoding == 2 { _ = try decoder.lengthPrefixed() }
                try body(.other(type))
                continue
            }
            if type == DataChangeNotification.binaryEncodingId {
                try body(.dataChange(content))
            } else if type == StatusChangeNotification.binaryEncodingId {
                var inner = BinaryDecoder(content)
                try body(.statusChange(try StatusCode(from: &inner)))
            } else {
                try body(.other(type))
            }
        }
    }

    /// The sequence numbers the server still holds for this subscription.
    func availableSequenceNumbers(in bytes: UnsafeRawBufferPointer) -> [UInt32] {
        var decoder = BinaryDecoder(bytes)
        decoder.offset = availableOffset
        var result: [UInt32] = []
        result.reserveCapacity(availableCount)
        for _ in 0..<availableCount {
            guard let number = try? decoder.uint32() else { break }
            result.append(number)
        }
        return result
    }
}
