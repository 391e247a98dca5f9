import OPCUACodec

/// The way back to a client: one open secure channel. A protocol so that the server is tested without sockets.
///
/// Used on the server's event loop only.
protocol Peer: AnyObject {
    /// Bytes of one response body the client takes; 0 for no limit.
    var maximumResponseSize: Int { get }
    /// Policy, mode and client of the secure channel.
    var security: PeerSecurity { get }
    /// Sends the response to a request; dropped silently when the channel is closed already.
    func respond(_ requestID: UInt32, _ body: [UInt8])
    /// Closes the connection without a word; nothing is answered any more.
    func cut()
}

extension Peer {
    /// A channel without security.
    var security: PeerSecurity { PeerSecurity() }
}
