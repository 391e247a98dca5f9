import FoundationEssentials

@testable import Journal

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Records whose every byte follows from their number, so that what comes back can be checked without remembering it.
enum Sample {
    static func payload(_ number: UInt32, bytes: Int) -> [UInt8] {
        var random = SeededGenerator(seed: UInt64(number) &* 0x9E37 &+ 1)
        return Array(unsafeUninitializedCapacity: bytes + 8) { payload, count in
            let raw = UnsafeMutableRawBufferPointer(payload)
            for place in stride(from: 0, to: bytes, by: 8) {
                raw.storeBytes(of: random.next().littleEndian, toByteOffset: place, as: UInt64.self)
            }
            count = bytes
        }
    }

    static func header(_ number: UInt32, rows: UInt32) -> RecordHeader {
        RecordHeader(
            kind: RecordKind(rawValue: UInt8(truncatingIfNeeded: number % 7)),
            rowCount: rows,
            source: UUID(number: UInt8(truncatingIfNeeded: number)),
            subscriptionID: number / 100,
            sequenceNumber: number,
            receivedAtMicroseconds: Int64(number) * 1000,
            earliestMicroseconds: Int64(number) * 1000 - 7,
            latestMicroseconds: -Int64(number)
        )
    }

    static func record(_ number: UInt32, rows: UInt32 = 3, bytes: Int = 36) -> JournalRecord {
        let buffer = RowBuffer(capacity: bytes)
        payload(number, bytes: bytes).withUnsafeBytes { buffer.append($0, rows: Int(rows)) }
        return JournalRecord(header: header(number, rows: rows), rows: buffer)
    }

    /// Whether these are, but for the positions, header and payload of some record that ``record(_:rows:bytes:)`` made.
    static func isGenuine(_ header: RecordHeader, _ payload: UnsafeRawBufferPointer) -> Bool {
        var expected = self.header(header.sequenceNumber, rows: header.rowCount)
        expected.position = header.position
        expected.endPosition = header.endPosition
        guard header == expected else { return false }
        return Self.payload(header.sequenceNumber, bytes: payload.count).withUnsafeBytes { expected in
            guard let left = expected.baseAddress, let right = payload.baseAddress else { return true }
            return memcmp(left, right, payload.count) == 0
        }
    }
}

/// A record as a reader saw it.
struct Seen: Equatable, CustomStringConvertible {
    var number: UInt32
    var start: Int64
    var end: Int64

    init(_ header: RecordHeader) {
        number = header.sequenceNumber
        start = header.position.rawValue
        end = header.endPosition.rawValue
    }

    init(_ number: UInt32, _ start: Int64, _ end: Int64) {
        self.number = number
        self.start = start
        self.end = end
    }

    var description: String { "#\(number)@\(start)..<\(end)" }
}

extension TenantJournal {
    /// Appends samples, which must not have to wait, and returns where each lies.
    @discardableResult
    func fill(_ numbers: ClosedRange<UInt32>, rows: UInt32 = 3, bytes: Int = 36) throws -> [Seen] {
        try numbers.map { number in
            let record = Sample.record(number, rows: rows, bytes: bytes)
            let length = Int64(record.encodedLength)
            guard let end = try appendIfPossible(record)?.rawValue else { throw WouldWait(number: number) }
            return Seen(number, end - length, end)
        }
    }

    /// Everything durable from `position` on.
    func readAll(
        from position: JournalPosition = .start,
        upTo: JournalPosition = .highest,
        maximumBytes: Int = .max
    ) throws -> (records: [Seen], genuine: Bool, next: JournalPosition) {
        var records: [Seen] = []
        var genuine = true
        let next = try JournalReader(journal: self, pins: false)
            .read(from: position, upTo: upTo, maximumBytes: maximumBytes) { header, payload in
                records.append(Seen(header))
                genuine = genuine && Sample.isGenuine(header, payload)
            }
        return (records, genuine, next)
    }
}

struct WouldWait: Error {
    var number: UInt32
}
