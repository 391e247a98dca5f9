/// The kinds of variables. Each takes where its value goes, and its default from there.
extension Variable {
    typealias Place<Value> = WritableKeyPath<Settings, Value> & Sendable

    static func integer(
        _ name: String,
        _ section: Section,
        _ place: any Place<Int>,
        _ range: ClosedRange<Int>,
        _ summary: String
    ) -> Variable {
        Variable(
            name: name,
            section: section,
            fallback: .value("\(Settings()[keyPath: place])"),
            expected: "a whole number from \(range.lowerBound) to \(range.upperBound)",
            summary: summary
        ) { (text, draft) throws(Unacceptable) in
            guard let number = Int(text), range.contains(number) else { throw Unacceptable() }
            draft.settings[keyPath: place] = number
        }
    }

    static func milliseconds(
        _ name: String,
        _ section: Section,
        _ place: any Place<Duration>,
        _ range: ClosedRange<Int64>,
        _ summary: String
    ) -> Variable {
        Variable(
            name: name,
            section: section,
            fallback: .value("\(Settings()[keyPath: place].wholeMilliseconds)"),
            expected: "milliseconds, a whole number from \(range.lowerBound) to \(range.upperBound)",
            summary: summary
        ) { (text, draft) throws(Unacceptable) in
            guard let number = Int64(text), range.contains(number) else { throw Unacceptable() }
            draft.settings[keyPath: place] = .milliseconds(number)
        }
    }

    static func port(_ name: String, _ section: Section, _ place: any Place<UInt16>, _ summary: String) -> Variable {
        Variable(
            name: name,
            section: section,
            fallback: .value("\(Settings()[keyPath: place])"),
            expected: "a port from 1 to 65535, or 0 for any free one",
            summary: summary
        ) { (text, draft) throws(Unacceptable) in
            guard let number = UInt16(text) else {
                guard text.contains("://") else { throw Unacceptable() }
                throw Unacceptable("Kubernetes sets this for a service of that name: set enableServiceLinks: false")
            }
            draft.settings[keyPath: place] = number
        }
    }

    /// A size in bytes, with an optional suffix.
    static func size(
        _ name: String,
        _ section: Section,
        _ place: any Place<Int>,
        _ range: ClosedRange<Int>,
        _ summary: String
    ) -> Variable {
        let fallback = Fallback.value(ByteSize.format(Settings()[keyPath: place]))
        return size(name, section, fallback, range, summary) { $0[keyPath: place] = $1 }
    }

    static func size(
        _ name: String,
        _ section: Section,
        _ fallback: Fallback,
        _ range: ClosedRange<Int>,
        _ summary: String,
        _ set: @escaping @Sendable (inout Settings, Int) -> Void
    ) -> Variable {
        Variable(
            name: name,
            section: section,
            fallback: fallback,
            expected: "a size from \(ByteSize.format(range.lowerBound)) to \(ByteSize.format(range.upperBound)), "
                + "in bytes or with KiB, MiB, GiB or TiB",
            summary: summary
        ) { (text, draft) throws(Unacceptable) in
            guard let bytes = ByteSize.parse(text), range.contains(bytes) else { throw Unacceptable() }
            set(&draft.settings, bytes)
        }
    }

    static func flag(_ name: String, _ section: Section, _ place: any Place<Bool>, _ summary: String) -> Variable {
        Variable(
            name: name,
            section: section,
            fallback: .value("\(Settings()[keyPath: place])"),
            expected: "true or false",
            summary: summary
        ) { (text, draft) throws(Unacceptable) in
            switch text.lowercased() {
            case "true", "yes", "on", "1": draft.settings[keyPath: place] = true
            case "false", "no", "off", "0": draft.settings[keyPath: place] = false
            default: throw Unacceptable()
            }
        }
    }

    /// One of several words, in any case.
    static func choice<Value: Sendable>(
        _ name: String,
        _ section: Section,
        _ fallback: Fallback,
        _ words: KeyValuePairs<String, Value>,
        _ summary: String,
        _ set: @escaping @Sendable (inout Settings, Value) -> Void
    ) -> Variable {
        Variable(
            name: name,
            section: section,
            fallback: fallback,
            expected: Array(words).map(\.key).formattedAsChoice,
            summary: summary
        ) { (text, draft) throws(Unacceptable) in
            guard let word = words.first(where: { $0.key == text.lowercased() }) else { throw Unacceptable() }
            set(&draft.settings, word.value)
        }
    }

    /// A path of a file or folder that is looked at later, by who uses it.
    static func path(_ name: String, _ section: Section, _ place: any Place<String>, _ summary: String) -> Variable {
        Variable(
            name: name,
            section: section,
            fallback: .value(Settings()[keyPath: place]),
            expected: "the path of a folder",
            summary: summary
        ) { (text, draft) throws(Unacceptable) in
            draft.settings[keyPath: place] = try pathText(text)
        }
    }

    static func optionalPath(
        _ name: String,
        _ section: Section,
        _ place: any Place<String?>,
        unset: String,
        example: String,
        _ summary: String
    ) -> Variable {
        Variable(
            name: name,
            section: section,
            fallback: .unset(unset),
            expected: "the path of a file",
            summary: summary,
            example: example
        ) { (text, draft) throws(Unacceptable) in
            draft.settings[keyPath: place] = try pathText(text)
        }
    }

    /// What the operating system takes as a path.
    private static func pathText(_ text: String) throws(Unacceptable) -> String {
        guard !text.utf8.contains(0) else { throw Unacceptable("it has a NUL character") }
        guard text.utf8.count <= 4_000 else { throw Unacceptable("it is longer than 4000 bytes") }
        return text
    }
}

extension Duration {
    /// Rounded down.
    var wholeMilliseconds: Int64 {
        components.seconds * 1_000 + components.attoseconds / 1_000_000_000_000_000
    }
}

extension [String] {
    /// "a, b or c".
    var formattedAsChoice: String {
        guard let last, count > 1 else { return joined() }
        return dropLast().joined(separator: ", ") + " or \(last)"
    }
}
