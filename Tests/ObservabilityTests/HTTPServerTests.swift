import Logging
import Metrics
import Synchronization
import Testing

@testable import Observability

@Suite("HTTP endpoint")
struct HTTPServerTests {
    let source = TestSource()
    let registry = Registry()

    init() {
        registry.counter(MetricName("a_total", "A.", labels: ["x"])).with("1").add(7)
    }

    func makeServer(_ change: (inout HTTPServerOptions) -> Void = { _ in }) -> HTTPServer {
        var options = HTTPServerOptions(host: "127.0.0.1", port: 0)
        change(&options)
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        return HTTPServer(options: options, registry: registry, source: source, logger: logger)
    }

    /// A server for the time of the body.
    func withServer(
        _ change: (inout HTTPServerOptions) -> Void = { _ in },
        _ body: (HTTPServer, Int) async throws -> Void
    ) async throws {
        let server = makeServer(change)
        let port = try await server.start()
        do {
            try await body(server, port)
        } catch {
            await server.stop()
            throw error
        }
        await server.stop()
    }

    func exchange(_ port: Int, _ request: String) async throws -> ResponseReader.Response {
        let client = try RawClient(port: port)
        try await client.send(request)
        var reader = ResponseReader(client)
        return try #require(try await reader.next(isHead: request.hasPrefix("HEAD")))
    }

