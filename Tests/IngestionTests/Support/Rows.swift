import FoundationEssentials
import Journal
import OPCUACodec
import TimescaleStore

@testable import Ingestion

/// A row read back from COPY binary.
struct Row: Equatable {
    var node: String
    /// Microseconds since 1970.
    var microseconds: Int64
    var number: Double?
    var quality: String
    var status: Int64?
    var text: String?

    static func all(in buffer: RowBuffer) throws -> [Row] {
        try buffer.withUnsafeBytes { bytes in
            var rows: [Row] = []
            var rest = bytes[...]
            while !rest.isEmpty {
                guard let row = try CopyRow(prefixOf: UnsafeRawBufferPointer(rebasing: rest)) else { break }
                rows.append(Row(row))
                rest = rest.dropFirst(row.bytes.count)
            }
            return rows
        }
    }

    init(node: String, microseconds: Int64, number: Double?, quality: String, status: Int64?, text: String?) {
        self.node = node
        self.microseconds = microseconds
        self.number = number
        self.quality = quality
        self.status = status
        self.text = text
    }

    private init(_ row: CopyRow) {
        node = row.tagNodeID
        microseconds = (row.timestampMicrosecondsSince2000 ?? 0) + 946_684_800_000_000
        number = row.column(3).map { Double(bitPattern: UInt64(bigEndian: $0.loadUnaligned(as: UInt64.self))) }
        quality = row.column(4).map { String(decoding: $0, as: UTF8.self) } ?? ""
        status = row.column(5).map { Int64(bigEndian: $0.loadUnaligned(as: Int64.self)) }
        text = row.column(6).map { String(decoding: $0, as: UTF8.self) }
    }
}

/// Notifications as a server encodes them.
enum Notifications {
    static func encoded(_ values: [(handle: UInt32, value: DataValue)]) -> [UInt8] {
        DataChangeNotification(
            monitoredItems: values.map { MonitoredItemNotification(clientHandle: $0.handle, value: $0.value) },
            diagnosticInfos: []
        ).encoded
    }
}

/// A generator whose sequence follows from its seed.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
