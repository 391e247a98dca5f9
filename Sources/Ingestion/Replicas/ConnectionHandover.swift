import FoundationEssentials
import Journal
import TimescaleStore

/// What a connection's next owner must know, as bytes: the journal's own records of it, each with kind and length.
///
/// With it the next owner goes on as the former one would have after a restart: it takes over the subscriptions at the
/// server and recognises values it sends again.
struct ConnectionHandover {
    private static let version: UInt8 = 1

    private(set) var bytes: [UInt8] = [Self.version]

    init() {}

    mutating func add(_ kind: RecordKind, _ payload: RowBuffer) {
        bytes.append(kind.rawValue)
        payload.withUnsafeBytes { content in
            let length = UInt32(content.count)
            for shift in stride(from: 0, to: 32, by: 8) { bytes.append(UInt8(truncatingIfNeeded: length >> shift)) }
            bytes.append(contentsOf: content)
        }
    }

    /// - Returns: nil for what another version wrote, or what is not whole.
    static func decoded(_ bytes: [UInt8], connection id: UUID) -> (TenantMemory.Connection, [Healing])? {
        guard bytes.first == version else { return nil }
        var memory = TenantMemory()
        let isWhole = bytes.withUnsafeBytes { all -> Bool in
            var offset = 1
            while offset < all.count {
                guard offset + 5 <= all.count else { return false }
                let kind = RecordKind(rawValue: all[offset])
                let length = Int(UInt32(littleEndian: all.loadUnaligned(fromByteOffset: offset + 1, as: UInt32.self)))
                offset += 5
                guard length <= all.count - offset else { return false }
                let header = RecordHeader(
                    kind: kind,
                    rowCount: 0,
                    source: id,
                    receivedAtMicroseconds: 0,
                    earliestMicroseconds: 0,
                    latestMicroseconds: 0
                )
                memory.visit(header, UnsafeRawBufferPointer(rebasing: all[offset..<offset + length]))
                offset += length
            }
            return true
        }
        guard isWhole else { return nil }
        let healings = memory.healings.values.filter { $0.gap.connectionID == id }
        return (memory.connection(id), healings.sorted { $0.gap.startedAtMicros < $1.gap.startedAtMicros })
    }
}
