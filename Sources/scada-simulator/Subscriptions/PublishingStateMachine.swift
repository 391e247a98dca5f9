/// When a subscription says what (the state table of Part 4, 5.13.1.2): its publishing timer, keep-alive and life time.
///
/// A value: the caller tells what happened and does what is answered.
struct PublishingStateMachine: Equatable, Sendable {
    enum Action: Equatable, Sendable {
        case none
        case sendNotifications
        case sendKeepAlive
        /// The client asked for nothing for the whole life time: delete the subscription.
        case expire
    }

    var keepAliveCount: UInt32
    var lifetimeCount: UInt32
    /// Cycles since something was sent.
    private(set) var silentCycles: UInt32 = 0
    /// Cycles in a row that found no Publish request.
    private(set) var deafCycles: UInt32 = 0
    /// Something is to be said and no Publish request was there to say it (state LATE).
    private(set) var isLate = false
    /// The first cycle speaks even when there is nothing to report (Part 4, table 84, row 8).
    private var hasSpoken = false

    init(keepAliveCount: UInt32, lifetimeCount: UInt32) {
        self.keepAliveCount = keepAliveCount
        self.lifetimeCount = lifetimeCount
    }

    /// The publishing timer fired.
    /// - Parameters:
    ///   - hasNotifications: there are notifications and publishing is enabled.
    ///   - hasRequest: a Publish request waits in the session.
    mutating func timerFired(hasNotifications: Bool, hasRequest: Bool) -> Action {
        if hasRequest { deafCycles = 0 } else { deafCycles += 1 }
        if deafCycles >= lifetimeCount { return .expire }
        silentCycles = min(silentCycles + 1, keepAliveCount)
        if hasNotifications {
            if hasRequest { return .sendNotifications }
            isLate = true
        } else if !hasSpoken || silentCycles >= keepAliveCount {
            if hasRequest { return .sendKeepAlive }
            isLate = true
        }
        return .none
    }

    /// A Publish request came and this subscription is the next to be served.
    mutating func requestArrived(hasNotifications: Bool) -> Action {
        guard isLate else { return .none }
        return hasNotifications ? .sendNotifications : .sendKeepAlive
    }

    /// A message of this subscription went out.
    /// - Parameter more: further notifications wait for the next request.
    mutating func sent(more: Bool) {
        hasSpoken = true
        silentCycles = 0
        // A request that is used at once, because something was late, is never there when the timer fires.
        deafCycles = 0
        isLate = more
    }

    /// Any call about this subscription shows that its client is alive (Part 4, 5.13.1.2).
    mutating func clientIsAlive() { deafCycles = 0 }
}
