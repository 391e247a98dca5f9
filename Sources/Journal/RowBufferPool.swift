import Synchronization

/// Empty ``RowBuffer``s for the next notification, so that steady operation allocates nothing. Bounded three times: at most
/// `maximumCount` buffers wait, of `maximumBytes` together, and none larger than `maximumCapacity`; what exceeds goes back to
/// the allocator. ``trim()`` gives back what is not needed any more. Any thread.
package final class RowBufferPool: Sendable {
    /// Buffers of about the same size.
    private struct Rack {
        /// The one used last at the end.
        var buffers: [RowBuffer] = []
        /// The fewest there were since the last ``RowBufferPool/trim()``.
        var lowest = 0
    }

    private struct Waiting {
        /// By ``RowBufferPool/rack(holding:)``.
        var racks: [Rack] = []
        var count = 0
        var bytes = 0
    }

    private let waiting = Mutex(Waiting())
    private let maximumCount: Int
    private let maximumBytes: Int
    private let minimumCapacity: Int
    private let maximumCapacity: Int

    /// - Parameters:
    ///   - maximumCount: most buffers kept.
    ///   - maximumBytes: of all buffers kept.
    ///   - minimumCapacity: bytes of rows a new buffer holds before it grows.
    ///   - maximumCapacity: bytes; a larger buffer is not kept. The default holds the 5,000 items of a full subscription.
    package init(
        maximumCount: Int = 1024,
        maximumBytes: Int = 32 << 20,
        minimumCapacity: Int = 1024,
        maximumCapacity: Int = 1 << 20
    ) {
        self.maximumCount = maximumCount
        self.maximumBytes = maximumBytes
        self.minimumCapacity = minimumCapacity
        self.maximumCapacity = maximumCapacity
    }

    /// An empty buffer, owned by the caller from now on: the one used last, whose memory is warm.
    /// - Parameter capacity: bytes of rows it holds, at least, without growing. It is not much larger, because a record stays
    ///   in memory until it is stored, with all of its buffer.
    package func take(capacity: Int = 0) -> RowBuffer {
        let wanted = Self.rack(for: max(capacity, minimumCapacity))
        let buffer = waiting.withLock { waiting -> RowBuffer? in
            // Up to twice as large.
            for rack in wanted..<max(wanted, min(wanted + 4, waiting.racks.count)) {
                guard let buffer = waiting.racks[rack].buffers.popLast() else { continue }
                waiting.racks[rack].lowest = min(waiting.racks[rack].lowest, waiting.racks[rack].buffers.count)
                waiting.count -= 1
                waiting.bytes -= buffer.capacity
                return buffer
            }
            return nil
        }
        return buffer ?? RowBuffer(capacity: Self.capacity(of: wanted))
    }

    /// Gives a buffer back: the caller must not touch it any more.
    package func put(_ buffer: RowBuffer) {
        let capacity = buffer.capacity
        guard capacity <= maximumCapacity else { return }
        buffer.removeAll()
        let rack = Self.rack(holding: capacity)
        waiting.withLock { waiting in
            guard waiting.count < maximumCount, waiting.bytes + capacity <= maximumBytes else { return }
            while waiting.racks.count <= rack { waiting.racks.append(Rack()) }
            waiting.racks[rack].buffers.append(buffer)
            waiting.count += 1
            waiting.bytes += capacity
        }
    }

    /// Frees the buffers that nobody has taken since the last call, so that one burst does not stay resident for ever. For now
    /// and then.
    package func trim() {
        let surplus = waiting.withLock { waiting in
            var surplus: [RowBuffer] = []
            for rack in waiting.racks.indices {
                let idle = waiting.racks[rack].lowest
                surplus += waiting.racks[rack].buffers.prefix(idle)
                waiting.racks[rack].buffers.removeFirst(idle)
                waiting.racks[rack].lowest = waiting.racks[rack].buffers.count
            }
            waiting.count -= surplus.count
            waiting.bytes -= surplus.reduce(0) { $0 + $1.capacity }
            return surplus
        }
        // Here, not under the lock.
        _ = surplus
    }

    /// Buffers waiting.
    package var count: Int { waiting.withLock { $0.count } }

    // MARK: Sizes

    // Four racks for each doubling: rack 4k + m holds buffers of (4 + m) · 2^k bytes and more, up to the next.

    /// The bytes that a buffer in `rack` holds at least.
    static func capacity(of rack: Int) -> Int { (4 + rack & 3) << (rack >> 2) }

    /// The rack of a buffer that holds `capacity` bytes.
    static func rack(holding capacity: Int) -> Int {
        let capacity = max(capacity, 4)
        let shift = Int.bitWidth - 3 - capacity.leadingZeroBitCount
        return 4 * shift + (capacity >> shift) - 4
    }

    /// The first rack whose buffers all hold `capacity` bytes.
    static func rack(for capacity: Int) -> Int {
        let rack = rack(holding: capacity)
        return Self.capacity(of: rack) >= capacity ? rack : rack + 1
    }
}
