/// Sizes as people write them: a number of bytes, or a number with KiB, MiB, GiB or TiB.
enum ByteSize {
    private static let units: [(name: String, bytes: Int)] = [
        ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10),
    ]

    /// The bytes of `16777216`, `16 MiB` or `16MiB`; nil for anything else. Suffixes in any case, no fractions: 1.5 GiB is
    /// 1536 MiB.
    static func parse(_ text: String) -> Int? {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let number = Int(digits) else { return nil }
        let suffix = text.dropFirst(digits.count).drop { $0 == " " }.lowercased()
        if suffix.isEmpty || suffix == "b" { return number }
        guard let unit = units.first(where: { $0.name.lowercased() == suffix }) else { return nil }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: unit.bytes)
        return overflow ? nil : bytes
    }

    /// The shortest exact form, which ``parse(_:)`` reads back.
    static func format(_ bytes: Int) -> String {
        for unit in units where bytes != 0 && bytes % unit.bytes == 0 {
            return "\(bytes / unit.bytes)\(unit.name)"
        }
        return "\(bytes)"
    }

    /// For people: three digits at most, with the largest suffix that fits.
    static func rounded(_ bytes: Int) -> String {
        guard let unit = units.first(where: { bytes >= $0.bytes }) else { return "\(bytes) bytes" }
        let tenths = bytes / (unit.bytes / 10)
        return tenths < 100 ? "\(tenths / 10).\(tenths % 10) \(unit.name)" : "\(bytes / unit.bytes) \(unit.name)"
    }
}
