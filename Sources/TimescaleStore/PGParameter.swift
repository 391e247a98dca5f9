package import FoundationEssentials

/// A statement's parameter. Values travel outside the SQL text, so that no content can become SQL.
package enum PGParameter: Sendable {
    case null
    /// Text whose type the server infers from the statement.
    case text(String)
    case int(Int64)
    case double(Double)
    case uuid(UUID)
    case bool(Bool)
    /// `timestamptz`, microseconds since 2000-01-01 UTC (PostgreSQL's epoch).
    case timestamp(microsecondsSince2000: Int64)
    case bytes([UInt8])
    case textArray([String?])
    case doubleArray([Double?])
    case intArray([Int64?])

    /// Object id of the type (pg_type.dat), 0 where the server infers it.
    var typeID: UInt32 {
        switch self {
        case .null, .text: 0
        case .int: 20
        case .double: 701
        case .uuid: 2950
        case .bool: 16
        case .timestamp: 1184
        case .bytes: 17
        case .textArray: 1009
        case .doubleArray: 1022
        case .intArray: 1016
        }
    }

    /// The value in the type's binary form; nil for NULL. Text is the same in both forms.
    func encode() -> [UInt8]? {
        switch self {
        case .null: nil
        case .text(let text): Array(text.utf8)
        case .int(let value): value.bigEndianBytes
        case .double(let value): value.bitPattern.bigEndianBytes
        case .uuid(let value): value.bytes
        case .bool(let value): [value ? 1 : 0]
        case .timestamp(let micros): micros.bigEndianBytes
        case .bytes(let bytes): bytes
        case .textArray(let items): Self.array(of: 25, items.map { $0.map { Array($0.utf8) } })
        case .doubleArray(let items): Self.array(of: 701, items.map { $0?.bitPattern.bigEndianBytes })
        case .intArray(let items): Self.array(of: 20, items.map { $0?.bigEndianBytes })
        }
    }

    /// The binary form of a one-dimensional array (array_recv in PostgreSQL's arrayfuncs.c).
    private static func array(of element: UInt32, _ items: [[UInt8]?]) -> [UInt8] {
        if items.isEmpty { return Int32(0).bigEndianBytes + Int32(0).bigEndianBytes + element.bigEndianBytes }
        var out: [UInt8] = []
        out.reserveCapacity(20 + items.reduce(0) { $0 + 4 + ($1?.count ?? 0) })
        out += Int32(1).bigEndianBytes
        out += Int32(items.contains { $0 == nil } ? 1 : 0).bigEndianBytes
        out += element.bigEndianBytes
        out += Int32(truncatingIfNeeded: items.count).bigEndianBytes
        out += Int32(1).bigEndianBytes
        for item in items {
            if let item {
                out += Int32(truncatingIfNeeded: item.count).bigEndianBytes
                out += item
            } else {
                out += Int32(-1).bigEndianBytes
            }
        }
        return out
    }
}

extension FixedWidthInteger {
    var bigEndianBytes: [UInt8] { withUnsafeBytes(of: bigEndian) { Array($0) } }
}

extension UUID {
    /// The sixteen bytes in the order PostgreSQL's `uuid` and the text form have them.
    var bytes: [UInt8] { withUnsafeBytes(of: uuid) { Array($0) } }

    /// From exactly sixteen bytes.
    init?(bytes: UnsafeRawBufferPointer) {
        guard bytes.count == 16 else { return nil }
        self.init(uuid: bytes.loadUnaligned(as: uuid_t.self))
    }
}

/// Microseconds between 1970-01-01 and 2000-01-01, PostgreSQL's epoch.
let postgresEpochMicroseconds: Int64 = 946_684_800_000_000

extension Int64 {
    /// Microseconds since 1970 from microseconds since 2000, held at the ends for the infinities.
    var microsecondsSince1970: Int64 {
        if self == .max || self == .min { return self }
        let (sum, overflow) = addingReportingOverflow(postgresEpochMicroseconds)
        return overflow ? .max : sum
    }

    /// Microseconds since 2000 from microseconds since 1970, held within what `timestamptz` can say
    /// (4713 BC to AD 294276; the ends become the infinities).
    var microsecondsSince2000: Int64 {
        let (difference, overflow) = subtractingReportingOverflow(postgresEpochMicroseconds)
        if overflow || difference < Self.earliestTimestamp { return .min }
        return difference >= Self.timestampEnd ? .max : difference
    }

    /// 4713-01-01 BC (MIN_TIMESTAMP in PostgreSQL's timestamp.h).
    static let earliestTimestamp: Int64 = -211_813_488_000_000_000
    /// The first instant that no `timestamptz` holds (END_TIMESTAMP).
    static let timestampEnd: Int64 = 9_223_371_331_200_000_000
}
