/// One thing that is wrong, in words: what, since when, what to do.
package struct StatusProblem: Sendable, Equatable {
    package enum Severity: String, Sendable, Comparable {
        /// Data is in danger or does not arrive in the database.
        case critical
        /// It works, but somebody should look at it by day.
        case warning

        package static func < (left: Severity, right: Severity) -> Bool {
            left == .warning && right == .critical
        }
    }

    package var severity: Severity
    /// Whose problem it is: `Tenant Nordfeld`.
    package var subject: String
    package var message: String
    package var advice: String?
    package var since: Int64?
}

extension StatusReport {
    /// What is wrong, the worst first. Many problems of one kind are told as one.
    package var problems: [StatusProblem] {
        let all =
            notReady + stoppedIntakes + tenantTroubles + downConnections + expiredCertificates + fillingJournals
            + waitingConnections + laggingTenants + refusedTags + silences + rejections + unhealedGaps
            + expiringCertificates
        // Stable within a severity: the order above is one of urgency.
        return all.filter { $0.severity == .critical } + all.filter { $0.severity == .warning }
    }

    /// More problems of one kind than this are told as one.
    private static let mostOfAKind = 5
    /// A connection may take this long to come back before somebody should know.
    private static let patience: Int64 = 60_000_000
    private static let day: Int64 = 86_400_000_000

    /// - Parameters:
    ///   - together: subject and message for very many: `("37 connections", "are down")`.
    ///   - example: what the first of them suffers from.
    private static func gather(
        _ problems: [StatusProblem],
        together: (_ count: String) -> (subject: String, message: String),
        example: String? = nil,
        advice: String
    ) -> [StatusProblem] {
        guard problems.count > mostOfAKind, let first = problems.first else { return problems }
        let (subject, message) = together(Quantities.count(problems.count))
        let names = problems.prefix(3).map(\.subject).joined(separator: ", ")
        return [
            StatusProblem(
                severity: first.severity,
                subject: subject,
                message: "\(message): \(names) and \(Quantities.count(problems.count - 3)) more"
                    + (example.map { ". The first: \($0)" } ?? ""),
                advice: advice,
                since: problems.compactMap(\.since).min()
            )
        ]
    }

    private var notReady: [StatusProblem] {
        notReadyReasons.map { StatusProblem(severity: .critical, subject: "Not ready", message: $0) }
    }

    private var stoppedIntakes: [StatusProblem] {
        Self.gather(
            tenants.filter(\.isIntakeStopped).map { tenant in
                StatusProblem(
                    severity: .critical,
                    subject: "Tenant \(tenant.name)",
                    message:
                        "its journal is full (\(Quantities.bytes(tenant.journalBytes))), so its servers are not read "
                        + "from; they queue, and lose values when their queues are full",
                    advice: tenant.trouble == nil
                        ? "Raise JOURNAL_MAX_BYTES if the disk has room" : "Get its database back first, see below",
                    since: tenant.oldestUnstoredAt
                )
            },
            together: { ("\($0) tenants", "have full journals") },
            advice: "Get their databases back first; raise JOURNAL_MAX_BYTES if the disk has room"
        )
    }

    private var tenantTroubles: [StatusProblem] {
        Self.gather(
            tenants.compactMap { tenant in
                guard let trouble = tenant.trouble else {
                    guard !tenant.isDatabaseReachable else { return nil }
                    return StatusProblem(
                        severity: .critical,
                        subject: "Tenant \(tenant.name)",
                        message: "its database does not answer. \(tenant.consolation)"
                    )
                }
                return StatusProblem(
                    severity: .critical,
                    subject: "Tenant \(tenant.name)",
                    message: "\(trouble.message)\(trouble.message.endsSentence ? "" : ".") \(tenant.consolation)",
                    advice: trouble.advice,
                    since: trouble.since
                )
            },
            together: { ("\($0) tenants", "cannot store their readings") },
            example: tenants.lazy.compactMap(\.trouble).first?.message,
            advice: "The tenants below say why, one by one"
        )
    }

