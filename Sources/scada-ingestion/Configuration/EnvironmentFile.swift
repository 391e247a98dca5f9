/// A file of `NAME=value` lines, as `--config` takes it.
///
/// Empty lines and lines that begin with `#` say nothing; `export` before a name is allowed, so that a shell can read the
/// file too. A value may stand in single quotes (taken as it is) or double quotes (`\n`, `\t`, `\"`, `\\`, `\$`); without
/// quotes it ends before white space followed by `#`. A value does not go on over several lines.
struct EnvironmentFile: Sendable, Equatable {
    struct Entry: Sendable, Equatable {
        var name: String
        var value: String
        /// From 1.
        var line: Int
    }

    var entries: [Entry] = []
    /// Lines that cannot be read, in order; the line itself is not repeated, a password may stand in it.
    var problems: [ConfigurationProblem] = []

    /// - Parameter path: how the file is called in problems.
    init(parsing text: String, path: String) {
        var lines: [String: Int] = [:]
        var text = Substring(text)
        if text.first == "\u{FEFF}" { text.removeFirst() }
        for (index, content) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            let number = index + 1
            do throws(Unacceptable) {
                guard let (name, value) = try Self.parse(content) else { continue }
                if let first = lines[name] {
                    throw Unacceptable("\(name) stands in line \(first) already: keep one of the two")
                }
                lines[name] = number
                entries.append(Entry(name: name, value: value, line: number))
            } catch {
                problems.append(ConfigurationProblem("\(path) line \(number): \(error.reason)"))
            }
        }
    }

    private static func parse(_ line: Substring) throws(Unacceptable) -> (name: String, value: String)? {
        var rest = line.drop(while: \.isWhitespace)
        if rest.isEmpty || rest.first == "#" { return nil }
        if rest.hasPrefix("export"), rest.dropFirst(6).first?.isWhitespace == true {
            rest = rest.dropFirst(6).drop(while: \.isWhitespace)
        }
        let name = rest.prefix { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") }
        rest = rest.dropFirst(name.count).drop(while: \.isWhitespace)
        guard !name.isEmpty, name.first?.isNumber == false, rest.first == "=" else {
            throw Unacceptable("expected NAME=value, a comment beginning with #, or nothing")
        }
        rest = rest.dropFirst().drop(while: \.isWhitespace)
        switch rest.first {
        case "'": return (String(name), try singleQuoted(rest.dropFirst(), of: name))
        case "\"": return (String(name), try doubleQuoted(rest.dropFirst(), of: name))
        default: return (String(name), bare(rest))
        }
    }

    private static func bare(_ text: Substring) -> String {
        var value = ""
        var space = ""
        for character in text {
            if character.isWhitespace {
                space.append(character)
            } else if character == "#", !space.isEmpty || value.isEmpty {
                break
            } else {
                value += space
                value.append(character)
                space = ""
            }
        }
        return value
    }

    private static func singleQuoted(_ text: Substring, of name: Substring) throws(Unacceptable) -> String {
        guard let end = text.firstIndex(of: "'") else { throw unterminated(name, "'") }
        try expectEnd(text[text.index(after: end)...], name)
        return String(text[..<end])
    }

    private static func doubleQuoted(_ text: Substring, of name: Substring) throws(Unacceptable) -> String {
        var value = ""
        var isEscaped = false
        for index in text.indices {
            let character = text[index]
            if isEscaped {
                isEscaped = false
                switch character {
                case "n": value.append("\n")
                case "t": value.append("\t")
                case "\"", "\\", "$": value.append(character)
                default:
                    throw Unacceptable(
                        "the value of \(name) has a \\ before a character that needs none: write \\\\ for a \\"
                    )
                }
            } else if character == "\\" {
                isEscaped = true
            } else if character == "\"" {
                try expectEnd(text[text.index(after: index)...], name)
                return value
            } else {
                value.append(character)
            }
        }
        throw unterminated(name, "\"")
    }

    private static func unterminated(_ name: Substring, _ quote: String) -> Unacceptable {
        Unacceptable("the value of \(name) begins with \(quote) and does not end with it")
    }

    private static func expectEnd(_ rest: Substring, _ name: Substring) throws(Unacceptable) {
        let rest = rest.drop(while: \.isWhitespace)
        guard rest.isEmpty || rest.first == "#" else {
            throw Unacceptable("the value of \(name) goes on after its closing quote: escape the quotes within it")
        }
    }
}