    @Test func resources() async throws {
        try await withServer { _, port in
            let metrics = try await exchange(port, "GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n")
            #expect(metrics.status == 200)
            #expect(metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8")
            #expect(metrics.body == "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1\"} 7\n")
            let open = try await exchange(
                port,
                "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text\r\nAccept: text/plain;q=0.5\r\n\r\n"
            )
            #expect(open.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8")
            #expect(open.body.hasSuffix("\n# EOF\n"))
            let health = try await exchange(port, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            #expect(health.status == 200 && health.body == "ok\n")
            let status = try await exchange(port, "GET /status.json HTTP/1.1\r\nHost: a\r\n\r\n")
            #expect(
                status.body.hasPrefix(#"{"version":"test","#) && status.headers["content-type"] == "application/json"
            )
            let page = try await exchange(port, "GET http://host/ HTTP/1.1\r\nHost: a\r\n\r\n")
            #expect(page.status == 200 && page.headers["content-type"] == "text/html; charset=utf-8")
        }
    }

    @Test func theStatusPageRunsItsOwnScriptOnly() async throws {
        try await withServer { _, port in
            let page = try await exchange(port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            let policy = try #require(page.headers["content-security-policy"])
            let start = try #require(policy.firstRange(of: "script-src 'nonce-")).upperBound
            let nonce = String(policy[start...].prefix { $0 != "'" })
            #expect(policy.hasPrefix("default-src 'none';") && nonce.count > 16)
            #expect(
                page.body.contains("<script nonce=\"\(nonce)\">") && page.body.contains("<style nonce=\"\(nonce)\">")
            )
            let again = try await exchange(port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            #expect(again.headers["content-security-policy"] != policy)
            let part = try await exchange(port, "GET /?part=main HTTP/1.1\r\nHost: a\r\n\r\n")
            #expect(part.body.hasPrefix("<main ") && part.body.hasSuffix("</main>"))
        }
    }

    @Test func theStatusPageCanBeSwitchedOff() async throws {
        try await withServer {
            $0.showsStatusPage = false
        } _: { _, port in
            let page = try await exchange(port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            #expect(page.status == 200 && page.body.contains("href=\"metrics\"") && !page.body.contains("<main"))
            #expect(try await exchange(port, "GET /status.json HTTP/1.1\r\nHost: a\r\n\r\n").status == 404)
            #expect(source.asked == 0)
        }
    }

    @Test func manyViewersAreOneQuestion() async throws {
        let shared = SharedReport(source: source, validity: .seconds(3600))
        source.holdStatus()
        async let first = shared.current()
        async let second = shared.current()
        #expect(await eventually { source.asked == 1 })
        source.releaseStatus()
        let reports = await [first, second, shared.current()]
        #expect(reports.allSatisfy { $0.version == "test" } && source.asked == 1)
        let impatient = SharedReport(source: source, validity: .zero)
        _ = await (impatient.current(), impatient.current())
        #expect(source.asked == 3)
    }

    @Test func samplesAreTaken() async throws {
        try await withServer { _, _ in
            #expect(await eventually { source.sampled >= 2 })
        }
    }

    @Test func readiness() async throws {
        try await withServer { _, port in
            let ready = try await exchange(port, "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
            #expect(ready.status == 200 && ready.body == "ready\n")
            source.reasons.withLock { $0 = ["the master database does not answer", "no \"b\""] }
            let waiting = try await exchange(port, "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
            #expect(waiting.status == 503 && waiting.body == "the master database does not answer\nno \"b\"\n")
            let json = try await exchange(port, "GET /readyz HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n")
            #expect(json.status == 503 && json.headers["content-type"] == "application/json")
            #expect(json.body == #"{"ready":false,"reasons":["the master database does not answer","no \"b\""]}"#)
        }
    }

    @Test(arguments: ["/", "/metrics", "/healthz", "/readyz", "/status.json", "/none"])
    func headIsGetWithoutBody(path: String) async throws {
        try await withServer { _, port in
            let get = try await exchange(port, "GET \(path) HTTP/1.1\r\nHost: a\r\n\r\n")
            let head = try await exchange(port, "HEAD \(path) HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            #expect(head.status == get.status)
            if path == "/" || path == "/status.json" {
                // These have the samples of the time between in them.
                #expect(head.headers["content-length"].flatMap { Int($0) } ?? 0 > 200)
            } else {
                #expect(head.headers["content-length"] == String(get.body.utf8.count))
            }
            #expect(head.headers["content-type"] == get.headers["content-type"])
            #expect(head.headers["connection"] == "close" && get.headers["connection"] == nil)
        }
    }

    @Test func headSendsNoBody() async throws {
        try await withServer { _, port in
            let client = try RawClient(port: port)
            try await client.send("HEAD /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            #expect(try await client.receiveAll().hasSuffix("\r\n\r\n"))
        }
    }

    /// Named, so that the output of the tests stays readable.
    enum Refusal: String, CaseIterable {
        case unknown, unknownBelow, postToUnknown, post, delete, options, longTarget, longHeader, manyHeaders, longBody
        case futureVersion, garbage, badLength

        var request: String {
            switch self {
            case .unknown: "GET /none HTTP/1.1\r\nHost: a\r\n\r\n"
            case .unknownBelow: "GET /metrics/x HTTP/1.1\r\nHost: a\r\n\r\n"
            case .postToUnknown: "POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
            case .post: "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"
            case .delete: "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n"
            case .options: "OPTIONS /readyz HTTP/1.1\r\nHost: a\r\n\r\n"
            case .longTarget: "GET /\(String(repeating: "x", count: 5000)) HTTP/1.1\r\nHost: a\r\n\r\n"
            case .longHeader: "GET / HTTP/1.1\r\nX: \(String(repeating: "x", count: 20_000))\r\n\r\n"
            case .manyHeaders: "GET / HTTP/1.1\r\n\(String(repeating: "Xx: y\r\n", count: 5000))\r\n"
            case .longBody: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
            case .futureVersion: "GET / HTTP/9.9\r\n\r\n"
            case .garbage: "\u{0}\u{1}\u{2}garbage\r\n\r\n"
            case .badLength: "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"
            }
        }

        var status: Int {
            switch self {
            case .unknown, .unknownBelow, .postToUnknown: 404
            case .post, .delete, .options: 405
            case .longTarget: 414
            case .longHeader, .manyHeaders: 431
            case .longBody: 413
            case .futureVersion, .garbage, .badLength: 400
            }
        }
    }

    @Test(arguments: Refusal.allCases)
    func refusals(refusal: Refusal) async throws {
        try await withServer { _, port in
            let response = try await exchange(port, refusal.request)
            #expect(response.status == refusal.status)
            #expect(response.headers["allow"] == (refusal.status == 405 ? "GET, HEAD" : nil))
        }
    }

    @Test func refusalsEndTheConnectionAndNothingElse() async throws {
        try await withServer { _, port in
            for request in ["nonsense\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"] {
                let client = try RawClient(port: port)
                try await client.send(request)
                // A body without end, until the server has had enough.
                if request.hasPrefix("POST") {
                    for _ in 0..<40 { try await client.send("1000\r\n\(String(repeating: "x", count: 4096))\r\n") }
                }
                var reader = ResponseReader(client)
                let response = try #require(try await reader.next())
                #expect(response.status == (request.hasPrefix("POST") ? 413 : 400))
                #expect(response.headers["connection"] == "close")
                #expect(try await reader.next() == nil)
            }
            #expect(try await exchange(port, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").status == 200)
        }
    }

    @Test func pipelinedRequestsAreAnsweredInOrder() async throws {
        try await withServer { _, port in
            let client = try RawClient(port: port)
            source.holdStatus()
            try await client.send(
                "GET /status.json HTTP/1.1\r\nHost: a\r\n\r\nPOST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
                    + "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /status.json HTTP/1.1\r\nHost: a\r\n\r\n"
                    + "HEAD /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n"
            )
            #expect(await eventually { source.asked == 1 })
            source.releaseStatus()
            var reader = ResponseReader(client)
            var statuses: [Int] = []
            for isHead in [false, false, false, false, true] {
                statuses.append(try #require(try await reader.next(isHead: isHead)).status)
            }
            #expect(statuses == [200, 404, 200, 200, 200])
            #expect(try await reader.next() == nil)
        }
    }

    @Test func oldClients() async throws {
        try await withServer { _, port in
            let client = try RawClient(port: port)
            try await client.send("GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            var reader = ResponseReader(client)
            #expect(try await reader.next()?.headers["connection"] == "keep-alive")
            try await client.send("GET /healthz HTTP/1.0\r\n\r\n")
            #expect(try await reader.next()?.headers["connection"] == "close")
            #expect(try await reader.next() == nil)
        }
    }

    @Test func aClientThatHasFinishedSendingGetsItsAnswer() async throws {
        try await withServer { server, port in
            let client = try RawClient(port: port)
            source.holdStatus()
            try await client.send("GET /status.json HTTP/1.1\r\nHost: a\r\n\r\n")
            #expect(await eventually { source.asked == 1 })
            client.finishSending()
            source.releaseStatus()
            #expect(try await client.receiveAll().contains(#""history":{"interval_ms":2000,"samples":["#))
            #expect(await eventually { server.connectionCount == 0 })
        }
    }

    @Test(arguments: ["", "GET /heal", "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"])
    func idleConnectionsAreClosed(sent: String) async throws {
        try await withServer {
            $0.idleTimeout = .milliseconds(50)
        } _: { server, port in
            let client = try RawClient(port: port)
            if !sent.isEmpty { try await client.send(sent) }
            let all = try await client.receiveAll()
            #expect(all.hasSuffix(sent.hasSuffix("\r\n") ? "ok\n" : ""))
            #expect(await eventually { server.connectionCount == 0 })
        }
    }

    @Test func connectionsAreBounded() async throws {
        try await withServer {
            $0.maxConnections = 2
        } _: { server, port in
            var first: RawClient? = try RawClient(port: port)
            let second = try RawClient(port: port)
            #expect(await eventually { server.connectionCount == 2 })
            var third = ResponseReader(try RawClient(port: port))
            #expect(try await third.next()?.status == 503)
            #expect(try await third.next() == nil)
            try await first?.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            first = nil
            #expect(await eventually { server.connectionCount == 1 })
            #expect(try await exchange(port, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").status == 200)
            try await second.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            var reader = ResponseReader(second)
            #expect(try await reader.next()?.status == 200)
        }
    }

    @Test func aPortInUseIsNamed() async throws {
        try await withServer { _, port in
            let second = makeServer { $0.port = port }
            let error = await #expect(throws: HTTPServerError.self) { try await second.start() }
            #expect(error?.code == .portInUse)
            #expect(error?.description.contains("127.0.0.1:\(port)") == true)
            #expect(error?.description.contains("METRICS_PORT") == true)
        }
        let elsewhere = makeServer { $0.host = "192.0.2.1" }
        await #expect(throws: HTTPServerError.self) { try await elsewhere.start() }
    }

    @Test func shutdownAnswersWhatWasAsked() async throws {
        let server = makeServer()
        let port = try await server.start()
        let idle = try RawClient(port: port)
        let busy = try RawClient(port: port)
        source.holdStatus()
        try await busy.send("GET /status.json HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(await eventually { source.asked == 1 && server.connectionCount == 2 })
        async let stopped: Void = server.stop(grace: .seconds(30))
        #expect(try await idle.receiveAll().isEmpty)
        source.releaseStatus()
        var reader = ResponseReader(busy)
        let response = try await reader.next()
        #expect(response?.status == 200 && response?.headers["connection"] == "close")
        #expect(try await reader.next() == nil)
        await stopped
        #expect(throws: RawClient.SystemError.self) { try RawClient(port: port) }
        await #expect(throws: HTTPServerError.self) { try await server.start() }
    }

    @Test func shutdownDoesNotWaitForEver() async throws {
        let server = makeServer()
        let port = try await server.start()
        let busy = try RawClient(port: port)
        source.holdStatus()
        try await busy.send("GET /status.json HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(await eventually { source.asked == 1 })
        await server.stop(grace: .milliseconds(20))
        #expect(try await busy.receiveAll().isEmpty)
        source.releaseStatus()
    }

    @Test func largeResponsesArriveWhole() async throws {
        let family = registry.counter(MetricName("big_total", "B.", labels: ["x"]))
        let filler = String(repeating: "x", count: 1000)
        for number in 0..<1000 { family.with("\(number) \(filler)").add(number) }
        try await withServer { _, port in
            let response = try await exchange(port, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            #expect(response.body == String(decoding: registry.render(), as: UTF8.self))
            #expect(response.body.utf8.count > 1_000_000)
        }
    }

    @Test func randomBytesDoNoHarm() async throws {
        let seed = UInt64.random(in: 0 ... .max)
        var random = SplitMix(state: seed)
        try await withServer { server, port in
            for _ in 0..<60 {
                let client = try RawClient(port: port)
                var bytes = Array("GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".utf8)
                for _ in 0..<Int.random(in: 1...8, using: &random) {
                    let place = Int.random(in: 0..<bytes.count, using: &random)
                    bytes[place] = UInt8.random(in: 0...255, using: &random)
                }
                try await client.send(bytes)
                client.finishSending()
                let answer = try await client.receiveAll()
                #expect(answer.isEmpty || answer.hasPrefix("HTTP/1."), "seed \(seed)")
            }
            #expect(await eventually { server.connectionCount == 0 }, "seed \(seed)")
            #expect(try await exchange(port, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").status == 200, "seed \(seed)")
        }
    }
}

/// Steele, Lea and Flood's SplitMix64: a generator that a seed repeats.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
