import NIOCore
import Synchronization

/// Lets work onto an event loop until it is about to shut down: a status that took too long must not be handed to a loop that
/// is no more, which NIO punishes.
final class EventLoopGate: Sendable {
    private let isOpen = Mutex(true)

    /// Runs the body on the loop, or never.
    func execute(on eventLoop: any EventLoop, _ body: @escaping @Sendable () -> Void) {
        isOpen.withLock { isOpen in
            if isOpen { eventLoop.execute(body) }
        }
    }

    func close() { isOpen.withLock { $0 = false } }
}
