/// Why a value is not taken. The text may be printed: it quotes nothing of a secret.
struct Unacceptable: Error, Equatable {
    var reason: String
    init(_ reason: String = "") { self.reason = reason }
}

/// Where a value stands.
enum ConfigurationOrigin: Sendable, Equatable, CustomStringConvertible {
    case environment
    /// A line of the file given with `--config`, from 1.
    case file(path: String, line: Int)
    /// The file that a NAME_FILE variable names.
    indirect case secretFile(path: String, named: ConfigurationOrigin)

    var description: String {
        switch self {
        case .environment: "environment"
        case .file(let path, let line): "\(path) line \(line)"
        case .secretFile(let path, _): "file \(path)"
        }
    }
}

/// One thing that is wrong with the configuration, as one line for a person: what, where, and what is expected.
struct ConfigurationProblem: Sendable, Equatable, CustomStringConvertible {
    /// The variable it is about; nil when it is about a file as a whole.
    var variable: String?
    var description: String

    init(variable: String? = nil, _ description: String) {
        self.variable = variable
        self.description = description
    }

    /// A value that is not taken.
    /// - Parameter value: nil for a secret: it is not shown.
    init(_ variable: String, value: String?, origin: ConfigurationOrigin, reason: String, expected: String) {
        self.variable = variable
        let shown = value.map { "=\(Self.quoted($0))" } ?? ""
        let why = reason.isEmpty ? "" : "\(reason); "
        description = "\(variable)\(shown) (\(origin)): \(why)expected \(expected)"
    }

    /// The text in quotes, on one line, cut where nobody would read on.
    static func quoted(_ text: String) -> String {
        var result = "\""
        for (index, scalar) in text.unicodeScalars.enumerated() {
            if index == 80 {
                result += "…"
                break
            }
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\t": result += "\\t"
            default:
                if scalar.value < 0x20 || (0x7F..<0xA0).contains(scalar.value) {
                    result += "\\u{\(String(scalar.value, radix: 16))}"
                } else {
                    result.unicodeScalars.append(scalar)
                }
            }
        }
        return result + "\""
    }
}

/// Everything that is wrong with the configuration; never empty.
struct ConfigurationProblems: Error, Sendable {
    var problems: [ConfigurationProblem]
    /// As ``DaemonConfiguration/warnings``: a misspelt name may be the reason of a problem.
    var warnings: [String] = []
}
