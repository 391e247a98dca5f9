import Synchronization

/// Empty ``RowBuffer``s for the next notification, so that steady operation allocates nothing. Bounded three times: at most
/// `maximumCount` buffers wait, of `maximumBytes` together, and none larger than `maximumCapacity`; what exceeds goes back to
/// the allocator, so that one burst does not stay resident for ever. Any thread.
package final class RowBufferPool: Sendable {
    private struct Waiting {
        var buffers: [RowBuffer] = []
        var bytes = 0
    }

    private let waiting = Mutex(Waiting())
    private let maximumCount: Int
    private let maximumBytes: Int
    private let initialCapacity: Int
    private let maximumCapacity: Int

    /// - Parameters:
    ///   - maximumCount: most buffers kept.
    ///   - maximumBytes: of all buffers kept.
    ///   - initialCapacity: bytes of rows a new buffer holds before it grows.
    ///   - maximumCapacity: bytes; a larger buffer is not kept. The default holds the 5,000 items of a full subscription.
    package init(
        maximumCount: Int = 64,
        maximumBytes: Int = 8 << 20,
        initialCapacity: Int = 16 * 1024,
        maximumCapacity: Int = 1 << 20
    ) {
        self.maximumCount = maximumCount
        self.maximumBytes = maximumBytes
        self.initialCapacity = initialCapacity
        self.maximumCapacity = maximumCapacity
    }

    /// An empty buffer, owned by the caller from now on: the one used last, whose memory is warm.
    package func take() -> RowBuffer {
        let buffer = waiting.withLock { waiting -> RowBuffer? in
            guard let buffer = waiting.buffers.popLast() else { return nil }
            waiting.bytes -= buffer.capacity
            return buffer
        }
        return buffer ?? RowBuffer(capacity: initialCapacity)
    }

    /// Gives a buffer back: the caller must not touch it any more.
    package func put(_ buffer: RowBuffer) {
        let capacity = buffer.capacity
        guard capacity <= maximumCapacity else { return }
        buffer.removeAll()
        waiting.withLock { waiting in
            guard waiting.buffers.count < maximumCount, waiting.bytes + capacity <= maximumBytes else { return }
            waiting.buffers.append(buffer)
            waiting.bytes += capacity
        }
    }

    /// Buffers waiting.
    package var count: Int { waiting.withLock { $0.buffers.count } }
}
