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

/// Everything the hot path needs of a tag, in one piece of memory: a cache line. With tens of thousands of tags each value's
/// tag has left the cache since its last value, and what is touched of it is what the value costs.
struct TagSlot {
    /// The row up to the timestamp's bytes; nil where the handle stands for no tag.
    var prefix: UnsafeMutableRawPointer?
    var prefixLength: Int32
    /// Bits of ``Flag``; zero on the fast path.
    var flags: UInt32
    var now: TagState
    /// The notification in which `now` was last changed.
    var epoch: UInt64
    /// Readings received: of ``TagTable/Counts``.
    var received: UnsafeMutablePointer<Atomic<UInt64>>

    /// One more. Only the event loop's thread writes.
    @inline(__always)
    func countReading() {
        received.pointee.store(received.pointee.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
    }

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
package final class TagTable {
    /// Readings received by tag; read by any thread.
    final class Counts: Sendable {
        private let chunks = Mutex<[Chunk]>([])
        static let chunkSize = 128

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

    /// States as they were before the present notification, of the tags it has changed so far: at most one for each tag.
    private struct Undo {
        var entries: UnsafeMutablePointer<(handle: Int, state: TagState)>
        var count = 0
        var capacity: Int
    }

    private(set) var slots: UnsafeMutablePointer<TagSlot>
    /// Behind a pointer, so that noting a state costs no exclusivity check.
    private let undo: UnsafeMutablePointer<Undo>
    private var prefixes = PrefixStore()
    /// Handles are below this.
    private(set) var count = 0
    private var capacity: Int
    private var keys: [TagKey?] = []
    private var handles: [TagKey: UInt32] = [:]
    private(set) var epoch: UInt64 = 1
    let counts = Counts()
    /// Keeps the counters alive that the slots point to.
    private var countChunks: [Counts.Chunk] = []

    package init() {
        capacity = 64
        slots = TagTable.allocate(capacity)
        undo = .allocate(capacity: 1)
        undo.initialize(to: Undo(entries: .allocate(capacity: 16), capacity: 16))
    }

    deinit {
        slots.deallocate()
        undo.pointee.entries.deallocate()
        undo.deallocate()
        prefixes.deallocate()
    }

    /// None of them lies on two cache lines.
    private static func allocate(_ capacity: Int) -> UnsafeMutablePointer<TagSlot> {
        UnsafeMutableRawPointer.allocate(byteCount: capacity * MemoryLayout<TagSlot>.stride, alignment: 64)
            .bindMemory(to: TagSlot.self, capacity: capacity)
    }

    // MARK: Tags

    /// The handle of a tag, made when there is none yet.
    package func handle(for key: TagKey) -> UInt32 {
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
        let prefix = prefixes.add(key)
        slots[Int(handle)].prefix = prefix.baseAddress
        slots[Int(handle)].prefixLength = Int32(prefix.count)
        keys[Int(handle)] = key
        handles[key] = handle
    }

    private func grow(to wanted: Int) {
        if wanted > capacity {
            let larger = max(wanted, capacity * 2)
            let moved = TagTable.allocate(larger)
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
                    now: TagState(),
                    epoch: 0,
                    received: countChunks[chunk].values + index
                )
            )
            count += 1
        }
        while keys.count < count { keys.append(nil) }
    }

    // MARK: Notifications

    /// The changes from here on belong to a new notification; those before stand.
    func begin() {
        epoch &+= 1
        undo.pointee.count = 0
    }

    /// The present notification is about to change the tag's state.
    @inline(__always)
    func willChange(_ slot: UnsafeMutablePointer<TagSlot>) {
        guard slot.pointee.epoch != epoch else { return }
        slot.pointee.epoch = epoch
        if undo.pointee.count == undo.pointee.capacity { growUndo() }
        (undo.pointee.entries + undo.pointee.count).initialize(to: (slot - slots, slot.pointee.now))
        undo.pointee.count &+= 1
    }

    @inline(never)
    private func growUndo() {
        let larger = undo.pointee.capacity * 2
        let moved = UnsafeMutablePointer<(handle: Int, state: TagState)>.allocate(capacity: larger)
        moved.moveInitialize(from: undo.pointee.entries, count: undo.pointee.count)
        undo.pointee.entries.deallocate()
        undo.pointee.entries = moved
        undo.pointee.capacity = larger
    }

    /// Takes back what the present notification changed.
    func revert() {
        for index in 0..<undo.pointee.count {
            let (handle, state) = undo.pointee.entries[index]
            slots[handle].now = state
            slots[handle].epoch = 0
            if state == TagState() { slots[handle].flags |= TagSlot.Flag.isUnknown }
        }
        undo.pointee.count = 0
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
