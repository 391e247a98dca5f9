/// The page for people at `/`: made here, whole, from the report, so that it works without a script. The script on it only
/// fetches `main` anew every two seconds and changes what differs in place.
///
/// One renderer makes both, so that what is escaped is escaped in one place.
struct StatusPage {
    let report: StatusReport
    let history: StatusHistory
    let problems: [StatusProblem]

    init(report: StatusReport, history: StatusHistory) {
        self.report = report
        self.history = history
        problems = report.problems
    }

    enum Level: Int {
        case fine, warning, critical

        var name: StaticString {
            switch self {
            case .fine: "fine"
            case .warning: "warning"
            case .critical: "critical"
            }
        }
    }

    private var level: Level {
        switch problems.first?.severity {
        case .critical: .critical
        case .warning: .warning
        case nil: .fine
        }
    }

    // MARK: - Whole

    /// - Parameter nonce: allows this page's own style and script and nothing else (CSP).
    func document(nonce: String) -> [UInt8] {
        var html = HTMLWriter()
        html.raw("<!doctype html><html lang=en><head><meta charset=utf-8>")
        html.raw("<meta name=viewport content=\"width=device-width, initial-scale=1\">")
        html.raw("<meta name=color-scheme content=\"light dark\"><meta name=robots content=noindex>")
        html.raw("<noscript><meta http-equiv=refresh content=10></noscript><title>")
        html.text(title)
        html.raw("</title><link rel=icon href=\"")
        Self.icon(level, &html)
        html.raw("\"><style nonce=\"")
        html.text(nonce)
        html.raw("\">")
        html.raw(Self.style)
        html.raw("</style></head><body><p id=stale role=alert hidden></p>")
        main(&html)
        html.raw(
            "<footer><a href=status.json>status.json</a> <a href=metrics>metrics</a> <a href=readyz>readiness</a> "
        )
        html.raw("<a href=healthz>health</a></footer><script nonce=\"")
        html.text(nonce)
        html.raw("\">")
        html.raw(Self.script)
        html.raw("</script></body></html>\n")
        return html.bytes
    }

    /// The part that changes.
    func main() -> [UInt8] {
        var html = HTMLWriter()
        main(&html)
        return html.bytes
    }

    private var title: String {
        let urgent = problems.count { $0.severity == .critical }
        if urgent > 0 { return "\(Quantities.plural(urgent, "problem")) – scada-ingestion" }
        return problems.isEmpty ? "All well – scada-ingestion" : "Running – scada-ingestion"
    }

    private func main(_ html: inout HTMLWriter) {
        html.raw("<main data-title=\"")
        html.text(title)
        html.raw("\" data-icon=\"")
        Self.icon(level, &html)
        html.raw("\">")
        head(&html)
        verdict(&html)
        figures(&html)
        charts(&html)
        tenants(&html)
        connections(&html)
        badTags(&html)
        silentTags(&html)
        gaps(&html)
        certificates(&html)
        html.raw("</main>")
    }

    // MARK: - Top

    private func head(_ html: inout HTMLWriter) {
        html.raw("<header><span><b>scada-ingestion</b> ")
        html.text(report.version)
        if !report.replica.isEmpty {
            html.raw(" on ")
            html.text(report.replica, limit: 80)
        }
        if let sharing = report.sharing {
            html.raw(", ")
            html.text("\(sharing.held) of the connections; replicas alive: ")
            html.text(sharing.replicas.joined(separator: ", "), limit: 400)
            if !sharing.trouble.isEmpty {
                html.raw("; <b>leases not renewed:</b> ")
                html.text(sharing.trouble, limit: 200)
            }
        }
        html.raw("</span><span>up ")
        html.text(Quantities.age(microseconds: report.generatedAt - report.startedAt))
        html.raw(" · <b>")
        html.text(UTCTime.rfc3339(milliseconds: report.generatedAt / 1000).dropFirst(11).prefix(8) + " UTC")
        html.raw("</b></span></header>")
    }

    private func verdict(_ html: inout HTMLWriter) {
        html.raw("<section class=verdict><h1 class=")
        html.raw(level.name)
        html.raw(">")
        html.text(verdictText)
        html.raw("</h1>")
        if !problems.isEmpty {
            html.raw("<ul class=problems>")
            for problem in problems.prefix(Self.mostProblems) { line(problem, &html) }
            html.raw("</ul>")
            if problems.count > Self.mostProblems {
                html.raw("<p class=quiet>and ")
                html.text(Quantities.count(problems.count - Self.mostProblems))
                html.raw(" more, all of them in <a href=status.json>status.json</a></p>")
            }
        }
        html.raw("</section>")
    }

    private static let mostProblems = 20

    private var verdictText: String {
        let urgent = problems.count { $0.severity == .critical }
        let other = problems.count - urgent
        if urgent > 0 {
            return Quantities.plural(urgent, "problem needs", "problems need") + " attention now"
                + (other > 0 ? ", \(Quantities.count(other)) can wait" : "")
        }
        if other > 0 { return "Nothing urgent; \(Quantities.plural(other, "thing")) to look at by day" }
        return report.tenants.isEmpty ? "Running; no tenants are configured yet" : "All well"
    }

