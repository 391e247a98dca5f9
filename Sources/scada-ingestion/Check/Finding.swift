import ArgumentParser

/// One thing `check` looked at.
struct Finding: Sendable, Equatable, Encodable {
    enum Level: String, Sendable, Encodable {
        case ok
        /// It works, and somebody should know.
        case warn
        /// The daemon cannot do its work with this.
        case fail
    }

    /// Who has to act, and so the exit code.
    enum Area: Sendable {
        /// This machine and its configuration: 78.
        case configuration
        /// Something out there: 69.
        case service
    }

    var level: Level
    /// What was looked at, for example "journal ./data/journal".
    var subject: String
    /// How it is, in words.
    var message: String
    /// What to do about it; nil when there is nothing to do.
    var cure: String?
    var area: Area

    private enum CodingKeys: CodingKey {
        case level, subject, message, cure
    }

    static func ok(_ subject: String, _ message: String) -> Finding {
        Finding(level: .ok, subject: subject, message: message, area: .configuration)
    }

    static func warn(_ subject: String, _ message: String, cure: String? = nil) -> Finding {
        Finding(level: .warn, subject: subject, message: message, cure: cure, area: .configuration)
    }

    static func fail(_ subject: String, _ message: String, cure: String? = nil, _ area: Area) -> Finding {
        Finding(level: .fail, subject: subject, message: message, cure: cure, area: area)
    }

    /// For people: one line.
    var line: String {
        let mark =
            switch level {
            case .ok: "ok   "
            case .warn: "warn "
            case .fail: "FAIL "
            }
        return Console.oneLine("\(mark) \(subject): \(message)\(cure.map { " → \($0)" } ?? "")")
    }
}

/// Everything `check` found.
struct CheckReport: Sendable, Encodable {
    var findings: [Finding] = []

    func count(_ level: Finding.Level) -> Int { findings.count { $0.level == level } }

    /// What is wrong here is first: it may be why something else is.
    var exitCode: ExitCode {
        let failures = findings.filter { $0.level == .fail }
        if failures.contains(where: { $0.area == .configuration }) { return .configuration }
        return failures.isEmpty ? .success : .unavailable
    }

    var summary: String {
        "\(count(.fail)) failed, \(count(.warn).counted("warning")), \(count(.ok)) ok"
    }

    private enum CodingKeys: CodingKey {
        case status, exit_code, version, findings
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        let worst: Finding.Level = count(.fail) > 0 ? .fail : count(.warn) > 0 ? .warn : .ok
        try container.encode(worst, forKey: .status)
        try container.encode(exitCode.rawValue, forKey: .exit_code)
        try container.encode(BuildInformation.version, forKey: .version)
        try container.encode(findings, forKey: .findings)
    }
}
