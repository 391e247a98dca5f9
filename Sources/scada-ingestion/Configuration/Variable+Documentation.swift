extension Variable {
    /// The rules of every source, for people.
    static let rules = """
        Every variable may stand in the environment or in a file of NAME=value lines given with --config; the environment
        wins. An empty value counts as not set. Durations are whole milliseconds. Sizes are bytes, or a number with KiB,
        MiB, GiB or TiB. A secret may stand in a file of its own instead: NAME_FILE names it.
        """

    /// All variables by section, as `scada-ingestion environment` prints them.
    static var helpText: String {
        var lines: [String] = [rules]
        for section in Section.allCases {
            lines += ["", "\(section.rawValue):"]
            for variable in all where variable.section == section {
                lines.append("  \(variable.name)\(variable.isSecret ? "  (or \(variable.name)_FILE)" : "")")
                lines += wrapped(variable.summary, width: 100).map { "      \($0)" }
                lines += wrapped("Takes \(variable.expected).", width: 100).map { "      \($0)" }
                lines.append("      \(variable.defaultSentence)")
            }
        }
        return lines.joined(separator: "\n")
    }

    /// Config/scada-ingestion.env.example: every variable with its default, commented out unless it is required.
    static var exampleFile: String {
        var lines = [
            "# Configuration of scada-ingestion, every variable with its default.",
            "# Written by: scada-ingestion environment --example",
            "#",
        ]
        lines += rules.split(separator: "\n").map { "# \($0)" }
        for section in Section.allCases {
            lines += ["", "## \(section.rawValue)"]
            for variable in all where variable.section == section {
                lines.append("")
                lines += wrapped(variable.summary, width: 110).map { "# \($0)" }
                lines += wrapped("Takes \(variable.expected).", width: 110).map { "# \($0)" }
                switch variable.fallback {
                case .required:
                    lines += ["# Required.", "\(variable.name)=\(variable.example ?? "")"]
                case .value(let text):
                    lines.append("#\(variable.name)=\(text)")
                case .unset:
                    lines += ["# \(variable.defaultSentence)", "#\(variable.name)=\(variable.example ?? "")"]
                }
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    var defaultSentence: String {
        switch fallback {
        case .required: "Required."
        case .value(let text): "Default: \(text)."
        case .unset(let meaning): "Default: not set (\(meaning))."
        }
    }

    private static func wrapped(_ text: String, width: Int) -> [String] {
        var lines: [String] = []
        var line = ""
        for word in text.split(separator: " ") {
            if !line.isEmpty, line.count + 1 + word.count > width {
                lines.append(line)
                line = ""
            }
            line += line.isEmpty ? word : " \(word)"
        }
        return line.isEmpty ? lines : lines + [line]
    }
}
