import Ingestion
import Journal
import OPCUAClient
import OPCUACodec

/// A PublishResponse taken apart and its values turned into COPY rows, as the connection's event loop does it.
struct DecodeStep {
    private var notification: SampleNotification
    private var encoder: ReadingEncoder

    init(values: Int) throws {
        notification = try SampleNotification(values: values)
        encoder = ReadingEncoder(table: notification.makeTable())
    }

    /// - Returns: rows made.
    consuming func run(_ rounds: Int) throws -> Int {
        let rows = RowBuffer()
        var total = 0
        for _ in 0..<rounds {
            try encode(into: rows)
            total += rows.rowCount
            rows.removeAll()
        }
        return total
    }

    /// One notification's rows, at the end of `rows`.
    mutating func encode(into rows: RowBuffer) throws {
        notification.age()
        encoder.begin()
        try notification.bytes.withUnsafeBytes { bytes in
            try PublishResponseView(bytes).forEachPart(in: bytes) { (part) throws(DecodingError) in
                guard case .dataChange(let body) = part else { return }
                try encoder.encode(body, receivedAt: 0, into: rows)
            }
        }
    }
}
