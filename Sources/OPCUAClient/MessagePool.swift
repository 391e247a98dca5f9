import NIOCore
import Synchronization

/// Empty memory for messages of several chunks, of all connections together: the memory held does not grow with their number,
/// and a burst of messages finds what the last one left. Of large blocks only, which an allocator gives back to the system at
/// once and gets back as pages to be cleared. Bounded in count and bytes; what exceeds goes back to the allocator. Any thread.
final class MessagePool: Sendable {
    static let shared = MessagePool()

    private struct Waiting {
        var buffers: [ByteBuffer] = []
        var bytes = 0
    }

    private let waiting = Mutex(Waiting())
    private let maximumCount: Int
    private let maximumBytes: Int
    private let capacities: ClosedRange<Int>

    /// - Parameters:
    ///   - maximumCount: most buffers kept.
    ///   - maximumBytes: of all buffers kept.
    ///   - capacities: bytes; a buffer of another size is not kept.
    init(maximumCount: Int = 24, maximumBytes: Int = 6 << 20, capacities: ClosedRange<Int> = 96 << 10...1 << 20) {
        self.maximumCount = maximumCount
        self.maximumBytes = maximumBytes
        self.capacities = capacities
    }

    /// An empty buffer, the one used last, whose memory is warm.
    /// - Parameter capacity: bytes that a new one has room for.
    func take(capacity: Int) -> ByteBuffer {
        let buffer = waiting.withLock { waiting -> ByteBuffer? in
            guard let buffer = waiting.buffers.popLast() else { return nil }
            waiting.bytes -= buffer.storageCapacity
            return buffer
        }
        return buffer ?? ByteBufferAllocator().buffer(capacity: capacity)
    }

    /// Whether a message of this size is one that ``put(_:)`` takes back.
    func keeps(_ message: ByteBuffer) -> Bool { capacities.contains(message.storageCapacity) }

    /// Takes back a message that is done with, and leaves an empty one. Memory that somebody else still refers to is left alone.
    func put(_ message: inout ByteBuffer) {
        guard capacities.contains(message.storageCapacity) else { return }
        // Keeps its memory only where nobody else refers to it.
        message.clear(minimumCapacity: 0)
        let capacity = message.storageCapacity
        guard capacities.contains(capacity) else { return }
        let kept = message
        message = ByteBuffer()
        waiting.withLock { waiting in
            guard waiting.buffers.count < maximumCount, waiting.bytes + capacity <= maximumBytes else { return }
            waiting.buffers.append(kept)
            waiting.bytes += capacity
        }
    }

    /// Buffers waiting.
    var count: Int { waiting.withLock { $0.buffers.count } }
}
