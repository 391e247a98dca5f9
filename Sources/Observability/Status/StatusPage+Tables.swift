extension StatusPage {
    /// Rows without trouble are folded away when there are more.
    private static let mostHealthyShown = 25
    /// Rows of one table with, and without, trouble; the rest is in status.json only.
    private static let mostTroubled = 300
    private static let mostHealthy = 300

    /// A table whose rows with trouble come first, and whose rows without are folded when there are many.
    private func table<Row>(
        _ html: inout HTMLWriter,
        title: StaticString,
        rows: [Row],
        isTroubled: (Row) -> Bool,
        header: StaticString,
        row: (Row, inout HTMLWriter) -> Void
    ) {
        guard !rows.isEmpty else { return }
        let troubled = rows.filter(isTroubled)
        let healthy = rows.filter { !isTroubled($0) }
        let folds = healthy.count > Self.mostHealthyShown
        html.raw("<section><h2>")
        html.raw(title)
        html.raw(" <span class=quiet>")
        html.text(Quantities.count(rows.count))
        html.raw("</span></h2>")
        let shown = troubled.prefix(Self.mostTroubled) + (folds ? [] : healthy)
        if !shown.isEmpty { body(&html, header, Array(shown), row) }
        if folds {
            html.raw("<details><summary>")
            html.text(Quantities.count(healthy.count))
            html.raw(troubled.isEmpty ? " without trouble" : " more without trouble")
            html.raw("</summary>")
            body(&html, header, Array(healthy.prefix(Self.mostHealthy)), row)
            html.raw("</details>")
        }
        let left = max(0, troubled.count - Self.mostTroubled) + max(0, healthy.count - Self.mostHealthy)
        if left > 0 { more(left, &html) }
        html.raw("</section>")
    }

    private func body<Row>(
        _ html: inout HTMLWriter,
        _ header: StaticString,
        _ rows: [Row],
        _ row: (Row, inout HTMLWriter) -> Void
    ) {
        html.raw("<table><thead><tr>")
        html.raw(header)
        html.raw("</tr></thead><tbody>")
        for element in rows { row(element, &html) }
        html.raw("</tbody></table>")
    }

    private func more(_ count: Int, _ html: inout HTMLWriter) {
        html.raw("<p class=quiet>and ")
        html.text(Quantities.count(count))
        html.raw(" more, all of them in <a href=status.json>status.json</a></p>")
    }

    // MARK: - Tenants

    private func level(_ tenant: StatusReport.Tenant) -> Level {
        if tenant.trouble != nil || !tenant.isDatabaseReachable || tenant.isIntakeStopped { return .critical }
        let lags = tenant.oldestUnstoredAt.map { report.generatedAt - $0 > 60_000_000 } ?? false
        return lags || (tenant.journalShare ?? 0) >= 0.8 ? .warning : .fine
    }

    func tenants(_ html: inout HTMLWriter) {
        table(
            &html,
            title: "Tenants",
            rows: report.tenants.sorted { (-level($0).rawValue, $0.name) < (-level($1).rawValue, $1.name) },
            isTroubled: { level($0) != .fine },
            header: """
                <th>Tenant<th class=num>Connected<th class=num>Waiting<th class="num wide">Oldest<th class=num>Journal\
                <th class="num wide">Stored<th class=widest>Database
                """,
            row: tenantRow
        )
    }

    private func tenantRow(_ tenant: StatusReport.Tenant, _ html: inout HTMLWriter) {
        let level = level(tenant).name
        beginRow(level, isNoted: tenant.trouble != nil, &html)
        html.raw("<td><b>")
        html.text(tenant.name, limit: 120)
        html.raw("</b>")
        html.raw("</td><td class=num>")
        html.text("\(Quantities.count(tenant.connectionsActive))/\(Quantities.count(tenant.connectionsTotal))")
        html.raw("</td><td class=num>")
        html.text(Quantities.count(tenant.backlogReadings))
        html.raw("</td><td class=\"num wide\">")
        if let oldest = tenant.oldestUnstoredAt { age(oldest, &html) } else { html.raw("–") }
        html.raw("</td><td class=num>")
        journal(tenant, &html)
        html.raw("</td><td class=\"num wide\">")
        ago(tenant.lastStoredAt, &html)
        html.raw("</td><td class=widest>")
        html.text(tenant.database, limit: 120)
        if !tenant.isDatabaseReachable { html.raw(tenant.database.isEmpty ? "away" : ", away") }
        html.raw("</td></tr>")
        if let trouble = tenant.trouble { noteRow(level, trouble, &html) }
    }

    /// Bytes, and a bar where the room is known.
    private func journal(_ tenant: StatusReport.Tenant, _ html: inout HTMLWriter) {
        html.text(Quantities.bytes(tenant.journalBytes))
        guard let share = tenant.journalShare else { return }
        html.raw(" <svg class=bar viewBox=\"0 0 50 8\" role=img aria-label=\"")
        html.text("\(Quantities.percent(share)) full")
        html.raw("\"><title>")
        html.text("\(Quantities.percent(share)) of \(Quantities.bytes(tenant.journalLimitBytes))")
        html.raw("</title><rect width=50 height=8 /><rect class=used height=8 width=")
        html.coordinate(50 * min(max(share, 0), 1))
        html.raw(" /></svg>")
    }

    /// - Parameter isNoted: a row with the error follows and belongs to this one.
    private func beginRow(_ level: StaticString, isNoted: Bool, _ html: inout HTMLWriter) {
        html.raw("<tr class=\"")
        html.raw(level)
        html.raw(isNoted ? " noted\">" : "\">")
    }

    /// The error and the advice, over the whole width below the figures.
    private func noteRow(_ level: StaticString, _ trouble: StatusReport.Trouble, _ html: inout HTMLWriter) {
        html.raw("<tr class=")
        html.raw(level)
        html.raw("><td colspan=7>")
        html.raw("<div class=error>")
        html.text(trouble.message, limit: 600)
        if let since = trouble.since {
            html.raw(" <span class=quiet>")
            ago(since, &html)
            html.raw("</span>")
        }
        html.raw("</div>")
        if let advice = trouble.advice {
            html.raw("<div class=advice>")
            html.text(advice, limit: 600)
            html.raw("</div>")
        }
        html.raw("</td></tr>")
    }

    // MARK: - Connections

    private func level(_ connection: StatusReport.Connection) -> Level {
        switch connection.state {
        case .down: .critical
        case .backingOff: .warning
        case .connecting, .idle: connection.lastError == nil ? .fine : .warning
        case .connected: connection.tagsBad > 0 || connection.tagsSilent > 0 ? .warning : .fine
        case .disabled, .elsewhere: .fine
        }
    }

    private static func word(_ state: StatusReport.ConnectionState) -> StaticString {
        switch state {
        case .idle: "idle"
        case .connecting: "connecting"
        case .connected: "connected"
        case .backingOff: "waiting to retry"
        case .down: "down"
        case .disabled: "switched off"
        case .elsewhere: "on another replica"
        }
    }

    func connections(_ html: inout HTMLWriter) {
        table(
            &html,
            title: "Connections",
            rows: report.connections.sorted {
                (-level($0).rawValue, $0.tenant, $0.name, $0.id) < (-level($1).rawValue, $1.tenant, $1.name, $1.id)
            },
            isTroubled: { level($0) != .fine },
            header: """
                <th>Connection<th>State<th class=num>Tags<th class=num>Last reading<th class="num wide">Received\
                <th class="num wide">Reconnects
                """,
            row: connectionRow
        )
    }

    private func connectionRow(_ connection: StatusReport.Connection, _ html: inout HTMLWriter) {
        let level = level(connection).name
        // While connected, the last failure is history.
        let trouble = connection.state == .connected ? nil : connection.lastError
        beginRow(level, isNoted: trouble != nil, &html)
        html.raw("<td title=\"")
        html.text(connection.id)
        html.raw("\"><b>")
        html.text(connection.name.isEmpty ? connection.id : connection.name, limit: 120)
        html.raw("</b> <span class=quiet>")
        html.text(connection.tenant, limit: 120)
        html.raw("</span><div class=\"quiet url\">")
        html.text(connection.endpointURL, limit: 300)
        if !connection.security.isEmpty {
            html.raw("<span class=wide> · ")
            html.text(connection.security, limit: 100)
            html.raw("</span>")
        }
        html.raw("</div>")
        if connection.state == .connected, let error = connection.lastError, let since = error.since,
            report.generatedAt - since < 86_400_000_000
        {
            html.raw("<div class=quiet>before, ")
            ago(since, &html)
            html.raw(": ")
            html.text(error.message, limit: 300)
            html.raw("</div>")
        }
        html.raw("</td><td class=state>")
        html.raw(Self.word(connection.state))
        if let since = connection.stateSince {
            html.raw(" <span class=quiet>")
            age(since, &html)
            html.raw("</span>")
        }
        html.raw("</td><td class=num>")
        html.text(Quantities.count(connection.tagsTotal))
        if connection.tagsBad > 0 {
            html.raw("<div class=error>")
            html.text("\(Quantities.count(connection.tagsBad)) bad")
            html.raw("</div>")
        }
        if connection.tagsSilent > 0 {
            html.raw("<div class=error>")
            html.text("\(Quantities.count(connection.tagsSilent)) silent")
            html.raw("</div>")
        }
        html.raw("</td><td class=num>")
        ago(connection.lastReadingAt, &html)
        html.raw("</td><td class=\"num wide\">")
        html.text(Quantities.count(connection.readingsReceived))
        html.raw("</td><td class=\"num wide\">")
        html.text(Quantities.count(connection.reconnects))
        html.raw("</td></tr>")
        if let trouble { noteRow(level, trouble, &html) }
    }

    // MARK: - The rest

    func badTags(_ html: inout HTMLWriter) {
        guard report.badTagsTotal > 0 || !report.badTags.isEmpty else { return }
        table(
            &html,
            title: "Bad tags",
            rows: report.badTags,
            isTroubled: { _ in true },
            header: "<th>Node<th>Server says<th class=num>Since"
        ) { tag, html in
            html.raw("<tr><td><b class=url>")
            html.text(tag.nodeID, limit: 200)
            html.raw("</b><div class=quiet>")
            html.text("\(tag.connection), \(tag.tenant)", limit: 200)
            html.raw("</div></td><td class=text>")
            html.text(tag.reason, limit: 300)
            html.raw("</td><td class=num>")
            if let since = tag.since { age(since, &html) } else { html.raw("–") }
            html.raw("</td></tr>")
        }
        let left = report.badTagsTotal - report.badTags.count
        if left > 0 {
            html.raw("<p class=quiet>and ")
            html.text(Quantities.count(left))
            html.raw(" more</p>")
        }
    }

    func silentTags(_ html: inout HTMLWriter) {
        guard report.silentTagsTotal > 0 else { return }
        table(
            &html,
            title: "Silent tags",
            rows: report.silentTags,
            isTroubled: { _ in true },
            header: "<th>Node<th class=num>Quiet for<th class=num>Before at most"
        ) { tag, html in
            html.raw("<tr><td><b class=url>")
            html.text(tag.nodeID, limit: 200)
            html.raw("</b><div class=quiet>")
            html.text("\(tag.connection), \(tag.tenant)", limit: 200)
            html.raw("</div></td><td class=num>")
            html.text(Quantities.age(microseconds: tag.quietMicroseconds))
            html.raw("</td><td class=num>")
            html.text(Quantities.age(microseconds: tag.longestBeforeMicroseconds))
            html.raw("</td></tr>")
        }
        let left = report.silentTagsTotal - report.silentTags.count
        if left > 0 {
            html.raw("<p class=quiet>and ")
            html.text(Quantities.count(left))
            html.raw(" more</p>")
        }
    }

    func gaps(_ html: inout HTMLWriter) {
        table(
            &html,
            title: "Gaps",
            rows: report.gaps,
            isTroubled: { $0.healedAt == nil },
            header:
                "<th>Where<th>Cause<th class=num>Began<th class=\"num wide\">Lasted<th class=\"num wide\">Lost<th>Filled"
        ) { gap, html in
            html.raw("<tr class=")
            html.raw(gap.healedAt == nil ? Level.warning.name : Level.fine.name)
            html.raw("><td><b>")
            html.text(gap.connection, limit: 120)
            html.raw("</b> <span class=quiet>")
            html.text(gap.tenant, limit: 120)
            html.raw("</span><div class=\"quiet url\">")
            html.text(gap.nodeID ?? "all tags", limit: 200)
            html.raw("</div></td><td class=text>")
            html.text(gap.cause.replacing("_", with: " "), limit: 200)
            html.raw("</td><td class=num>")
            ago(gap.startedAt, &html)
            html.raw("</td><td class=\"num wide\">")
            if let end = gap.endedAt {
                html.text(Quantities.seconds(Double(end - gap.startedAt) / 1e6))
            } else {
                html.raw("–")
            }
            html.raw("</td><td class=\"num wide\">")
            html.text(gap.readingsLost.map { Quantities.count($0) } ?? "unknown")
            html.raw("</td><td>")
            if gap.healedAt != nil {
                html.raw("from history")
            } else {
                html.raw(gap.endedAt == nil ? "still open" : "no")
            }
            html.raw("</td></tr>")
        }
    }

    func certificates(_ html: inout HTMLWriter) {
        let day: Int64 = 86_400_000_000
        func level(_ certificate: StatusReport.Certificate) -> Level {
            let left = certificate.expiresAt - report.generatedAt
            return left <= 0 ? .critical : left < 30 * day ? .warning : .fine
        }
        table(
            &html,
            title: "Certificates",
            rows: report.certificates.sorted { ($0.expiresAt, $0.subject) < ($1.expiresAt, $1.subject) },
            isTroubled: { level($0) != .fine },
            header: "<th>Certificate<th>For<th>Expires"
        ) { certificate, html in
            html.raw("<tr class=")
            html.raw(level(certificate).name)
            html.raw("><td><b>")
            html.text(certificate.subject, limit: 200)
            html.raw("</b></td><td>")
            html.text(certificate.role, limit: 120)
            html.raw("</td><td>")
            html.text(String(UTCTime.rfc3339(milliseconds: certificate.expiresAt / 1000).prefix(10)))
            let left = certificate.expiresAt - report.generatedAt
            html.raw(" <span class=quiet>")
            html.text(
                left > 0
                    ? "in \(Quantities.age(microseconds: left))" : "\(Quantities.age(microseconds: -left)) ago"
            )
            html.raw("</span></td></tr>")
        }
    }
}
