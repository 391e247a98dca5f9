package import NIOCore

/// When an event loop should pause for a moment, so that small messages of many connections gather and are taken in one turn:
/// what network cards call interrupt moderation.
///
/// A turn costs a wake-up of the thread, a wait for events and the locks of the loop, whether it takes one message or twenty;
/// a thousand servers that publish twice a second bring two thousand messages a second, each alone. Where there are few
/// messages nothing is won and nothing is done: an idle loop, a single connection however fast, and large messages, which are
/// rare for the readings they hold, never pause. A reading comes at most ``pause`` later than it could; it waits for the
/// journal's sync and for its flush anyway. No server waits for us meanwhile: each has another request in hand. While a
/// connection is being made there is no pause either: its dozens of steps would each wait for one, on a busy machine for more
/// than the time it has.
package struct GatheringRule: Sendable {
    /// How long a loop pauses.
    package static let pause = TimeAmount.milliseconds(5)
    /// A connection that has messages more often may be waiting for our next request: its messages do not wait.
    static let calm = TimeAmount.milliseconds(25)
    /// Messages in a pause from which on it is worth it.
    static let worthwhile: Int64 = 2
    /// A turn with so many has no need to gather more.
    static let plenty = 64
    /// How long messages are counted before their rate is judged.
    static let window = TimeAmount.milliseconds(100)

    /// In the present turn.
    private var messages = 0
    private var hastyUntil: NIODeadline
    private var windowBegan: NIODeadline
    private var inWindow = 0
    /// In the last window the messages were many enough.
    private var isDense = false

    package init(now: NIODeadline) {
        windowBegan = now
        hastyUntil = now
    }

    /// Connections that are being made.
    private var establishing = 0

    /// Whether the present turn has had messages.
    var hasMessages: Bool { messages > 0 }

    /// A connection has a PublishResponse.
    /// - Parameters:
    ///   - previous: when it had its last one.
    ///   - more: the server has more of them for us (Part 4, 5.14.5.2), and waits for our request.
    package mutating func received(now: NIODeadline, previous: NIODeadline, more: Bool) {
        messages += 1
        if more || now - previous < Self.calm { hastyUntil = now + Self.calm }
    }

    package mutating func beganEstablishing() { establishing += 1 }
    package mutating func endedEstablishing() { establishing -= 1 }

    /// The loop has done what there was to do.
    /// - Returns: how long to pause before it looks for more; nil: not at all.
    package mutating func turnEnded(now: NIODeadline) -> TimeAmount? {
        guard messages > 0 else { return nil }
        let taken = messages
        messages = 0
        inWindow += taken
        let elapsed = now - windowBegan
        if elapsed >= Self.window {
            isDense = Int64(inWindow) * Self.pause.nanoseconds >= Self.worthwhile * elapsed.nanoseconds
            windowBegan = now
            inWindow = 0
        }
        return isDense && establishing == 0 && now >= hastyUntil && taken < Self.plenty ? Self.pause : nil
    }
}
