import Testing

@testable import Observability

@Suite("Accept headers")
struct AcceptHeaderTests {
    @Test(arguments: [
        // Prometheus 2.42, 2.5x and 3
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
                + "text/plain;version=0.0.4;q=0.5,*/*;q=0.1", true
        ),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
                + "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,"
                + "text/plain;version=0.0.4;q=0.2,*/*;q=0.1", true
        ),
        ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", false),
        ("", false), ("*/*", false), ("text/html, */*;q=0.8", false),
        ("application/openmetrics-text", true),
        ("application/openmetrics-text; version=\"1.0.0\" ; q=0.5, text/plain;q=0.5", true),
        ("application/openmetrics-text;q=0.4, text/plain;q=0.5", false),
        ("application/openmetrics-text;q=0.4, text/*;q=0.5", false),
        ("application/openmetrics-text;q=0.4, */*;q=0.5", false),
        ("application/openmetrics-text;q=0", false),
        ("application/openmetrics-text;version=2.0.0", false),
        ("APPLICATION/OpenMetrics-Text;Q=1", true),
        ("application/openmetrics-text;q=abc, text/plain", false),
        (",,;;=, a/b/c;q, application/openmetrics-text", true),
    ])
    func openMetrics(header: String, expected: Bool) {
        #expect(AcceptHeader(header).prefersOpenMetrics == expected)
    }

    @Test(arguments: [
        ("application/json", true), ("", false), ("*/*", false), ("text/plain, application/json", false),
        ("text/plain;q=0.5, application/json", true), ("application/json, text/plain, */*", false),
        ("application/json, */*", true), ("application/json;q=0", false),
    ])
    func json(header: String, expected: Bool) {
        #expect(AcceptHeader(header).prefersJSON == expected)
    }
}
