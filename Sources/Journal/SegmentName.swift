/// The name of a segment's file, `<index>-<base>.segment`, both decimal. The header inside is what counts; the name tells
/// the order and the position even when the header is unreadable.
struct SegmentName: Equatable {
    static let suffix = ".segment"
    static let damagedSuffix = ".damaged"
    static let foreignSuffix = ".foreign"
    /// Of a file that waits to be written over: see ``SegmentWriter/Spare``.
    static let spareSuffix = ".spare"

    var index: UInt64
    var base: Int64

    init(index: UInt64, base: Int64) {
        self.index = index
        self.base = base
    }

    /// Of a segment's file, or of one that was set aside under the same name with something appended.
    init?(_ name: String) {
        guard let range = name.utf8.firstRange(of: Self.suffix.utf8) else { return nil }
        let parts = name[..<range.lowerBound].split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, let index = UInt64(parts[0]), let base = Int64(parts[1]), index < 1 << 62, base >= 0,
            base <= JournalPosition.highest.rawValue
        else { return nil }
        self.init(index: index, base: base)
    }

    var fileName: String { Self.pad(String(index), 10) + "-" + Self.pad(String(base), 19) + Self.suffix }

    private static func pad(_ text: String, _ width: Int) -> String {
        String(repeating: "0", count: max(0, width - text.utf8.count)) + text
    }
}
