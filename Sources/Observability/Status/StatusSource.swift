/// What the daemon tells about itself.
package protocol StatusSource: Sendable {
    /// Why the daemon is not ready, one sentence each; empty: it is. Called on the server's thread for each /readyz: must not
    /// block.
    func notReadyReasons() -> [String]

    /// Figures for the charts. Called on the server's thread every two seconds: must be cheap and not block.
    func totals() -> StatusTotals

    /// The whole state, without secrets. Called while somebody looks at /status.json or the status page, at most twice a second.
    func statusReport() async -> StatusReport
}
