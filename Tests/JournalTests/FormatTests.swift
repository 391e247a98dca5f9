import CChecksum
import FoundationEssentials
import Testing

@testable import Journal

@Suite struct FormatTests {
    // MARK: Segment header

    static let header = SegmentHeader(
        journalID: UUID(number: 7),
        tenantID: UUID(number: 8),
        index: 0x0102_0304_0506_0708,
        base: 0x1112_1314_1516_1718,
        previousEnd: 0x1112_1314_1516_1717,
        createdAtMicroseconds: -2
    )

    private static func decode(_ bytes: [UInt8]) -> SegmentHeader.Decoded {
        bytes.withUnsafeBytes { SegmentHeader.decode($0) }
    }

    /// The bytes as the table in the source says, put together by hand.
    @Test func segmentHeaderBothWays() {
        var copy = Array("SCADAJNL".utf8)
        copy += [1, 0, 0, 0]
        copy += [0, 1, 0, 0]
        copy += [7, 1, 2, 3, 4, 5, 0x46, 7, 0x88, 9, 10, 11, 12, 13, 14, 7]
        copy += [8, 1, 2, 3, 4, 5, 0x46, 7, 0x88, 9, 10, 11, 12, 13, 14, 8]
        copy += [8, 7, 6, 5, 4, 3, 2, 1]
        copy += [0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11]
        copy += [0x17, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11]
        copy += [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]
        copy += [UInt8](repeating: 0, count: 124 - copy.count)
        let checksum = copy.withUnsafeBytes { cchecksum_crc32c_software(0, $0.baseAddress, $0.count) }
        copy += (0..<4).map { UInt8(truncatingIfNeeded: checksum >> ($0 * 8)) }
        #expect(copy.count == SegmentHeader.copySize)
        #expect(Self.header.encoded() == copy + copy)
        #expect(Self.decode(copy + copy) == .valid(Self.header))
    }

    @Test func oneDamagedCopyCostsNothing() {
        for bit in 0..<SegmentHeader.size * 8 {
            var bytes = Self.header.encoded()
            bytes[bit / 8] ^= 1 << (bit % 8)
            #expect(Self.decode(bytes) == .valid(Self.header), "bit \(bit)")
        }
    }

    @Test func twoDamagedCopiesAreDamage() {
        for byte in 8..<SegmentHeader.copySize {
            // Damage that makes of the version a later one is, in both copies alike, a later version.
            if (8..<12).contains(byte) { continue }
            var bytes = Self.header.encoded()
            bytes[byte] ^= 0x10
            bytes[SegmentHeader.copySize + byte] ^= 0x10
            #expect(Self.decode(bytes) == .damaged, "byte \(byte)")
        }
    }

    @Test func everythingElse() {
        var later = Self.header.encoded()
        later[8] = 2
        later[SegmentHeader.copySize + 8] = 2
        #expect(Self.decode(later) == .futureVersion(2))
        #expect(Self.decode([]) == .damaged)
        #expect(Self.decode([UInt8](repeating: 0, count: 256)) == .damaged)
        #expect(Self.decode([UInt8](repeating: 0, count: 100)) == .damaged)
        #expect(Self.decode(Array(Self.header.encoded()[..<255])) == .damaged)
        #expect(Self.decode(Array("SCAD".utf8)) == .damaged)
        #expect(Self.decode(Array("some text".utf8)) == .foreign)
        #expect(Self.decode([UInt8](repeating: 0x41, count: 300)) == .foreign)
    }

    /// A checksum that is right does not make positions right that arithmetic could not bear.
    @Test(arguments: [(Int64.max, 0, 1), (-1, 0, 1), (0, Int64.max, 1), (0, -1, 1), (0, 0, UInt64.max)])
    func absurdFigures(_ base: Int64, _ previousEnd: Int64, _ index: UInt64) {
        var header = Self.header
        header.base = base
        header.previousEnd = previousEnd
        header.index = index
        #expect(Self.decode(header.encoded()) == .damaged)
    }

    // MARK: Record

    @Test func recordBothWays() {
        let journal = UUID(number: 3)
        let position: Int64 = 0x0102_0304_0506
        let record = Sample.record(0x0A0B_0C0D, rows: 5, bytes: 11)
        RecordFormat.encode(record.header, into: record.rows.record)
        let seed = RecordFormat.seed(journal: journal)
        RecordFormat.seal(record.rows.record, seed: seed, position: position)
        let bytes = [UInt8](record.rows.record)

        func little<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
            withUnsafeBytes(of: value.littleEndian) { [UInt8]($0) }
        }
        let header = record.header
        var body = [header.kind.rawValue, 0, 0, 0] + little(UInt32(5))
        body += withUnsafeBytes(of: header.source.uuid) { [UInt8]($0) }
        body += little(header.subscriptionID) + little(header.sequenceNumber)
        body += little(header.receivedAtMicroseconds) + little(header.earliestMicroseconds)
        body += little(header.latestMicroseconds) + Sample.payload(0x0A0B_0C0D, bytes: 11)
        let covered = withUnsafeBytes(of: journal.uuid) { [UInt8]($0) } + little(position) + little(UInt32(75)) + body
        let checksum = covered.withUnsafeBytes { cchecksum_crc32c_software(0, $0.baseAddress, $0.count) }
        #expect(bytes == little(UInt32(75)) + little(checksum) + body)

