import FoundationEssentials
import Testing

@testable import Observability

@Suite("Status page and status.json")
struct StatusPageTests {
    func page(_ report: StatusReport, _ history: StatusHistory = SampleReports.history) -> String {
        String(decoding: StatusPage(report: report, history: history).document(nonce: "n0nce"), as: UTF8.self)
    }

    @Test func everythingIsEscaped() {
        let hostile = "</title><script>alert('x')</script>\" onload=\"x\u{0}\u{202E}&amp;"
        var report = SampleReports.trouble(tenants: 8)
        report.version = hostile
        report.replica = hostile
        report.notReadyReasons = [hostile]
        report.tenants[0].name = hostile
        report.tenants[0].database = hostile
        report.tenants[0].trouble = .init(hostile, advice: hostile)
        report.connections[0].id = hostile
        report.connections[0].tenant = hostile
        report.connections[0].name = hostile
        report.connections[0].endpointURL = hostile
        report.connections[0].security = hostile
        report.connections[0].lastError = .init(hostile, advice: hostile)
        report.connections[0].state = .down
        report.badTags[0] = .init(tenant: hostile, connection: hostile, nodeID: hostile, reason: hostile)
        report.gaps[0] = .init(tenant: hostile, connection: hostile, startedAt: 0, cause: hostile)
        report.gaps[0].nodeID = hostile
        report.certificates[0] = .init(role: hostile, subject: hostile, expiresAt: 0)
        let text = page(report)
        #expect(
            text.contains(
                "&lt;/title&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot; onload=&quot;x\u{FFFD}\u{FFFD}&amp;amp;"
            )
        )
        #expect(text.split(separator: "<script").count == 2)
        #expect(!text.contains("alert('") && !text.unicodeScalars.contains("\u{202E}") && !text.contains("onload=\""))
        #expect(!text.unicodeScalars.contains("\u{0}"))
    }

    /// Void elements, and those whose end may be left out and is.
    static let unclosed: Set<String> = ["!doctype", "meta", "link", "th", "path", "rect"]

    @Test(arguments: [
        SampleReports.empty, SampleReports.healthy(tenants: 30), SampleReports.trouble(tenants: 8),
        SampleReports.trouble(tenants: 40),
    ])
    func elementsAreBalanced(report: StatusReport) {
        var open: [String] = []
        for part in page(report).utf8.split(separator: UInt8(ascii: "<")) {
            let isEnd = part.first == UInt8(ascii: "/")
            let letters = part.drop { $0 == UInt8(ascii: "/") }.prefix { $0 != UInt8(ascii: ">") && $0 != 0x20 }
            let name = String(decoding: letters, as: UTF8.self)
            // The script compares numbers.
            if Self.unclosed.contains(name) || name.isEmpty || open.last == "script" && !isEnd { continue }
            if isEnd {
                guard open.popLast() == name else {
                    Issue.record("</\(name)> inside of \(open)")
                    return
                }
            } else {
                open.append(name)
            }
        }
        #expect(open.isEmpty)
    }

    @Test func theVerdict() {
        #expect(page(SampleReports.healthy(tenants: 2)).contains("<h1 class=fine>All well</h1>"))
        #expect(page(SampleReports.empty, StatusHistory()).contains("no tenants are configured yet</h1>"))
        let text = page(SampleReports.trouble(tenants: 8))
        #expect(text.contains("<h1 class=critical>3 problems need attention now, 6 can wait</h1>"))
        #expect(text.contains("<title>3 problems – scada-ingestion</title>"))
        var report = SampleReports.healthy(tenants: 2)
        report.connections[0].tagsBad = 1
        #expect(page(report).contains("<h1 class=warning>Nothing urgent; 1 thing to look at by day</h1>"))
    }

    @Test func manyRowsAreFoldedAndBounded() {
        let few = page(SampleReports.healthy(tenants: 8))
        #expect(!few.contains("<details>") && few.contains("Veslefrikk 1"))
        let text = page(SampleReports.healthy(tenants: 1000))
        #expect(text.contains("<summary>1,000 without trouble</summary>"))
        #expect(text.contains("and 700 more, all of them in <a href=status.json>"))
        #expect(text.utf8.count < 600_000)
    }

    @Test func thePartIsTheMiddleOfTheWhole() {
        let report = SampleReports.trouble(tenants: 8)
        let part = String(decoding: StatusPage(report: report, history: SampleReports.history).main(), as: UTF8.self)
        #expect(part.hasPrefix("<main ") && part.hasSuffix("</main>"))
        #expect(page(report).contains(part))
    }

    @Test(
        arguments: [
            (0, 1), (-1, 1), (.nan, 1), (0.03, 0.04), (1, 1), (1.01, 2), (2.1, 4), (4.5, 5), (5.1, 10), (99, 100),
            (123_456, 200_000),
        ] as [(Double, Double)]
    )
    func scales(highest: Double, top: Double) {
        #expect(abs(StatusPage.niceCeiling(highest) - top) < top * 1e-9)
    }

    @Test func linesCrossShortPausesOnly() {
        func path(_ points: [(Double, Double?)]) -> String {
            var html = HTMLWriter()
            StatusPage.chart(
                &html,
                label: "l",
                window: .tenMinutes,
                curves: [StatusPage.Curve(cssClass: "c", points: points)],
                format: { "\($0)" }
            )
            let text = String(decoding: html.bytes, as: UTF8.self)
            let start = text.firstRange(of: "class=\"line c\" d=\"")!.upperBound
            return String(text[start...].prefix { $0 != "\"" })
        }
        #expect(path([]) == "")
        #expect(path([(600, 0), (300, 0.5), (290, nil), (286, 1)]) == "M0 95.5h0M300 48h0L314 0.5")
        #expect(path([(60, 1), (40, .infinity), (0, 0)]) == "M540 0.5h0M600 95.5h0")
    }

    @Test(
        arguments: [
            (0, .minute), (59, .minute), (61, .twoMinutes), (250, .fiveMinutes), (301, .tenMinutes),
            (9000, .tenMinutes),
        ] as [(Int64, StatusPage.Window)]
    )
    func chartsLookBackAsFarAsThereIsSomething(seconds: Int64, window: StatusPage.Window) {
        let sample = StatusHistory.Sample(at: 1_000_000, receivedPerSecond: 0, storedPerSecond: 0, backlog: 0)
        #expect(StatusPage.Window([sample], at: (seconds + 1) * 1_000_000) == window)
        #expect(StatusPage.Window([], at: seconds) == .minute)
    }

    @Test func throughputIsSmoothed() {
        let samples = (0..<12).map { step in
            StatusHistory.Sample(
                at: Int64(step) * 2_000_000,
                receivedPerSecond: step.isMultiple(of: 5) ? 100 : 0,
                storedPerSecond: 0,
                backlog: 0
            )
        }
        let curve = StatusPage.smoothCurve("c", samples, at: 22_000_000, \.receivedPerSecond)
        #expect(curve.points.map(\.value) == [100, 50, 100.0 / 3, 25, 20, 20, 20, 20, 20, 20, 20, 20])
        #expect(curve.points.first?.secondsAgo == 22 && curve.points.last?.secondsAgo == 0)
    }

    // MARK: - JSON

    /// Some of the fields, read by a parser that was not written here.
    struct Decoded: Decodable {
        struct Problem: Decodable { var severity: String, subject: String, since_micros: Int64? }
        struct Trouble: Decodable { var message: String, advice: String? }
        struct Tenant: Decodable {
            var name: String, trouble: Trouble?, backlog_readings: Int64, oldest_unstored_at_micros: Int64?
        }
        struct Connection: Decodable { var name: String, state: String, last_error: Trouble?, tags_bad: Int }
        struct BadTag: Decodable { var node_id: String, reason: String }
        struct Gap: Decodable { var node_id: String?, ended_at_micros: Int64?, readings_lost: Int64? }
        struct Certificate: Decodable { var subject: String, expires_at_micros: Int64 }
        struct Sample: Decodable { var at_micros: Int64, received_per_second: Double, delay_p95_seconds: Double? }
        struct History: Decodable { var interval_ms: Int, samples: [Sample] }
        var version: String, ready: Bool, readings_received: UInt64, bad_tags_total: Int
        var problems: [Problem], tenants: [Tenant], connections: [Connection], bad_tags: [BadTag], gaps: [Gap]
        var certificates: [Certificate], history: History
    }

    @Test func jsonSaysTheSame() throws {
        let report = SampleReports.trouble(tenants: 100)
        let history = SampleReports.history
        let decoded = try JSONDecoder().decode(Decoded.self, from: Data(report.json(history: history)))
        #expect(decoded.version == "1.0.0" && decoded.ready && decoded.readings_received == 123_456_789)
        #expect(decoded.problems.map(\.subject) == report.problems.map(\.subject))
        #expect(decoded.tenants.map(\.name) == report.tenants.map(\.name))
        #expect(decoded.tenants[3].trouble?.message == report.tenants[3].trouble?.message)
        #expect(decoded.tenants[0].trouble == nil && decoded.tenants[3].backlog_readings == 4_812_345)
        #expect(decoded.connections.map(\.name) == report.connections.map(\.name))
        #expect(decoded.connections[11].state == "backing_off" && decoded.connections[12].tags_bad == 3)
        #expect(decoded.bad_tags.map(\.node_id) == report.badTags.map(\.nodeID))
        #expect(decoded.gaps.map(\.ended_at_micros) == report.gaps.map(\.endedAt))
        #expect(decoded.certificates.map(\.expires_at_micros) == report.certificates.map(\.expiresAt))
        #expect(decoded.history.interval_ms == 2000)
        #expect(decoded.history.samples.map(\.at_micros) == history.samples.map(\.at))
        #expect(decoded.history.samples.map(\.delay_p95_seconds) == history.samples.map(\.delayP95))
    }

    @Test func nothingIsValidJSONToo() throws {
        let decoded = try JSONDecoder().decode(Decoded.self, from: Data(SampleReports.empty.json()))
        #expect(decoded.tenants.isEmpty && decoded.history.samples.isEmpty && decoded.ready)
    }
}
