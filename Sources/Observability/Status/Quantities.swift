/// Numbers as people read them: three significant digits where more would only flicker.
enum Quantities {
    /// `0`, `999`, `12,345`, `1.23 M`, `45.6 G`.
    static func count(_ value: some BinaryInteger) -> String {
        let number = Double(value)
        if number.magnitude < 100_000 { return grouped(Int64(value)) }
        return scaled(number, 1000, ["", " k", " M", " G", " T", " P", " E"])
    }

    /// `0/s`, `0.4/s`, `12,345/s`.
    static func rate(_ value: Double) -> String {
        guard value.isFinite else { return "–" }
        if value < 99_999.5 {
            return (value > 0 && value < 9.95 ? decimal(value, 1) : grouped(Int64(value.rounded()))) + "/s"
        }
        return scaled(value, 1000, ["", " k", " M", " G", " T"]) + "/s"
    }

    /// `0 B`, `512 B`, `1.50 MiB`.
    static func bytes(_ value: Int64) -> String {
        scaled(Double(max(0, value)), 1024, [" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"])
    }

    /// A share as `7 %`; `< 1 %` for what is not nothing.
    static func percent(_ share: Double) -> String {
        guard share.isFinite, share > 0 else { return "0 %" }
        return share < 0.01 ? "< 1 %" : "\(Int(min(share, 99.99) * 100)) %"
    }

    /// A delay: `250 ms`, `1.25 s`, `2 min`.
    static func seconds(_ value: Double) -> String {
        guard value.isFinite else { return "–" }
        if value < 0.9995 { return "\(Int((max(0, value) * 1000).rounded())) ms" }
        if value < 99.5 { return decimal(value, value < 9.995 ? 2 : 1) + " s" }
        return age(microseconds: Int64(min(value, 1e12) * 1e6))
    }

    /// How long something has lasted: `3 s`, `5 min`, `2 h 10 min`, `3 d 4 h`, `400 d`.
    static func age(microseconds: Int64) -> String {
        let seconds = max(0, microseconds / 1_000_000)
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400)
        if seconds < 60 { return "\(seconds) s" }
        if minutes < 60 { return "\(minutes) min" }
        if hours < 24 { return minutes % 60 == 0 ? "\(hours) h" : "\(hours) h \(minutes % 60) min" }
        if days < 10 { return hours % 24 == 0 ? "\(days) d" : "\(days) d \(hours % 24) h" }
        return "\(days) d"
    }

    /// `3 tags`, `1 tag`.
    static func plural(_ value: some BinaryInteger, _ one: String, _ many: String? = nil) -> String {
        "\(count(value)) \(value == 1 ? one : many ?? one + "s")"
    }

    private static func scaled(_ value: Double, _ base: Double, _ units: [String]) -> String {
        var rest = value
        var unit = 0
        while rest.magnitude >= base * 0.9995, unit < units.count - 1 {
            rest /= base
            unit += 1
        }
        if unit == 0 { return "\(Int64(rest.rounded()))\(units[0])" }
        return decimal(rest, rest.magnitude < 9.995 ? 2 : rest.magnitude < 99.95 ? 1 : 0) + units[unit]
    }

    private static func decimal(_ value: Double, _ digits: Int) -> String {
        let factor = digits == 0 ? 1.0 : digits == 1 ? 10 : 100
        let scaled = Int64((value * factor).rounded())
        guard digits > 0 else { return "\(scaled)" }
        let fraction = String(scaled.magnitude % UInt64(factor))
        let sign = scaled < 0 ? "-" : ""
        return "\(sign)\(scaled.magnitude / UInt64(factor))."
            + String(repeating: "0", count: digits - fraction.utf8.count) + fraction
    }

    private static func grouped(_ value: Int64) -> String {
        var digits = Array(String(value.magnitude))
        var place = digits.count - 3
        while place > 0 {
            digits.insert(",", at: place)
            place -= 3
        }
        return (value < 0 ? "-" : "") + String(digits)
    }
}