    private func line(_ problem: StatusProblem, _ html: inout HTMLWriter) {
        html.raw("<li class=")
        html.raw(problem.severity == .critical ? "critical" : "warning")
        html.raw("><b>")
        html.text(problem.subject, limit: 200)
        html.raw("</b> ")
        html.text(problem.message, limit: 400)
        if let since = problem.since {
            html.raw(" <span class=quiet>for ")
            age(since, &html)
            html.raw("</span>")
        }
        if let advice = problem.advice {
            html.raw("<div class=advice>")
            html.text(advice, limit: 600)
            html.raw("</div>")
        }
        html.raw("</li>")
    }

    // MARK: - Figures

    private func figures(_ html: inout HTMLWriter) {
        let rates = history.rates()
        let backlog = report.tenants.reduce(0) { $0 &+ $1.backlogReadings }
        let oldest = report.tenants.compactMap(\.oldestUnstoredAt).min()
        let delay = history.samples.last { $0.delayP95 != nil }
        let wanted = report.connections.filter { $0.state != .disabled && $0.state != .elsewhere }
        let up = wanted.count { $0.state == .connected }
        let storing = report.tenants.count { $0.trouble == nil && $0.isDatabaseReachable }
        html.raw("<dl class=figures>")
        figure("Received", rates.map { Quantities.rate($0.received) } ?? "–", "", .fine, &html)
        figure("Stored", rates.map { Quantities.rate($0.stored) } ?? "–", "", .fine, &html)
        figure(
            "Waiting",
            Quantities.count(backlog),
            oldest.map { "oldest \(Quantities.age(microseconds: report.generatedAt - $0))" } ?? "",
            .fine,
            &html
        )
        figure(
            "Delay p95",
            delay?.delayP95.map(Quantities.seconds) ?? "–",
            delay?.delayMedian.map { "median \(Quantities.seconds($0))" } ?? "",
            .fine,
            &html
        )
        figure(
            "Connected",
            "\(Quantities.count(up)) of \(Quantities.count(wanted.count))",
            "",
            up == wanted.count ? .fine : .warning,
            &html
        )
        figure(
            "Tenants storing",
            "\(Quantities.count(storing)) of \(Quantities.count(report.tenants.count))",
            "",
            storing == report.tenants.count ? .fine : .critical,
            &html
        )
        figure(
            "Bad tags",
            Quantities.count(report.badTagsTotal),
            "",
            report.badTagsTotal == 0 ? .fine : .warning,
            &html
        )
        figure(
            "Silent tags",
            Quantities.count(report.silentTagsTotal),
            "",
            report.silentTagsTotal == 0 ? .fine : .warning,
            &html
        )
        html.raw("</dl>")
    }

    private func figure(
        _ name: StaticString,
        _ value: String,
        _ detail: String,
        _ level: Level,
        _ html: inout HTMLWriter
    ) {
        html.raw("<div><dt>")
        html.raw(name)
        html.raw("</dt><dd class=")
        html.raw(level.name)
        html.raw(">")
        html.text(value)
        html.raw("</dd><dd class=quiet>")
        html.text(detail)
        html.raw("</dd></div>")
    }

    private func charts(_ html: inout HTMLWriter) {
        let samples = history.samples
        let now = report.generatedAt
        let window = Window(samples, at: now)
        html.raw(
            "<div class=charts><figure><figcaption>Readings a second: <span class=\"key received\">received</span> "
        )
        html.raw("<span class=\"key stored\">stored</span></figcaption>")
        Self.chart(
            &html,
            label: "Readings received and stored a second until now",
            window: window,
            curves: [
                Self.smoothCurve("received", samples, at: now, \.receivedPerSecond),
                Self.smoothCurve("stored", samples, at: now, \.storedPerSecond),
            ],
            format: { Quantities.rate($0) }
        )
        html.raw(
            "</figure><figure><figcaption>Delay from the source to the database: <span class=\"key p95\">p95</span> "
        )
        html.raw("<span class=\"key median\">median</span></figcaption>")
        Self.chart(
            &html,
            label: "Delay from source timestamp to commit until now",
            window: window,
            curves: [
                Self.curve("p95", samples, at: now, \.delayP95), Self.curve("median", samples, at: now, \.delayMedian),
            ],
            format: Quantities.seconds
        )
        html.raw("</figure></div>")
    }

    // MARK: - Times

    /// How long ago; the moment itself is in the tooltip.
    func age(_ time: Int64, _ html: inout HTMLWriter) {
        html.raw("<time title=\"")
        html.text(UTCTime.rfc3339(milliseconds: time / 1000))
        html.raw("\">")
        html.text(Quantities.age(microseconds: report.generatedAt - time))
        html.raw("</time>")
    }

    func ago(_ time: Int64?, _ html: inout HTMLWriter) {
        guard let time else { return html.raw("never") }
        age(time, &html)
        html.raw(" ago")
    }
}
