internal import FoundationEssentials

/// Turns binary cells into rows. Node ids and qualities repeat from row to row: each distinct one becomes a String once.
struct ReadingsDecoder {
    private let wellID: UUID
    private let isRollup: Bool
    private var names: [UInt64: String] = [:]
    /// The sort key of the last row, and how many rows of the page have it.
    private var last: (timestamp: Int64, tag: String)?
    private var lastRun: Int64 = 0
    /// Whether every row of the page has one key.
    private var isOneRun = true

    init(wellID: UUID, isRollup: Bool) {
        self.wellID = wellID
        self.isRollup = isRollup
    }

    /// The first rows of a result: at most `limit`, and as many as `maxBytes` allows, as ``ReadingsReader`` counts them.
    mutating func decode(
        _ result: PGResult,
        limit: Int,
        maxBytes: Int,
        bytesPerRow: Int
    ) throws(StoreError) -> ReadingsPage {
        guard result.columnCount == (isRollup ? 7 : 6) else {
            throw StoreError(.protocolViolation, "readings with \(result.columnCount) columns")
        }
        let count = min(result.rowCount, limit)
        var rows: [ReadingRow] = []
        rows.reserveCapacity(count)
        var bytesLeft = maxBytes
        for row in 0..<count {
            guard let timestamp = result.bigEndian(row, 0, as: Int64.self), let tagBytes = result.bytes(row, 1) else {
                throw StoreError(.protocolViolation, "a reading without a timestamp or tag")
            }
            let textCount = isRollup ? 0 : result.bytes(row, 5)?.count ?? 0
            let size = bytesPerRow + tagBytes.count + textCount
            if size > bytesLeft, row > 0 { break }
            bytesLeft -= min(size, bytesLeft)
            let tag = name(tagBytes)
            if let last, last.timestamp == timestamp, last.tag == tag {
                lastRun += 1
            } else {
                if last != nil { isOneRun = false }
                last = (timestamp, tag)
                lastRun = 1
            }
            var reading = ReadingRow(
                wellID: wellID,
                tagNodeID: tag,
                timestampMicros: timestamp.microsecondsSince1970,
                value: result.binaryDouble(row, 2),
                quality: ""
            )
            if isRollup {
                let good: Int64 = result.bigEndian(row, 3) ?? 0
                let all: Int64 = result.bigEndian(row, 4) ?? 0
                reading.quality = good == all ? "Good" : (good == 0 ? "Bad" : "Uncertain")
                reading.count = all
                reading.min = result.binaryDouble(row, 5)
                reading.max = result.binaryDouble(row, 6)
            } else {
                reading.quality = result.bytes(row, 3).map { name($0) } ?? ""
                reading.statusCode = result.bigEndian(row, 4)
                reading.valueText = result.string(row, 5)
            }
            rows.append(reading)
        }
        return ReadingsPage(readings: rows)
    }

    /// The token after the decoded page; nil when it was the last.
    func nextToken(after start: PageToken?, scope: UInt64, more: Bool) -> String? {
        guard more, let last else { return nil }
        var skip = lastRun
        // The page may lie within one long run of equal keys that began on the page before.
        if isOneRun, let start, start.timestamp == last.timestamp, start.key == last.tag { skip += start.skip }
        return PageToken(scope: scope, timestamp: last.timestamp, key: last.tag, skip: skip).text
    }

    private mutating func name(_ bytes: UnsafeRawBufferPointer) -> String {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        if let known = names[hash], known.utf8.count == bytes.count, known.utf8.elementsEqual(bytes) { return known }
        let text = String(decoding: bytes, as: UTF8.self)
        names[hash] = text
        return text
    }
}
