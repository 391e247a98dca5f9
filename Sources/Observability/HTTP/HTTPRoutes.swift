import Metrics
import NIOHTTP1

/// What is served where. Any thread.
struct HTTPRoutes: Sendable {
    let registry: Registry
    let source: any StatusSource
    let report: SharedReport
    /// Else `/` only links the other resources, and /status.json is not there.
    let showsStatusPage: Bool
    let history: @Sendable () -> StatusHistory

    enum Answer: Sendable {
        case now(HTTPContent)
        case later(@Sendable () async -> HTTPContent)
    }

    /// - Parameter target: the request target (RFC 9112, 3.2); its query is ignored.
    func answer(_ method: HTTPMethod, _ target: String, accept: AcceptHeader) -> Answer {
        guard let answer = resource(target, accept) else {
            return .now(HTTPContent(.notFound, "not found\n"))
        }
        guard method == .GET || method == .HEAD else {
            return .now(HTTPContent(.methodNotAllowed, "GET or HEAD only\n", headers: [("Allow", "GET, HEAD")]))
        }
        return answer()
    }

    private func resource(_ target: String, _ accept: AcceptHeader) -> (() -> Answer)? {
        switch Self.path(of: target) {
        case "/" where showsStatusPage: { .later { await page(isPart: target.hasSuffix("?part=main")) } }
        case "/": { .now(HTTPContent(.ok, type: HTTPContent.html, body: Array(Self.index.utf8))) }
        case "/metrics": { .now(metrics(accept)) }
        case "/healthz": { .now(HTTPContent(.ok, "ok\n")) }
        case "/readyz": { .now(readiness(accept)) }
        case "/status.json" where showsStatusPage:
            {
                .later {
                    let report = await report.current()
                    return HTTPContent(.ok, type: HTTPContent.json, body: report.json(history: history()))
                }
            }
        default: nil
        }
    }

    /// The status page, or the part of it that its script fetches.
    private func page(isPart: Bool) async -> HTTPContent {
        let page = StatusPage(report: await report.current(), history: history())
        if isPart { return HTTPContent(.ok, type: HTTPContent.html, body: page.main()) }
        var random = SystemRandomNumberGenerator()
        let nonce = String(random.next(), radix: 36) + String(random.next(), radix: 36)
        let policy =
            "default-src 'none'; style-src 'nonce-\(nonce)'; script-src 'nonce-\(nonce)'; img-src data:; "
            + "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        return HTTPContent(
            .ok,
            type: HTTPContent.html,
            body: page.document(nonce: nonce),
            headers: [("Content-Security-Policy", policy), ("Referrer-Policy", "no-referrer")]
        )
    }

    /// The absolute form, sent to proxies, is as good as the origin form.
    static func path(of target: String) -> Substring {
        var path = target[...]
        if let scheme = path.firstRange(of: "://"), !path.hasPrefix("/") {
            path = path[scheme.upperBound...].drop { $0 != "/" }
            if path.isEmpty { path = "/" }
        }
        return path.prefix { $0 != "?" && $0 != "#" }
    }

    private func metrics(_ accept: AcceptHeader) -> HTTPContent {
        let openMetrics = accept.prefersOpenMetrics
        return HTTPContent(
            .ok,
            type: openMetrics ? HTTPContent.openMetrics : HTTPContent.prometheus,
            body: registry.render(openMetrics: openMetrics),
            headers: [("Vary", "Accept")]
        )
    }

    private func readiness(_ accept: AcceptHeader) -> HTTPContent {
        let reasons = source.notReadyReasons()
        let status = reasons.isEmpty ? HTTPResponseStatus.ok : .serviceUnavailable
        guard accept.prefersJSON else {
            let text = reasons.isEmpty ? "ready\n" : reasons.map { $0 + "\n" }.joined()
            return HTTPContent(status, text, headers: [("Vary", "Accept")])
        }
        var json = JSONWriter()
        json.object { json in
            json.key("ready")
            json.bool(reasons.isEmpty)
            json.key("reasons")
            json.array { json in
                for reason in reasons { json.string(reason) }
            }
        }
        return HTTPContent(status, type: HTTPContent.json, body: json.bytes, headers: [("Vary", "Accept")])
    }

    private static let index = """
        <!doctype html>
        <html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
        <meta name="color-scheme" content="light dark"><title>scada-ingestion</title>
        <h1>scada-ingestion</h1>
        <ul><li><a href="metrics">metrics</a><li><a href="readyz">readiness</a><li><a href="healthz">health</a></ul></html>

        """
}
