import NIOCore
import NIOHTTP1

/// A response before it is put on a connection.
struct HTTPContent: Sendable, Equatable {
    var status: HTTPResponseStatus
    var type: String
    var body: [UInt8]
    /// Beyond the ones every response has.
    var headers: [(String, String)] = []

    init(_ status: HTTPResponseStatus, type: String = text, body: [UInt8], headers: [(String, String)] = []) {
        self.status = status
        self.type = type
        self.body = body
        self.headers = headers
    }

    init(_ status: HTTPResponseStatus, _ text: String, headers: [(String, String)] = []) {
        self.init(status, body: Array(text.utf8), headers: headers)
    }

    static func == (left: HTTPContent, right: HTTPContent) -> Bool {
        left.status == right.status && left.type == right.type && left.body == right.body
            && left.headers.elementsEqual(right.headers) { $0 == $1 }
    }

    static let text = "text/plain; charset=utf-8"
    static let json = "application/json"
    static let html = "text/html; charset=utf-8"
    static let prometheus = "text/plain; version=0.0.4; charset=utf-8"
    static let openMetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8"

    /// - Parameter bodyLeftOut: for HEAD: the same headers, no body.
    func head(version: HTTPVersion, keepAlive: Bool) -> HTTPResponseHead {
        var fields = HTTPHeaders()
        fields.add(name: "Content-Type", value: type)
        fields.add(name: "Content-Length", value: String(body.count))
        fields.add(name: "Cache-Control", value: "no-store")
        fields.add(name: "X-Content-Type-Options", value: "nosniff")
        for (name, value) in headers { fields.add(name: name, value: value) }
        if !keepAlive {
            fields.add(name: "Connection", value: "close")
        } else if version == .http1_0 {
            fields.add(name: "Connection", value: "keep-alive")
        }
        return HTTPResponseHead(version: version, status: status, headers: fields)
    }
}
