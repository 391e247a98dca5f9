import CProcessor

extension ReadingEncoder {
    /// How many items ahead a tag's slot is fetched, and then what the slot points to.
    private static let slotDistance = 12
    private static let rowDistance = 6
    /// Bytes, on the processors there are.
    private static let cacheLine = 64

    /// Has what the next items' tags need brought near, as if those items were as long as the one that begins `bytes`. Between two
    /// values of a tag other work has pushed it out of the caches, and waiting for it was nine tenths of what decoding took.
    /// Where the guess is wrong, some other tag is fetched, or none.
    @inline(__always)
    static func lookAhead(
        _ bytes: UnsafeRawBufferPointer,
        size: Int,
        isFirst: Bool,
        _ slots: UnsafeMutableBufferPointer<TagSlot>
    ) {
        guard bytes.count > slotDistance * size + 4, let start = bytes.baseAddress, let base = slots.baseAddress else {
            return
        }
        /// Of the handle that the bytes there would be.
        func slot(_ distance: Int) -> UnsafeMutablePointer<TagSlot>? {
            let handle = Int(UInt32(littleEndian: (start + distance * size).loadUnaligned(as: UInt32.self)))
            return handle < slots.count ? base + handle : nil
        }
        if isFirst {
            for distance in 1..<slotDistance {
                if let slot = slot(distance) { cprocessor_prefetch(slot) }
            }
        }
        if let slot = slot(slotDistance) { cprocessor_prefetch(slot) }
        guard let slot = slot(rowDistance), let prefix = slot.pointee.prefix else { return }
        cprocessor_prefetch(prefix)
        cprocessor_prefetch(prefix + cacheLine)
        cprocessor_prefetch(slot.pointee.received)
    }
}
