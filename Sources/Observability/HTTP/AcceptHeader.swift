/// The Accept header of a request (RFC 9110, 12.5.1): which of several representations the client would rather have.
struct AcceptHeader: Sendable {
    private struct Range {
        var type: Substring
        var subtype: Substring
        var version: Substring?
        /// Thousandths; 0 = not acceptable.
        var quality: Int
    }

    private var ranges: [Range] = []

    /// - Parameter value: the header's values joined by commas. What cannot be parsed is passed over.
    init(_ value: String) {
        for element in value.split(separator: ",").prefix(64) {
            let parts = element.split(separator: ";", omittingEmptySubsequences: false).map { Self.trim($0) }
            let media = parts[0].split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
            guard media.count == 2, !media[0].isEmpty, !media[1].isEmpty else { continue }
            var range = Range(type: media[0], subtype: media[1], quality: 1000)
            for part in parts.dropFirst() {
                let pair = part.split(separator: "=", maxSplits: 1).map { Self.trim($0) }
                guard pair.count == 2 else { continue }
                switch pair[0].lowercased() {
                case "q": range.quality = Self.quality(pair[1])
                case "version": range.version = Self.unquote(pair[1])
                default: break
                }
            }
            ranges.append(range)
        }
    }

    /// OpenMetrics 1.0.0 where the client names it and wants it at least as much as plain text.
    var prefersOpenMetrics: Bool {
        let open = ranges.filter {
            Self.equal($0.type, "application") && Self.equal($0.subtype, "openmetrics-text")
                && ($0.version == nil || $0.version == "1.0.0")
        }
        guard let wanted = open.map(\.quality).max(), wanted > 0 else { return false }
        return wanted >= quality("text", "plain")
    }

    /// JSON where the client names it and wants it more than plain text.
    var prefersJSON: Bool {
        let json = ranges.filter { Self.equal($0.type, "application") && Self.equal($0.subtype, "json") }
        guard let wanted = json.map(\.quality).max(), wanted > 0 else { return false }
        return wanted > quality("text", "plain")
            || !ranges.contains { Self.equal($0.type, "text") && Self.equal($0.subtype, "plain") }
    }

    /// The quality of the most specific range that matches; 0 when none does.
    private func quality(_ type: String, _ subtype: String) -> Int {
        for (wantedType, wantedSubtype) in [(type, subtype), (type, "*"), ("*", "*")] {
            let matching = ranges.filter { Self.equal($0.type, wantedType) && Self.equal($0.subtype, wantedSubtype) }
            if let best = matching.map(\.quality).max() { return best }
        }
        return 0
    }

    private static func quality(_ text: Substring) -> Int {
        guard let value = Double(text), value.isFinite else { return 0 }
        return Int((min(max(value, 0), 1) * 1000).rounded())
    }

    private static func unquote(_ text: Substring) -> Substring {
        text.count >= 2 && text.hasPrefix("\"") && text.hasSuffix("\"") ? text.dropFirst().dropLast() : text
    }

    private static func trim(_ text: Substring) -> Substring {
        var text = text
        while let first = text.first, first == " " || first == "\t" { text.removeFirst() }
        while let last = text.last, last == " " || last == "\t" { text.removeLast() }
        return text
    }

    private static func equal(_ left: Substring, _ right: String) -> Bool {
        left.lowercased() == right
    }
}
