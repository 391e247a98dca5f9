import OPCUACodec

/// Writes MonitoredItemNotifications of Double values (Part 4, 7.25.2; Part 6, 5.2.2.17) straight into memory.
///
/// What is the same for every value of an item is worked out once; a value costs a few stores and no allocation.
struct NotificationTemplate: Equatable, Sendable {
    /// Most bytes one notification takes: handle, mask, Variant of a Double, status, two timestamps.
    static let maximumSize = 4 + 1 + 9 + 4 + 8 + 8

    var clientHandle: UInt32
    private let mask: UInt8
    private let hasSource: Bool
    private let hasServer: Bool

    init(clientHandle: UInt32, timestamps: TimestampsToReturn) {
        self.clientHandle = clientHandle
        hasSource = timestamps == .source || timestamps == .both
        hasServer = timestamps == .server || timestamps == .both
        mask =
            DataValue.Mask.value | (hasSource ? DataValue.Mask.sourceTimestamp : 0)
            | (hasServer ? DataValue.Mask.serverTimestamp : 0)
    }

    /// Writes one notification to `output`, which has room for `maximumSize` bytes; returns how many it took.
    @inline(__always)
    func write(_ sample: Sample, serverTime: Int64, to output: UnsafeMutableRawPointer) -> Int {
        output.storeBytes(of: clientHandle.littleEndian, as: UInt32.self)
        output.storeBytes(of: BuiltInType.double.rawValue, toByteOffset: 5, as: UInt8.self)
        output.storeBytes(of: sample.value.bitPattern.littleEndian, toByteOffset: 6, as: UInt64.self)
        var offset = 14
        var mask = mask
        if sample.status != 0 {
            if sample.status >> 31 == 1 {
                // A bad value is none (Part 4, 7.11): status and timestamps follow the mask at once.
                mask &= ~DataValue.Mask.value
                offset = 5
            }
            mask |= DataValue.Mask.status
            output.storeBytes(of: sample.status.littleEndian, toByteOffset: offset, as: UInt32.self)
            offset += 4
        }
        output.storeBytes(of: mask, toByteOffset: 4, as: UInt8.self)
        if hasSource {
            output.storeBytes(of: sample.source.littleEndian, toByteOffset: offset, as: Int64.self)
            offset += 8
        }
        if hasServer {
            output.storeBytes(of: serverTime.littleEndian, toByteOffset: offset, as: Int64.self)
            offset += 8
        }
        return offset
    }
}
