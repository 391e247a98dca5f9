package import Journal
package import NIOCore
import Synchronization

/// The intakes of one tenant on one event loop whose connections wait until something is durable.
///
/// Few do: as a rule an intake looks when its next notification comes, see ``NotificationConsumer/acknowledgeDurable()``. A sync
/// may be what a thousand wait for; their event loop is told once. The list belongs to the event loop, which is why the class may be
/// `@unchecked Sendable`.
package final class DurabilityQueue: @unchecked Sendable {
    private let eventLoop: any EventLoop
    private var waiting: [ConnectionIntake] = []
    private let isAnyoneWaiting = Atomic(false)

    package init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    /// On the event loop; once until the intake's turn is over.
    func add(_ intake: ConnectionIntake) {
        waiting.append(intake)
        if waiting.count == 1 { isAnyoneWaiting.store(true, ordering: .releasing) }
    }

    /// The journal's records up to `position` are on the disk. Any thread.
    package func journalIsDurable(upTo position: JournalPosition) {
        guard isAnyoneWaiting.load(ordering: .acquiring) else { return }
        eventLoop.execute { self.acknowledge(upTo: position) }
    }

    private func acknowledge(upTo position: JournalPosition) {
        // An intake that still waits adds itself again.
        let asked = waiting
        waiting.removeAll(keepingCapacity: true)
        isAnyoneWaiting.store(false, ordering: .releasing)
        for intake in asked { intake.isTurn(upTo: position) }
    }
}
