package import NIOCore
package import NIOPosix
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Applies ``GatheringRule`` to the event loops of a group: give it to the group as its metrics delegate, and each connection
/// its loop's ``LoopPace``.
///
/// The delegate's call comes at the end of every turn, on the loop's thread, right before it waits for events. To sleep there
/// is what NIO warns of, and here what is wanted: what comes meanwhile, sockets, tasks and timers, waits no longer than
/// ``GatheringRule/pause``. So the group should serve nothing but connections to servers and what goes with them.
package final class MessageGathering: NIOEventLoopMetricsDelegate, Sendable {
    private let paces = Mutex<[ObjectIdentifier: LoopPace]>([:])

    package init() {}

    /// The one of `eventLoop`, which must belong to the group.
    package func pace(of eventLoop: any EventLoop) -> LoopPace {
        let key = ObjectIdentifier(eventLoop)
        return paces.withLock { paces in
            let pace = paces[key] ?? LoopPace()
            paces[key] = pace
            return pace
        }
    }

    package func processedTick(info: NIOEventLoopTickInfo) {
        guard let pace = paces.withLock({ $0[info.eventLoopID] }) else { return }
        guard let pause = pace.rule.withLock({ $0.turnEnded(now: info.endTime) }) else { return }
        // A signal ends it early, which does no harm.
        var time = timespec(tv_sec: 0, tv_nsec: Int(pause.nanoseconds))
        nanosleep(&time, nil)
    }
}

/// What the connections of an event loop tell of their messages. Any thread.
package final class LoopPace: Sendable {
    let rule = Mutex(GatheringRule(now: .now()))

    init() {}

    func beganEstablishing() { rule.withLock { $0.beganEstablishing() } }
    func endedEstablishing() { rule.withLock { $0.endedEstablishing() } }

    func received(now: NIODeadline, previous: NIODeadline, more: Bool) {
        rule.withLock { $0.received(now: now, previous: previous, more: more) }
    }
}
