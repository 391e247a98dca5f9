/// The queue of one monitored item: a ring that grows up to its size and then drops what the client asked to drop.
///
/// Overflow as Part 4, 5.12.1.5 says: with `discardOldest` the oldest sample goes and the one that is then the oldest
/// carries the Overflow bit; without it the newest is replaced by the sample that comes, which carries the bit. A queue
/// of one always holds the newest sample and sets no bit.
struct SampleQueue: Sendable {
    private var ring: [Sample] = []
    private var head = 0
    private(set) var count = 0
    let size: Int
    let discardsOldest: Bool

    init(size: Int, discardsOldest: Bool) {
        self.size = max(1, size)
        self.discardsOldest = discardsOldest
    }

    var isEmpty: Bool { count == 0 }

    /// True when a sample was lost for it.
    @inline(__always)
    mutating func append(_ sample: Sample) -> Bool {
        if count == size { return overflow(sample) }
        if count == ring.count { grow() }
        var tail = head + count
        if tail >= ring.count { tail -= ring.count }
        ring[tail] = sample
        count += 1
        return false
    }

    @inline(__always)
    mutating func popFirst() -> Sample? {
        guard count > 0 else { return nil }
        let sample = ring[head]
        head += 1
        if head == ring.count { head = 0 }
        count -= 1
        return sample
    }

    private mutating func overflow(_ sample: Sample) -> Bool {
        if size == 1 {
            ring[head] = sample
        } else if discardsOldest {
            _ = popFirst()
            ring[head].status |= Sample.overflow
            _ = append(sample)
        } else {
            let tail = (head + count - 1) % ring.count
            ring[tail] = sample
            ring[tail].status |= Sample.overflow
        }
        return true
    }

    private mutating func grow() {
        var larger: [Sample] = []
        let capacity = min(size, max(4, ring.count * 2))
        larger.reserveCapacity(capacity)
        for index in 0..<count { larger.append(ring[(head + index) % ring.count]) }
        larger.append(contentsOf: repeatElement(.none, count: capacity - count))
        ring = larger
        head = 0
    }
}
