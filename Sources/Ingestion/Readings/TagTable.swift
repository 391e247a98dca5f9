package import FoundationEssentials
import Synchronization

/// A tag as the intake knows it: what its rows begin with.
package struct TagKey: Hashable, Sendable {
    package var wellID: UUID
    /// The node id in text form, as configured and as stored in `tag_node_id`.
    package var nodeID: String

    package init(wellID: UUID, nodeID: String) {
        self.wellID = wellID
        self.nodeID = nodeID
    }
}

/// Everything the hot path needs of a tag, in one piece of memory.
struct TagSlot {
    /// The row up to the timestamp's bytes; nil where the handle stands for no tag.
    var prefix: UnsafeMutableRawPointer?
    var prefixLength: Int32
    /// Bits of ``Flag``; zero on the fast path.
    var flags: UInt32
    /// The state before the notification `epoch`, and the state now.
    var before: TagState
    var now: TagState
    /// The notification in which `now` was last changed.
    var epoch: UInt64
    /// Readings received: of ``TagTable/Counts``.
    var received: UnsafeMutablePointer<Atomic<UInt64>>

    /// The row's first bytes: see ``RowFormat/prefix(of:)``.
    var rowPrefix: UnsafeRawBufferPointer? {
        prefix.map { UnsafeRawBufferPointer(start: $0, count: Int(prefixLength)) }
    }

    enum Flag {
        /// The server refused the deadband: values within it are left out here.
        static let filtersDeadband: UInt32 = 1
        /// The first value after a break is still to come.
        static let awaitsFirst: UInt32 = 2
        /// Nothing is known of an earlier reading.
        static let isUnknown: UInt32 = 4
    }
}

/// The tags of a connection, by client handle.
///
/// Belongs to the connection's event loop, which alone touches it, but for ``Counts``. A notification either changes the
/// states of all its tags or of none: ``begin()`` starts one, ``revert()`` takes it back.
final class TagTable {
    /// Readings received by tag; read by any thread.
    final class Counts: Sendable {
        private let chunks = Mutex<[Chunk]>([])
        static let chunkSize = 1024

        final class Chunk: @unchecked Sendable {
            let values: UnsafeMutablePointer<Atomic<UInt64>>
            init() {
                values = .allocate(capacity: Counts.chunkSize)
                for index in 0..<Counts.chunkSize { (values + index).initialize(to: Atomic(0)) }
            }
            deinit {
                values.deinitialize(count: Counts.chunkSize)
                values.deallocate()
            }
        }

        func grow(to count: Int) -> [Chunk] {
            chunks.withLock { chunks in
                while chunks.count * Self.chunkSize < count { chunks.append(Chunk()) }
                return chunks
            }
        }

        func value(_ handle: Int) -> UInt64 {
            chunks.withLock { chunks in
                let (chunk, index) = handle.quotientAndRemainder(dividingBy: Self.chunkSize)
                return chunk < chunks.count ? chunks[chunk].values[index].load(ordering: .relaxed) : 0
            }
        }

        /// The counts of the first `count` handles, 0 where there is none yet.
        func copy(_ count: Int, into values: inout [UInt64]) {
            let chunks = chunks.withLock { $0 }
            values.removeAll(keepingCapacity: true)
            for handle in 0..<count {
                let (chunk, index) = handle.quotientAndRemainder(dividingBy: Self.chunkSize)
                values.append(chunk < chunks.count ? chunks[chunk].values[index].load(ordering: .relaxed) : 0)
            }
        }
    }

    private(set) var slots: UnsafeMutablePointer<TagSlot>
    /// Handles are below this.
    private(set) var count = 0
    private var capacity: Int
    private var keys: [TagKey?] = []
    private var handles: [TagKey: UInt32] = [:]
    private(set) var epoch: UInt64 = 1
    let counts = Counts()
    /// Keeps the counters alive that the slots point to.
    private var countChunks: [Counts.Chunk] = []

    init() {
        capacity = 64
        slots = .allocate(capacity: capacity)
    }

    deinit {
        for handle in 0..<count { slots[handle].prefix?.deallocate() }
        slots.deallocate()
    }

    // MARK: Tags

    /// The handle of a tag, made when there is none yet.
    func handle(for key: TagKey) -> UInt32 {
        if let known = handles[key] { return known }
        // A handle is never used for another tag within a run: late notifications of a removed item must not be
        // attributed to a new one.
        let handle = UInt32(count)
        assign(handle, to: key)
        return handle
    }

    /// Takes over a handle of an earlier run, under which a subscription still at the server may report.
    func restore(_ handle: UInt32, for key: TagKey) {
        guard handles[key] == nil, handle < 1 << 24 else { return }
        if handle < count, slots[Int(handle)].prefix != nil { return }
        assign(handle, to: key)
    }

    func existingHandle(for key: TagKey) -> UInt32? { handles[key] }

    func key(of handle: UInt32) -> TagKey? { Int(handle) < keys.count ? keys[Int(handle)] : nil }

    var allHandles: [(key: TagKey, handle: UInt32)] { handles.map { ($0.key, $0.value) } }

    private func assign(_ handle: UInt32, to key: TagKey) {
        grow(to: Int(handle) + 1)
        let prefix = RowFormat.prefix(of: key)
        slots[Int(handle)].prefix = prefix.baseAddress
        slots[Int(handle)].prefixLength = Int32(prefix.count)
        keys[Int(handle)] = key
        handles[key] = handle
    }

    private func grow(to wanted: Int) {
        if wanted > capacity {
            let larger = max(wanted, capacity * 2)
            let moved = UnsafeMutablePointer<TagSlot>.allocate(capacity: larger)
            moved.moveInitialize(from: slots, count: count)
            slots.deallocate()
            slots = moved
            capacity = larger
        }
        countChunks = counts.grow(to: wanted)
        while count < wanted {
            let (chunk, index) = count.quotientAndRemainder(dividingBy: Counts.chunkSize)
            (slots + count).initialize(
                to: TagSlot(
                    prefix: nil,
                    prefixLength: 0,
                    flags: TagSlot.Flag.isUnknown,
                    before: TagState(),
                    now: TagState(),
                    epoch: 0,
                    received: countChunks[chunk].values + index
                )
            )
            count += 1
        }
        while keys.count < count { keys.append(nil) }
    }

    @inline(__always)
    func addToCount(_ handle: Int) {
        // Only this thread writes.
        let value = slots[handle].received
        value.pointee.store(value.pointee.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
    }

    // MARK: Notifications

    /// The changes from here on belong to a new notification; those before stand.
    func begin() { epoch &+= 1 }

    /// Takes back what the present notification changed.
    func revert() {
        for handle in 0..<count where slots[handle].epoch == epoch {
            slots[handle].now = slots[handle].before
            slots[handle].epoch = 0
            if slots[handle].now == TagState() { slots[handle].flags |= TagSlot.Flag.isUnknown }
        }
    }

    func state(of handle: UInt32) -> TagState? {
        guard Int(handle) < count, slots[Int(handle)].flags & TagSlot.Flag.isUnknown == 0 else { return nil }
        return slots[Int(handle)].now
    }

    func setState(_ state: TagState, of handle: UInt32) {
        guard Int(handle) < count else { return }
        slots[Int(handle)].now = state
        slots[Int(handle)].epoch = 0
        slots[Int(handle)].flags &= ~TagSlot.Flag.isUnknown
    }
}
