/// Where and how the HTTP endpoint listens.
package struct HTTPServerOptions: Sendable {
    /// Address or name.
    package var host: String
    /// METRICS_PORT; 0 = any free port, which `start()` returns.
    package var port: Int
    /// Time a connection may take to send a request, and to take the response.
    package var idleTimeout: Duration = .seconds(30)
    /// Connections at once; the ones beyond are answered 503 and closed.
    package var maxConnections = 256
    /// Longest request target, bytes; beyond: 414.
    package var maxTargetBytes = 4096
    /// All header fields of a request, bytes; beyond: 431.
    package var maxHeaderBytes = 16 * 1024
    /// Longest request body, bytes. Bodies are read and forgotten; beyond: 413.
    package var maxBodyBytes = 64 * 1024
    /// How long requests in progress may go on after the order to stop.
    package var shutdownGrace: Duration = .seconds(2)

    /// Whether `/` shows the state to whoever can reach the port; if not, it only links the other resources.
    package var showsStatusPage = true

    package init(host: String = "0.0.0.0", port: Int = 9090) {
        self.host = host
        self.port = port
    }
}
