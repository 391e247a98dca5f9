/// One value of a tag at one moment: what a monitored item queues.
struct Sample: Equatable, Sendable {
    var value: Double
    /// Source timestamp in OPC UA ticks.
    var source: Int64
    /// Which update of the tag this is, from 1: what the accounting is about, and the value itself in counter mode.
    var count: UInt32
    /// Status code; 0 is Good.
    var status: UInt32

    static let none = Sample(value: 0, source: 0, count: 0, status: 0)

    /// InfoType DataValue with the Overflow bit (Part 4, 7.39.2): values before this one were lost.
    static let overflow: UInt32 = 0x0000_0480
}
