import FoundationEssentials
import Ingestion
import Journal
import OPCUAClient
import OPCUACodec

/// An encoded PublishResponse of `values` Doubles with both timestamps, ten tags a well, and the tags it is of.
struct SampleNotification {
    /// 2026-01-01 in units of OPC UA (Part 6, 5.2.2.5).
    private static let start = DateTime(unixMicroseconds: 1_767_225_600_000_000).ticks
    /// Handle, mask, type, value, two timestamps.
    private static let stride = 4 + 1 + 1 + 8 + 8 + 8

    let values: Int
    private(set) var bytes: [UInt8]
    /// Of the first value's source timestamp.
    private let firstTimestamp: Int
    private var time = Self.start

    init(values: Int) throws {
        self.values = values
        let items = (0..<values).map { index in
            MonitoredItemNotification(
                clientHandle: UInt32(index),
                value: DataValue(
                    .double(Double(index) * 1.25),
                    sourceTimestamp: DateTime(ticks: Self.start),
                    serverTimestamp: DateTime(ticks: Self.start)
                )
            )
        }
        let message = NotificationMessage(
            sequenceNumber: 1,
            publishTime: DateTime(ticks: Self.start),
            notificationData: [ExtensionObject(DataChangeNotification(monitoredItems: items))]
        )
        let response = PublishResponse(subscriptionId: 1, availableSequenceNumbers: [1], notificationMessage: message)
        bytes = response.messageBody
        firstTimestamp = try bytes.withUnsafeBytes { all in
            var offset = 0
            try PublishResponseView(all).forEachPart(in: all) { part in
                guard case .dataChange(let body) = part, let start = all.baseAddress, let at = body.baseAddress else {
                    return
                }
                // The length of the array in front.
                offset = at - start + 4 + 4 + 1 + 1 + 8
            }
            return offset
        }
    }

    /// The same values a second later: without that they would be duplicates.
    mutating func age() {
        time += 10_000_000
        let (time, first, values) = (self.time, firstTimestamp, self.values)
        bytes.withUnsafeMutableBytes { all in
            for index in 0..<values {
                all.storeBytes(of: time.littleEndian, toByteOffset: first + index * Self.stride, as: Int64.self)
            }
        }
    }

    /// A table of the tags that the handles stand for.
    func makeTable() -> TagTable {
        let table = TagTable()
        for index in 0..<values {
            let well = UInt8(truncatingIfNeeded: index / 10)
            let id = UUID(uuid: (well, UInt8((index / 10) >> 8), 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 0))
            _ = table.handle(for: TagKey(wellID: id, nodeID: "ns=2;s=Well-\(10_000 + index / 10).Tag\(index % 10)"))
        }
        return table
    }
}
