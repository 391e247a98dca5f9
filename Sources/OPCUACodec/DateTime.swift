/// A UTC instant as OPC UA carries it: 100-nanosecond ticks since 1601-01-01 (Part 6, 5.2.2.5).
package struct DateTime: BinaryCodable, Hashable, Comparable {
    /// 0 or less is "no time"; Int64.max is "the end of time".
    package var ticks: Int64

    /// Ticks from 1601-01-01 to 1970-01-01.
    @usableFromInline package static let unixEpochTicks: Int64 = 116_444_736_000_000_000

    @inlinable package init(ticks: Int64) { self.ticks = ticks }

    /// Saturates where the microseconds do not fit.
    @inlinable
    package init(unixMicroseconds: Int64) {
        let (scaled, overflow) = unixMicroseconds.multipliedReportingOverflow(by: 10)
        let (sum, overflow2) = scaled.addingReportingOverflow(Self.unixEpochTicks)
        if overflow || overflow2 {
            ticks = unixMicroseconds < 0 ? 0 : .max
        } else {
            ticks = sum
        }
    }

    /// Microseconds since 1970, the sub-microsecond digit cut off.
    @inlinable
    package var unixMicroseconds: Int64 {
        let (difference, overflow) = ticks.subtractingReportingOverflow(Self.unixEpochTicks)
        if overflow { return Int64.min / 10 }
        // Floor, so that instants before 1970 keep their order too.
        return difference >= 0 ? difference / 10 : (difference - 9) / 10
    }

    package static func < (left: DateTime, right: DateTime) -> Bool { left.ticks < right.ticks }

    package init(from decoder: inout BinaryDecoder) throws(DecodingError) { ticks = try decoder.int64() }
    package func encode(to encoder: inout BinaryEncoder) { encoder.integer(ticks) }

    /// "No time": what a peer sends when it has none.
    package static let null = DateTime(ticks: 0)
}
