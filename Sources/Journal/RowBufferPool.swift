import Synchronization

/// Empty ``RowBuffer``s for the next notification, so that steady operation allocates nothing. Bounded twice: at most
/// `maximumCount` buffers wait, and none larger than `maximumCapacity`; what exceeds goes back to the allocator, so that one
/// burst does not stay resident for ever. Any thread.
package final class RowBufferPool: Sendable {
    private let buffers = Mutex<[RowBuffer]>([])
    private let maximumCount: Int
    private let initialCapacity: Int
    private let maximumCapacity: Int

    /// - Parameters:
    ///   - maximumCount: most buffers kept.
    ///   - initialCapacity: bytes of rows a new buffer holds before it grows.
    ///   - maximumCapacity: bytes; a larger buffer is not kept.
    package init(maximumCount: Int = 64, initialCapacity: Int = 16 * 1024, maximumCapacity: Int = 256 * 1024) {
        self.maximumCount = maximumCount
        self.initialCapacity = initialCapacity
        self.maximumCapacity = maximumCapacity
    }

    /// An empty buffer, owned by the caller from now on.
    package func take() -> RowBuffer {
        buffers.withLock { $0.popLast() } ?? RowBuffer(capacity: initialCapacity)
    }

    /// Gives a buffer back: the caller must not touch it any more.
    package func put(_ buffer: RowBuffer) {
        guard buffer.capacity <= maximumCapacity else { return }
        buffer.removeAll()
        buffers.withLock { buffers in
            if buffers.count < maximumCount { buffers.append(buffer) }
        }
    }

    /// Buffers waiting.
    package var count: Int { buffers.withLock { $0.count } }
}
