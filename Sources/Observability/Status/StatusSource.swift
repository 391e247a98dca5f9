/// What the daemon tells about itself.
package protocol StatusSource: Sendable {
    /// Why the daemon is not ready, one sentence each; empty: it is. Called on the server's thread for each /readyz: must not
    /// block.
    func notReadyReasons() -> [String]
    /// The state as UTF-8 JSON, without secrets.
    func statusJSON() async -> [UInt8]
}
