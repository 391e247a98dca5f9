import CChecksum
import FoundationEssentials

/// The first bytes of a segment file. They stand there twice, each copy with its own checksum, so that one damaged bit
/// does not cost the segment.
///
/// | offset in the copy | | |
/// |---|---|---|
/// | 0 | 8 bytes | "SCADAJNL" |
/// | 8 | UInt32 | format version |
/// | 12 | UInt32 | bytes of the whole header: where records start |
/// | 16, 32 | 16 bytes each | journal id, tenant id |
/// | 48 | UInt64 | segment index, counting up by one |
/// | 56 | Int64 | position of the first record |
/// | 64 | Int64 | where the segment before ended: a position between that and the base was skipped on purpose |
/// | 72 | Int64 | created, microseconds since 1970 |
/// | 124 | UInt32 | CRC-32C of the copy's bytes before |
struct SegmentHeader: Equatable {
    static let magic: StaticString = "SCADAJNL"
    static let version: UInt32 = 1
    static let copySize = 128
    static let size = 256

    var journalID: UUID
    var tenantID: UUID
    var index: UInt64
    var base: Int64
    var previousEnd: Int64
    var createdAtMicroseconds: Int64

    enum Decoded: Equatable {
        case valid(SegmentHeader)
        /// Written by a later version of this program.
        case futureVersion(UInt32)
        /// A segment's header, but neither copy is intact.
        case damaged
        /// Nothing this program wrote.
        case foreign
    }

    func encoded() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Self.size)
        bytes.withUnsafeMutableBytes { whole in
            for start in [0, Self.copySize] {
                let copy = UnsafeMutableRawBufferPointer(rebasing: whole[start..<start + Self.copySize])
                Self.magic.withUTF8Buffer { copy.copyBytes(from: $0) }
                copy.store(Self.version, at: 8)
                copy.store(UInt32(Self.size), at: 12)
                copy.storeBytes(of: journalID.uuid, toByteOffset: 16, as: uuid_t.self)
                copy.storeBytes(of: tenantID.uuid, toByteOffset: 32, as: uuid_t.self)
                copy.store(index, at: 48)
                copy.store(base, at: 56)
                copy.store(previousEnd, at: 64)
                copy.store(createdAtMicroseconds, at: 72)
                copy.store(cchecksum_crc32c(0, copy.baseAddress, 124), at: 124)
            }
        }
        return bytes
    }

    /// - Parameter bytes: the file's first ``size`` bytes, or all of a shorter file.
    static func decode(_ bytes: UnsafeRawBufferPointer) -> Decoded {
        guard bytes.count >= size else {
            // A file cut off inside its header (power loss while it was made) has what there is of the magic, or zeros.
            let start = UnsafeRawBufferPointer(rebasing: bytes.prefix(8))
            return hasMagic(start) || start.allSatisfy { $0 == 0 } ? .damaged : .foreign
        }
        let copies = [0, copySize].map { UnsafeRawBufferPointer(rebasing: bytes[$0..<$0 + copySize]) }
        for copy in copies {
            if let header = decodeCopy(copy) { return .valid(header) }
        }
        let versions = copies.filter(hasMagic).map { $0.load(UInt32.self, at: 8) }
        if versions.isEmpty { return bytes.allSatisfy { $0 == 0 } ? .damaged : .foreign }
        // Only the magic and the version field are promised to stay where they are; a single flipped bit never looks like
        // a future version, because the other copy is then intact.
        if let version = versions.first(where: { $0 > Self.version }) { return .futureVersion(version) }
        return .damaged
    }

    private static func hasMagic(_ bytes: UnsafeRawBufferPointer) -> Bool {
        magic.withUTF8Buffer { magic in
            zip(magic, bytes).allSatisfy { $0 == $1 }
        }
    }

    private static func decodeCopy(_ copy: UnsafeRawBufferPointer) -> SegmentHeader? {
        guard hasMagic(copy), copy.load(UInt32.self, at: 124) == cchecksum_crc32c(0, copy.baseAddress, 124),
            copy.load(UInt32.self, at: 8) == version, copy.load(UInt32.self, at: 12) == UInt32(size)
        else { return nil }
        let header = SegmentHeader(
            journalID: UUID(uuid: copy.loadUnaligned(fromByteOffset: 16, as: uuid_t.self)),
            tenantID: UUID(uuid: copy.loadUnaligned(fromByteOffset: 32, as: uuid_t.self)),
            index: copy.load(UInt64.self, at: 48),
            base: copy.load(Int64.self, at: 56),
            previousEnd: copy.load(Int64.self, at: 64),
            createdAtMicroseconds: copy.load(Int64.self, at: 72)
        )
        let positions = 0...JournalPosition.highest.rawValue
        guard positions.contains(header.base), positions.contains(header.previousEnd), header.index < 1 << 62 else {
            return nil
        }
        return header
    }
}