        bytes.withUnsafeBytes { bytes in
            #expect(RecordFormat.isIntact(bytes, seed: seed, position: position))
            #expect(!RecordFormat.isIntact(bytes, seed: seed, position: position + 1))
            #expect(
                !RecordFormat.isIntact(bytes, seed: RecordFormat.seed(journal: UUID(number: 4)), position: position)
            )
            #expect(
                !RecordFormat.isIntact(UnsafeRawBufferPointer(rebasing: bytes[..<63]), seed: seed, position: position)
            )
            var expected = header
            expected.position = JournalPosition(rawValue: position)
            expected.endPosition = JournalPosition(rawValue: position + 75)
            #expect(RecordFormat.decodeHeader(bytes, position: position) == expected)
        }
    }

    @Test func everyFlippedBitOfARecordIsNoticed() {
        let record = Sample.record(99, bytes: 40)
        let seed = RecordFormat.seed(journal: UUID(number: 3))
        RecordFormat.encode(record.header, into: record.rows.record)
        RecordFormat.seal(record.rows.record, seed: seed, position: 640)
        for bit in 0..<record.encodedLength * 8 {
            record.rows.record[bit / 8] ^= 1 << (bit % 8)
            #expect(!RecordFormat.isIntact(UnsafeRawBufferPointer(record.rows.record), seed: seed, position: 640))
            record.rows.record[bit / 8] ^= 1 << (bit % 8)
        }
        #expect(RecordFormat.isIntact(UnsafeRawBufferPointer(record.rows.record), seed: seed, position: 640))
    }

    // MARK: Names and identity

    @Test(
        arguments: [
            (0, 0, "0000000000-0000000000000000000.segment"),
            (1, 42, "0000000001-0000000000000000042.segment"),
            (12_345_678_901, 1 << 62, "12345678901-4611686018427387904.segment"),
        ] as [(UInt64, Int64, String)]
    )
    func segmentName(_ index: UInt64, _ base: Int64, _ text: String) {
        #expect(SegmentName(index: index, base: base).fileName == text)
        #expect(SegmentName(text) == SegmentName(index: index, base: base))
        #expect(SegmentName(text + ".512.damaged") == SegmentName(index: index, base: base))
        #expect(SegmentName(text + ".foreign") == SegmentName(index: index, base: base))
    }

    @Test(arguments: [
        "", "x.segment", "1.segment", "1-.segment", "-1.segment", "1-2-3.segment", "1--2.segment", "1-2",
        "1-4611686018427387905.segment", "4611686018427387904-1.segment", "99999999999999999999-1.segment",
        "journal.id",
    ])
    func noSegmentName(_ text: String) {
        #expect(SegmentName(text) == nil)
    }

    @Test func identityBothWays() {
        let identity = JournalIdentity(journalID: UUID(number: 1), tenantID: UUID(number: 2))
        let bytes = identity.encoded()
        #expect(JournalIdentity.decode(bytes) == .valid(identity))
        for bit in 0..<bytes.count * 8 {
            var damaged = bytes
            damaged[bit / 8] ^= 1 << (bit % 8)
            let decoded = JournalIdentity.decode(damaged)
            // A flip that leaves every word as it was may be forgiven; one that changes an id may not.
            #expect(decoded == .damaged || decoded == .valid(identity), "bit \(bit)")
        }
        for length in 0..<bytes.count - 1 {
            #expect(JournalIdentity.decode(Array(bytes[..<length])) == .damaged, "\(length) bytes")
        }
        #expect(JournalIdentity.decode([0xFF, 0xFE, 0]) == .damaged)
    }

    @Test func identityOfALaterVersion() {
        let text = "scada-ingestion journal\nversion 2\nsomething new\n"
        let checksum = Array(text.utf8).withUnsafeBytes { cchecksum_crc32c(0, $0.baseAddress, $0.count) }
        #expect(
            JournalIdentity.decode(Array((text + "crc32c \(String(checksum, radix: 16))\n").utf8)) == .futureVersion(2)
        )
    }
}
