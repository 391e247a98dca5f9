/// Where a page ended: an opaque text that only the same question accepts.
///
/// Contents: version, the question's fingerprint, the last row's sort key (timestamp and a text), how many rows with that
/// very key were given out, and a check value. It is not a secret and gives access to nothing; the check value only tells
/// an altered or cut token from a good one.
struct PageToken: Equatable {
    private static let version: UInt8 = 1
    /// Digits: a node id has 4096 bytes at most.
    private static let longest = 16_384

    var scope: UInt64
    /// Microseconds since 2000.
    var timestamp: Int64
    var key: String
    var skip: Int64

    init(scope: UInt64, timestamp: Int64, key: String, skip: Int64) {
        self.scope = scope
        self.timestamp = timestamp
        self.key = key
        self.skip = skip
    }

    /// The fingerprint of a question.
    static func scope(of parts: [String]) -> UInt64 {
        var bytes: [UInt8] = []
        for part in parts {
            bytes += UInt32(truncatingIfNeeded: part.utf8.count).bigEndianBytes
            bytes += part.utf8
        }
        return fnv1a(bytes)
    }

    var text: String {
        var bytes = [Self.version] + scope.bigEndianBytes + timestamp.bigEndianBytes + skip.bigEndianBytes
        bytes += key.utf8
        bytes += Self.fnv1a(bytes).bigEndianBytes
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    /// - Throws: `invalidPageToken` for anything ``text`` did not make for the same scope.
    init(_ text: String, scope: UInt64) throws(StoreError) {
        let invalid = StoreError(
            .invalidPageToken,
            "the page token does not belong to this query: begin again without one, or repeat the query unchanged"
        )
        guard text.utf8.count <= Self.longest, text.utf8.count.isMultiple(of: 2) else { throw invalid }
        var bytes: [UInt8] = []
        var high: UInt8?
        for digit in text.utf8 {
            let value: UInt8
            switch digit {
            case 0x30...0x39: value = digit - 0x30
            case 0x61...0x66: value = digit - 0x61 + 10
            default: throw invalid
            }
            if let first = high {
                bytes.append(first << 4 | value)
                high = nil
            } else {
                high = value
            }
        }
        guard bytes.count >= 33, bytes[0] == Self.version else { throw invalid }
        let body = Array(bytes.dropLast(8))
        guard bytes.suffix(8).elementsEqual(Self.fnv1a(body).bigEndianBytes) else { throw invalid }
        func number(at offset: Int) -> UInt64 { body[offset..<offset + 8].reduce(0) { $0 << 8 | UInt64($1) } }
        self.scope = number(at: 1)
        timestamp = Int64(bitPattern: number(at: 9))
        skip = Int64(bitPattern: number(at: 17))
        guard let key = String(validating: body[25...], as: UTF8.self), self.scope == scope, skip >= 0,
            !key.utf8.contains(0)
        else { throw invalid }
        self.key = key
    }

    private static func fnv1a(_ bytes: some Sequence<UInt8>) -> UInt64 {
        bytes.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
    }
}