    private var downConnections: [StatusProblem] {
        Self.gather(
            connections.filter { $0.state == .down }.map { connection in
                StatusProblem(
                    severity: .critical,
                    subject: connection.title,
                    message: "is down; it is tried again at the longest delay"
                        + (connection.lastError.map { ": \($0.message)" } ?? ""),
                    advice: connection.lastError?.advice,
                    since: connection.stateSince
                )
            },
            together: { ("\($0) connections", "are down") },
            example: connections.first { $0.state == .down && $0.lastError != nil }?.lastError?.message,
            advice: "The connections below say why, one by one"
        )
    }

    private var waitingConnections: [StatusProblem] {
        let waiting = connections.filter { connection in
            guard connection.state == .backingOff || connection.state == .connecting else { return false }
            return connection.stateSince.map { generatedAt - $0 > Self.patience } ?? false
                || connection.lastError != nil
        }
        return Self.gather(
            waiting.map { connection in
                StatusProblem(
                    severity: .warning,
                    subject: connection.title,
                    message: "is not connected; it is tried again"
                        + (connection.lastError.map { ": \($0.message)" } ?? ""),
                    advice: connection.lastError?.advice,
                    since: connection.stateSince
                )
            },
            together: { ("\($0) connections", "are being tried again") },
            example: waiting.lazy.compactMap(\.lastError).first?.message,
            advice: "The connections below say why, one by one"
        )
    }

    private var fillingJournals: [StatusProblem] {
        Self.gather(
            tenants.filter { !$0.isIntakeStopped && ($0.journalShare ?? 0) >= 0.8 }.map { tenant in
                StatusProblem(
                    severity: .warning,
                    subject: "Tenant \(tenant.name)",
                    message:
                        "its journal is \(Quantities.percent(tenant.journalShare ?? 0)) full; intake stops when it has no "
                        + "room",
                    advice: "Find out why its database takes less than comes in",
                    since: tenant.oldestUnstoredAt
                )
            },
            together: { ("\($0) tenants", "have nearly full journals") },
            advice: "Find out why their databases take less than comes in"
        )
    }

    private var laggingTenants: [StatusProblem] {
        let lagging = tenants.filter { tenant in
            tenant.trouble == nil && tenant.isDatabaseReachable
                && tenant.oldestUnstoredAt.map { generatedAt - $0 > Self.patience } ?? false
        }
        return Self.gather(
            lagging.map { tenant in
                StatusProblem(
                    severity: .warning,
                    subject: "Tenant \(tenant.name)",
                    message: "storing lags behind: \(Quantities.plural(tenant.backlogReadings, "reading")) "
                        + (tenant.backlogReadings == 1 ? "waits" : "wait"),
                    advice: "After an outage this passes; else the database is slower than the load",
                    since: tenant.oldestUnstoredAt
                )
            },
            together: { ("\($0) tenants", "lag behind") },
            advice: "After an outage this passes; else the databases or DB_MAX_CONNECTIONS are too small for the load"
        )
    }

    private var refusedTags: [StatusProblem] {
        Self.gather(
            connections.filter { $0.tagsBad > 0 && $0.state == .connected }.map { connection in
                StatusProblem(
                    severity: .warning,
                    subject: connection.title,
                    message: "the server refuses \(Quantities.count(connection.tagsBad)) of "
                        + Quantities.plural(connection.tagsTotal, "tag"),
                    advice: "Bad tags below say why; they are tried again by themselves"
                )
            },
            together: { ("\($0) connections", "have tags that their servers refuse") },
            advice: "Bad tags below say why; they are tried again by themselves"
        )
    }

