/// The monitored items on one tag.
///
/// Nearly every tag has one or none: that one is held in place, so that an update finds it without another look into
/// memory and without counting references.
struct Watchers {
    private struct Watcher {
        /// Kept alive by its server, which takes it out of here before it lets go of it.
        let subscription: Unmanaged<Subscription>
        let slot: Int
    }

    private var first: Watcher?
    private var others: [Watcher] = []

    var isEmpty: Bool { first == nil }

    mutating func add(_ subscription: Subscription, slot: Int) {
        let watcher = Watcher(subscription: .passUnretained(subscription), slot: slot)
        if first == nil { first = watcher } else { others.append(watcher) }
    }

    mutating func remove(_ subscription: Subscription, slot: Int) {
        func isMeant(_ watcher: Watcher) -> Bool {
            watcher.slot == slot && watcher.subscription.toOpaque() == Unmanaged.passUnretained(subscription).toOpaque()
        }
        others.removeAll(where: isMeant)
        if let found = first, isMeant(found) { first = others.popLast() }
    }

    /// Calls `body` for each item with its subscription and slot.
    @inline(__always)
    func forEach(_ body: (Subscription, Int) -> Void) {
        guard let first else { return }
        first.subscription._withUnsafeGuaranteedRef { body($0, first.slot) }
        for watcher in others { watcher.subscription._withUnsafeGuaranteedRef { body($0, watcher.slot) } }
    }
}
