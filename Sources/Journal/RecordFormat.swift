import CChecksum
import FoundationEssentials

/// The bytes of a record, little-endian:
///
/// | offset | | |
/// |---|---|---|
/// | 0 | UInt32 | length of the whole record |
/// | 4 | UInt32 | CRC-32C of journal id, position, length and everything from offset 8 |
/// | 8 | UInt8 | kind |
/// | 9 | 3 bytes | zero |
/// | 12 | UInt32 | row count |
/// | 16 | 16 bytes | source |
/// | 32 | UInt32 | subscription id |
/// | 36 | UInt32 | sequence number |
/// | 40, 48, 56 | Int64 | received, earliest, latest: microseconds since 1970 |
/// | 64 | | payload |
///
/// The checksum covers the journal's id and the record's position, so that a whole record of another journal, or of
/// this one at another place (a stale block after power loss, a file copied over), is not taken for a record here.
package enum RecordFormat {
    @usableFromInline package static let headerSize = 64

    /// No record is longer, so no length read from a file makes anybody allocate more.
    static let maximumLength = 64 * 1024 * 1024

    /// The part of the checksum that all records of a journal share.
    static func seed(journal: UUID) -> UInt32 {
        withUnsafeBytes(of: journal.uuid) { cchecksum_crc32c(0, $0.baseAddress, $0.count) }
    }

    /// Writes everything but the checksum into the buffer's headroom.
    static func encode(_ header: RecordHeader, into record: UnsafeMutableRawBufferPointer) {
        record.store(UInt32(truncatingIfNeeded: record.count), at: 0)
        record.store(UInt32(0), at: 4)
        record.store(UInt32(header.kind.rawValue), at: 8)
        record.store(header.rowCount, at: 12)
        record.storeBytes(of: header.source.uuid, toByteOffset: 16, as: uuid_t.self)
        record.store(header.subscriptionID, at: 32)
        record.store(header.sequenceNumber, at: 36)
        record.store(header.receivedAtMicroseconds, at: 40)
        record.store(header.earliestMicroseconds, at: 48)
        record.store(header.latestMicroseconds, at: 56)
    }

    /// Writes the record of kind ``RecordKind/end``, checksum and all, into the first ``headerSize`` bytes.
    static func encodeEnd(into bytes: UnsafeMutableRawBufferPointer, seed: UInt32, position: Int64) {
        let record = UnsafeMutableRawBufferPointer(rebasing: bytes[..<headerSize])
        let header = RecordHeader(
            kind: .end,
            rowCount: 0,
            source: UUID(uuid: (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)),
            receivedAtMicroseconds: 0,
            earliestMicroseconds: 0,
            latestMicroseconds: 0
        )
        encode(header, into: record)
        seal(record, seed: seed, position: position)
    }

    static func seal(_ record: UnsafeMutableRawBufferPointer, seed: UInt32, position: Int64) {
        record.store(checksum(of: UnsafeRawBufferPointer(record), seed: seed, position: position), at: 4)
    }

    /// Whether the bytes are, whole, the record written at `position` of the journal that `seed` stands for.
    static func isIntact(_ record: UnsafeRawBufferPointer, seed: UInt32, position: Int64) -> Bool {
        record.count >= headerSize
            && record.load(UInt32.self, at: 4) == checksum(of: record, seed: seed, position: position)
    }

    static func decodeHeader(_ record: UnsafeRawBufferPointer, position: Int64) -> RecordHeader {
        var header = RecordHeader(
            kind: RecordKind(rawValue: record[8]),
            rowCount: record.load(UInt32.self, at: 12),
            source: UUID(uuid: record.loadUnaligned(fromByteOffset: 16, as: uuid_t.self)),
            subscriptionID: record.load(UInt32.self, at: 32),
            sequenceNumber: record.load(UInt32.self, at: 36),
            receivedAtMicroseconds: record.load(Int64.self, at: 40),
            earliestMicroseconds: record.load(Int64.self, at: 48),
            latestMicroseconds: record.load(Int64.self, at: 56)
        )
        header.position = JournalPosition(rawValue: position)
        header.endPosition = JournalPosition(rawValue: position + Int64(record.load(UInt32.self, at: 0)))
        return header
    }

    private static func checksum(of record: UnsafeRawBufferPointer, seed: UInt32, position: Int64) -> UInt32 {
        var crc = withUnsafeBytes(of: position.littleEndian) { cchecksum_crc32c(seed, $0.baseAddress, $0.count) }
        crc = cchecksum_crc32c(crc, record.baseAddress, 4)
        let body = UnsafeRawBufferPointer(rebasing: record[8...])
        return cchecksum_crc32c(crc, body.baseAddress, body.count)
    }
}

extension UnsafeMutableRawBufferPointer {
    /// Little-endian, at any alignment.
    func store<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
    }
}

extension UnsafeRawBufferPointer {
    /// Little-endian, at any alignment.
    func load<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type, at offset: Int) -> T {
        T(littleEndian: loadUnaligned(fromByteOffset: offset, as: T.self))
    }
}
