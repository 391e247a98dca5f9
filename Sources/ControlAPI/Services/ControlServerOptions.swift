/// TLS of the API server. Files are PEM and are read again when they change.
package struct TLSOptions: Sendable, Equatable {
    /// The server's certificate, followed by intermediate ones (GRPC_TLS_CERT).
    package var certificateFile: String
    /// Its private key, not encrypted (GRPC_TLS_KEY).
    package var keyFile: String
    /// Authorities of client certificates (GRPC_TLS_CLIENT_CA). Set = every client must present one.
    package var clientCAFile: String?

    package init(certificateFile: String, keyFile: String, clientCAFile: String? = nil) {
        self.certificateFile = certificateFile
        self.keyFile = keyFile
        self.clientCAFile = clientCAFile
    }
}

package struct ControlServerOptions: Sendable {
    package var address: ListenAddress
    /// nil = not encrypted; then the address must be a loopback one unless `allowInsecure`.
    package var tls: TLSOptions?
    /// GRPC_ALLOW_INSECURE: listen without TLS on any address.
    package var allowInsecure = false
    /// Largest request, bytes. Larger: `RESOURCE_EXHAUSTED`.
    package var maxRequestBytes = 4 * 1_024 * 1_024
    /// Calls of ScadaService in progress at once. More: `RESOURCE_EXHAUSTED` at once, without reading the request.
    package var maxConcurrentCalls = 256
    /// The same for health and reflection, which have their own so that probes are answered under load.
    package var maxConcurrentProbes = 256
    /// Calls in progress on one connection; clients hold back what is beyond.
    package var maxStreamsPerConnection = 1_024
    /// A peer that is silent for so long is pinged, and dropped when the ping is not answered in time.
    package var keepAliveInterval: Duration = .seconds(30)
    package var keepAliveTimeout: Duration = .seconds(10)
    /// Shortest time between pings a client may send without being dropped.
    package var minimumClientPingInterval: Duration = .seconds(5)
    /// A call whose client neither sends its request nor reads its answer for so long is broken off.
    package var stallTimeout: Duration = .seconds(60)
    /// Time for calls in progress to end at shutdown; then they are cancelled.
    package var shutdownGrace: Duration = .seconds(5)
    /// Threads that serve the network.
    package var threads = 1

    package init(address: ListenAddress, tls: TLSOptions? = nil) {
        self.address = address
        self.tls = tls
    }
}
