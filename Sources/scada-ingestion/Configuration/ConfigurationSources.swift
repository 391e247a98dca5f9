import Configuration

/// The texts of all variables and where they came from: the environment before the configuration file.
///
/// A secret may stand in a file that NAME_FILE names. NAME and NAME_FILE at the same place is an error; at different places
/// the environment wins as always.
struct ConfigurationSources: Sendable {
    private struct Text: Sendable {
        var value: String
        var origin: ConfigurationOrigin
    }

    private(set) var problems: [ConfigurationProblem] = []
    private(set) var warnings: [String] = []
    /// Whether the file of `--config` could not be read at all.
    private(set) var fileIsUnreadable = false
    /// Where each value that counts stands.
    private(set) var origins: [String: ConfigurationOrigin] = [:]
    private var layers: [[String: String]] = []

    /// - Parameter variables: those that will be asked for; other known ones are not looked at.
    init(variables wanted: [Variable], environment: [String: String], file path: String?) {
        let known = Variable.knownNames
        var variables: [String: Text] = [:]
        for name in known {
            guard let value = environment[name], !value.isEmpty else { continue }
            variables[name] = Text(value: value, origin: .environment)
        }
        for name in environment.keys.sorted() where !known.contains(name) {
            // Most of the environment is other programs'. Only a near miss of a name of ours is worth a word.
            guard let meant = NearestName.of(name, in: known), NearestName.distance(name, meant) <= 2,
                name.utf8.count > 8
            else { continue }
            warnings.append("the environment has \(name), which means nothing here: did you mean \(meant)?")
        }
        addLayer(variables, wanted)
        guard let path else { return }
        addLayer(read(path, known), wanted)
    }

    /// For `ConfigReader`, in order of precedence.
    var providers: [any ConfigProvider] {
        layers.map { layer in
            EnvironmentVariablesProvider(
                environmentVariables: layer,
                secretsSpecifier: .dynamic { name, _ in Variable.named(name)?.isSecret ?? true }
            )
        }
    }

    private mutating func read(_ path: String, _ known: [String]) -> [String: Text] {
        let text: String
        do throws(Unacceptable) {
            text = try SmallTextFile.read(path)
        } catch {
            fileIsUnreadable = true
            problems.append(
                ConfigurationProblem(
                    "--config \(path): \(error.reason); expected a file of NAME=value lines that this user may read"
                )
            )
            return [:]
        }
        let file = EnvironmentFile(parsing: text, path: path)
        problems += file.problems
        var variables: [String: Text] = [:]
        for entry in file.entries {
            guard known.contains(entry.name) else {
                let meant = NearestName.of(entry.name, in: known).map { "did you mean \($0)?" }
                let cure = meant ?? "see scada-ingestion environment"
                problems.append(
                    ConfigurationProblem("\(path) line \(entry.line): unknown variable \(entry.name): \(cure)")
                )
                continue
            }
            if entry.value.isEmpty { continue }
            variables[entry.name] = Text(value: entry.value, origin: .file(path: path, line: entry.line))
        }
        return variables
    }

    /// Resolves the layer's NAME_FILE variables and puts it below those before.
    private mutating func addLayer(_ variables: [String: Text], _ wanted: [Variable]) {
        var variables = variables
        for variable in wanted {
            guard let fileName = variable.fileName, let path = variables.removeValue(forKey: fileName) else { continue }
            // A layer above has it: this one does not count, and its file need not be there.
            if origins[variable.name] != nil { continue }
            if let other = variables[variable.name] {
                problems.append(
                    ConfigurationProblem(
                        variable: variable.name,
                        "\(variable.name) (\(other.origin)) and \(fileName) (\(path.origin)) are both set: expected one of them"
                    )
                )
                continue
            }
            do throws(Unacceptable) {
                let text = Self.trimmed(try SmallTextFile.read(path.value, limit: 64 << 10))
                guard !text.isEmpty else { throw Unacceptable("it is empty") }
                variables[variable.name] = Text(
                    value: text,
                    origin: .secretFile(path: path.value, named: path.origin)
                )
            } catch {
                problems.append(
                    ConfigurationProblem(
                        variable.name,
                        fileName: fileName,
                        path: path.value,
                        origin: path.origin,
                        reason: error.reason
                    )
                )
            }
        }
        for (name, text) in variables where origins[name] == nil { origins[name] = text.origin }
        layers.append(variables.mapValues(\.value))
    }

    private static func trimmed(_ text: String) -> String {
        let end = text.lastIndex { !$0.isWhitespace }
        return end.map { String(text[...$0].drop(while: \.isWhitespace)) } ?? ""
    }
}

extension ConfigurationProblem {
    /// A file named by a NAME_FILE variable that cannot be used.
    fileprivate init(
        _ variable: String,
        fileName: String,
        path: String,
        origin: ConfigurationOrigin,
        reason: String
    ) {
        self.init(
            fileName,
            value: path,
            origin: origin,
            reason: reason,
            expected: "a readable file that holds \(variable)"
        )
        self.variable = variable
    }
}
