/// Sent notification messages that the client has not acknowledged (Part 4, 5.13.1.1), oldest first.
///
/// Bounded by messages and bytes; at the bound the oldest message is forgotten, which Part 4 allows, and counted.
struct RetransmissionQueue: Sendable {
    struct Message: Equatable, Sendable {
        var sequenceNumber: UInt32
        /// The encoded NotificationMessage.
        var bytes: [UInt8]
        /// Values of tags in it.
        var values: Int
        /// The last update of each tag in it.
        var marks: [Mark]
    }

    struct Mark: Equatable, Sendable {
        var tag: Int32
        var count: UInt32
    }

    static let maximumMessages = 1_024
    static let maximumBytes = 64 * 1_024 * 1_024

    private var messages: [Message] = []
    private var head = 0
    private(set) var byteCount = 0

    var count: Int { messages.count - head }

    /// Returns the messages that had to go.
    mutating func append(_ message: Message) -> [Message] {
        messages.append(message)
        byteCount += message.bytes.count
        var forgotten: [Message] = []
        while count > Self.maximumMessages || (byteCount > Self.maximumBytes && count > 1) {
            forgotten.append(removeFirst())
        }
        return forgotten
    }

    /// The client has it: returns the message, or nil when the number is not (or no longer) known.
    mutating func acknowledge(_ sequenceNumber: UInt32) -> Message? {
        guard let index = index(of: sequenceNumber) else { return nil }
        if index == head { return removeFirst() }
        let message = messages.remove(at: index)
        byteCount -= message.bytes.count
        return message
    }

    /// The message for a Republish.
    func message(_ sequenceNumber: UInt32) -> Message? { index(of: sequenceNumber).map { messages[$0] } }

    var sequenceNumbers: [UInt32] { messages[head...].map(\.sequenceNumber) }

    /// Everything that was never acknowledged.
    var values: Int { messages[head...].reduce(0) { $0 + $1.values } }

    private func index(of sequenceNumber: UInt32) -> Int? {
        messages[head...].firstIndex { $0.sequenceNumber == sequenceNumber }
    }

    private mutating func removeFirst() -> Message {
        let message = messages[head]
        byteCount -= message.bytes.count
        messages[head] = Message(sequenceNumber: 0, bytes: [], values: 0, marks: [])
        head += 1
        // Moves the rest down once the dead part is the larger one: constant cost a message.
        if head > 32, head * 2 > messages.count {
            messages.removeFirst(head)
            head = 0
        }
        return message
    }
}
