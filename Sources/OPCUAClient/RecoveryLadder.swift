/// What to try after a break, in this order, each step only when the one before is refused:
/// the old session on a new channel; a new session with the old subscriptions; everything new.
package struct RecoveryLadder: Sendable, Equatable {
    package enum Step: Int, Sendable, Comparable {
        /// New channel, ActivateSession of the old session, Republish (Part 4, 5.7.3).
        case reactivate
        /// New session, TransferSubscriptions, Republish (Part 4, 5.14.7).
        case transfer
        /// New session, new subscriptions.
        case recreate

        package static func < (left: Step, right: Step) -> Bool { left.rawValue < right.rawValue }
    }

    private var hasSession = false
    private var hasSubscriptions = false
    /// The step the present connection was recovered with, until a notification proves that it worked.
    private var unproven: Step?
    /// Steps below this one were tried and brought nothing.
    private var floor = Step.reactivate

    package init(restoredSubscriptions: Bool = false) { hasSubscriptions = restoredSubscriptions }

    /// The step to begin with on a new channel.
    package var first: Step {
        guard hasSubscriptions else { return .recreate }
        if mayReuseSession { return .reactivate }
        return floor <= .transfer ? .transfer : .recreate
    }

    /// Also where only new subscriptions help, the session need not be a new one: servers have few.
    package var mayReuseSession: Bool { hasSession && floor <= .reactivate }

    /// The server refused `step` for good (not: the connection broke meanwhile).
    /// - Returns: the step to try next.
    package mutating func refused(_ step: Step) -> Step {
        switch step {
        case .reactivate: hasSession = false
        case .transfer, .recreate: hasSubscriptions = false
        }
        return first
    }

    /// `step` was accepted: session and, except where new ones are being made, subscriptions stand.
    package mutating func accepted(_ step: Step) {
        hasSession = true
        unproven = step
        if step == .recreate { hasSubscriptions = false }
    }

    /// Subscriptions exist in the session.
    package mutating func subscribed() { hasSubscriptions = true }

    /// A PublishResponse came for every subscription: the recovery worked.
    package mutating func proven() {
        unproven = nil
        floor = .reactivate
    }

    /// The connection broke.
    /// - Parameter silent: by the watchdog. A recovery after which nothing was published is not tried again: a server
    ///   that takes the session back and then stays silent must not keep us in this loop.
    package mutating func broke(silent: Bool) {
        guard let unproven else { return }
        if silent && unproven != .recreate { floor = Step(rawValue: unproven.rawValue + 1) ?? .recreate }
        self.unproven = nil
    }

    /// The session was closed or given up.
    package mutating func sessionGone() { hasSession = false }
    /// The server said that it does not know the subscriptions.
    package mutating func subscriptionsGone() { hasSubscriptions = false }
}