    private var silences: [StatusProblem] {
        Self.gather(
            connections.filter { $0.tagsSilent > 0 && $0.state == .connected }.map { connection in
                let isAll = connection.tagsSilent >= connection.tagsTotal - connection.tagsBad
                return StatusProblem(
                    severity: .warning,
                    subject: connection.title,
                    message: isAll
                        ? "is connected, and none of its \(Quantities.plural(connection.tagsTotal, "tag")) sends any more"
                        : "\(Quantities.count(connection.tagsSilent)) of \(Quantities.plural(connection.tagsTotal, "tag")) "
                            + "\(connection.tagsSilent == 1 ? "is" : "are") quiet far longer than ever before",
                    advice: isAll
                        ? "See whether the server still gets values from its field"
                        : "Silent tags below name them; see whether their instruments work"
                )
            },
            together: { ("\($0) connections", "have tags that are quiet far longer than ever before") },
            advice: "Silent tags below name them; see whether their instruments work"
        )
    }

    private var rejections: [StatusProblem] {
        Self.gather(
            tenants.filter { $0.readingsRejected > 0 }.map { tenant in
                StatusProblem(
                    severity: .warning,
                    subject: "Tenant \(tenant.name)",
                    message:
                        "its database has refused \(Quantities.plural(tenant.readingsRejected, "reading")) since the "
                        + "daemon started",
                    advice: "They are kept, with the reason, in its table scada_rejected_readings"
                )
            },
            together: { ("\($0) tenants", "had readings refused by their databases") },
            advice: "They are kept, with the reason, in the tables scada_rejected_readings"
        )
    }

    private var unhealedGaps: [StatusProblem] {
        let recent = gaps.filter { $0.endedAt != nil && $0.healedAt == nil && generatedAt - $0.startedAt < Self.day }
        guard !recent.isEmpty else { return [] }
        return [
            StatusProblem(
                severity: .warning,
                subject: Quantities.plural(recent.count, "gap"),
                message:
                    "of the last 24 hours \(recent.count == 1 ? "is" : "are") not filled from the servers' history",
                advice: "Gaps below name the causes",
                since: recent.map(\.startedAt).min()
            )
        ]
    }

    private var expiredCertificates: [StatusProblem] {
        certificates.filter { $0.expiresAt <= generatedAt }.map { certificate in
            StatusProblem(
                severity: .critical,
                subject: "Certificate \(certificate.subject)",
                message: "(\(certificate.role)) has expired; connections that need it fail",
                advice: "Replace it",
                since: certificate.expiresAt
            )
        }
    }

    private var expiringCertificates: [StatusProblem] {
        certificates.filter { $0.expiresAt > generatedAt && $0.expiresAt - generatedAt < 30 * Self.day }.map {
            certificate in
            StatusProblem(
                severity: .warning,
                subject: "Certificate \(certificate.subject)",
                message: "(\(certificate.role)) expires in "
                    + Quantities.age(microseconds: certificate.expiresAt - generatedAt),
                advice: "Replace it before"
            )
        }
    }
}

extension String {
    fileprivate var endsSentence: Bool { last.map { ".?!".contains($0) } ?? false }
}

extension StatusReport.Tenant {
    /// How full the journal is, 0 to 1; nil = its room is not known.
    var journalShare: Double? {
        journalLimitBytes > 0 ? Double(journalBytes) / Double(journalLimitBytes) : nil
    }

    /// What the operator wants to know before going back to sleep.
    fileprivate var consolation: String {
        if isIntakeStopped { return "Its journal is full" }
        let waiting = "\(Quantities.plural(backlogReadings, "reading")) \(backlogReadings == 1 ? "waits" : "wait")"
        guard let share = journalShare else { return "\(waiting) in the journal" }
        return "\(waiting) in the journal, \(Quantities.percent(share)) full; nothing is lost while it has room"
    }
}

extension StatusReport.Connection {
    /// The name, or the id where there is none, with its tenant.
    var title: String { "\(name.isEmpty ? id : name) (\(tenant))" }
}
