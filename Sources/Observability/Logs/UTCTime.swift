#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Times in UTC as text, by our own arithmetic: a log line must not wait for a formatter's lock or a time zone file.
package enum UTCTime {
    /// The wall clock, milliseconds since 1970.
    package static func nowMilliseconds() -> Int64 {
        nowMicroseconds() / 1000
    }

    /// The wall clock, microseconds since 1970.
    package static func nowMicroseconds() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000
    }

    /// RFC 3339 with milliseconds: `2026-11-27T23:59:59.123Z`.
    package static func rfc3339(milliseconds: Int64) -> String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(24)
        appendDate(milliseconds, to: &bytes)
        bytes.append(UInt8(ascii: "T"))
        appendTime(milliseconds, to: &bytes)
        bytes.append(UInt8(ascii: "Z"))
        return String(decoding: bytes, as: UTF8.self)
    }

    static func appendDate(_ milliseconds: Int64, to bytes: inout [UInt8]) {
        let (year, month, day) = civil(days: floorDivide(milliseconds, 86_400_000))
        // RFC 3339 knows the years 0000 to 9999 only.
        append(min(max(year, 0), 9999), width: 4, to: &bytes)
        bytes.append(UInt8(ascii: "-"))
        append(month, width: 2, to: &bytes)
        bytes.append(UInt8(ascii: "-"))
        append(day, width: 2, to: &bytes)
    }

    static func appendTime(_ milliseconds: Int64, to bytes: inout [UInt8]) {
        let remainder = milliseconds % 86_400_000
        let inDay = remainder < 0 ? remainder + 86_400_000 : remainder
        append(inDay / 3_600_000, width: 2, to: &bytes)
        bytes.append(UInt8(ascii: ":"))
        append(inDay / 60_000 % 60, width: 2, to: &bytes)
        bytes.append(UInt8(ascii: ":"))
        append(inDay / 1000 % 60, width: 2, to: &bytes)
        bytes.append(UInt8(ascii: "."))
        append(inDay % 1000, width: 3, to: &bytes)
    }

    /// Year, month and day of a number of days since 1970-01-01 in the proleptic Gregorian calendar. Years are counted
    /// from March so that the leap day is the last of its year, in eras of 400 years = 146,097 days.
    static func civil(days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = days + 719_468
        let era = floorDivide(shifted, 146_097)
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let marchMonth = (5 * dayOfYear + 2) / 153
        let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * marchMonth + 2) / 5 + 1)
    }

    private static func floorDivide(_ value: Int64, _ divisor: Int64) -> Int64 {
        let (quotient, remainder) = value.quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? quotient - 1 : quotient
    }

    private static func append(_ value: Int64, width: Int, to bytes: inout [UInt8]) {
        var divisor: Int64 = 1
        for _ in 1..<width { divisor *= 10 }
        while divisor > 0 {
            bytes.append(UInt8(ascii: "0") + UInt8(value / divisor % 10))
            divisor /= 10
        }
    }
}
