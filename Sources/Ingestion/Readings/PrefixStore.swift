/// The row prefixes of a connection's tags, one behind the other in the order of their handles: a notification names its
/// items in about that order, so the processor fetches the next prefix before it is asked for.
///
/// A prefix stays where it is until ``deallocate()``.
struct PrefixStore {
    private static let blockSize = 16 << 10
    /// Readable bytes behind every prefix: ``RowFormat/copyPrefix(_:_:to:)`` reads whole words of 16 bytes.
    private static let slack = 15

    private var blocks: [UnsafeMutableRawBufferPointer] = []
    /// Bytes of the last block in use.
    private var used = 0

    /// The prefix of `key`'s rows.
    mutating func add(_ key: TagKey) -> UnsafeMutableRawBufferPointer {
        let prefix = RowFormat.prefix(of: key)
        defer { prefix.deallocate() }
        if blocks.last.map({ $0.count - used < prefix.count + Self.slack }) ?? true {
            // The first blocks are smaller: most connections have few tags.
            let size = min(Self.blockSize, 1024 << min(blocks.count, 10))
            blocks.append(.allocate(byteCount: max(size, prefix.count + Self.slack), alignment: 64))
            used = 0
        }
        let place = UnsafeMutableRawBufferPointer(rebasing: blocks[blocks.count - 1][used..<used + prefix.count])
        place.copyMemory(from: UnsafeRawBufferPointer(prefix))
        used += (prefix.count + 7) & ~7
        return place
    }

    mutating func deallocate() {
        for block in blocks { block.deallocate() }
        blocks = []
        used = 0
    }
}
