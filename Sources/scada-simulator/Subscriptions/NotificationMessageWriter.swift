import OPCUACodec

/// Encodes a NotificationMessage with one DataChangeNotification (Part 4, 7.26 and 7.25.2) as its values come.
///
/// The bytes are kept as they are for Republish and copied once more, into the chunks of a response.
struct NotificationMessageWriter {
    private(set) var count = 0
    private var bytes: [UInt8]
    /// Bytes in use; the array is larger, so that a value is written without a check for each field.
    private var end: Int

    /// Offset of the extension object's length: number, time, array length, type id, encoding byte before it.
    private static let lengthOffset = 4 + 8 + 4 + 4 + 1
    private static let countOffset = lengthOffset + 4

    init(sequenceNumber: UInt32, publishTime: Int64) {
        var encoder = BinaryEncoder(reservingCapacity: 4_096)
        encoder.integer(sequenceNumber)
        encoder.integer(publishTime)
        encoder.integer(Int32(1))
        DataChangeNotification.binaryEncodingId.encode(to: &encoder)
        encoder.uint8(1)
        encoder.integer(Int32(0))
        encoder.integer(Int32(0))
        end = encoder.bytes.count
        bytes = encoder.bytes
    }

    @inline(__always)
    mutating func append(_ sample: Sample, _ template: NotificationTemplate, serverTime: Int64) {
        if bytes.count - end < NotificationTemplate.maximumSize { grow(NotificationTemplate.maximumSize) }
        let start = end
        end += bytes.withUnsafeMutableBytes { memory in
            guard let base = memory.baseAddress else { return 0 }
            return template.write(sample, serverTime: serverTime, to: base + start)
        }
        count += 1
    }

    /// A value of another type than Double, as an encoded DataValue.
    mutating func append(clientHandle: UInt32, encoded value: [UInt8]) {
        if bytes.count - end < 4 + value.count { grow(4 + value.count) }
        store(clientHandle, at: end)
        bytes.replaceSubrange(end + 4..<end + 4 + value.count, with: value)
        end += 4 + value.count
        count += 1
    }

    mutating func finish() -> [UInt8] {
        bytes.removeLast(bytes.count - end)
        // No diagnostics: a null array.
        for _ in 0..<4 { bytes.append(0xFF) }
        store(UInt32(bytes.count - Self.countOffset), at: Self.lengthOffset)
        store(UInt32(count), at: Self.countOffset)
        return bytes
    }

    private mutating func grow(_ needed: Int) {
        bytes.append(contentsOf: repeatElement(0, count: max(bytes.count, needed, 4_096)))
    }

    private mutating func store(_ value: UInt32, at offset: Int) {
        bytes.withUnsafeMutableBytes { $0.storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt32.self) }
    }
}
