/// Where a connection stands, for status pages, metrics and the management API.
package struct ConnectionStatus: Sendable, Equatable {
    package enum State: String, Sendable {
        case idle, connecting, connected
        /// Waiting for the next attempt.
        case backingOff
        /// More failures in a row than configured. Attempts go on, at the longest delay.
        case down
    }

    package var state: State = .idle
    /// When `state` was entered, microseconds since 1970.
    package var sinceUnixMicroseconds: Int64 = 0
    /// Failures in a row; 0 while connected.
    package var failedAttempts = 0
    /// Times the connection has been established.
    package var connects: UInt64 = 0
    /// Why it is not connected; nil while it is.
    package var lastError: OPCUAClientError?
    /// The last error of all: it stays after a recovery.
    package var latestError: OPCUAClientError?
    /// When that happened, microseconds since 1970.
    package var latestErrorUnixMicroseconds: Int64 = 0
    /// The URL in use or tried last.
    package var endpointURL: String?
    package var itemsTotal = 0
    package var itemsActive = 0
    package var itemsBad = 0
    package var subscriptions = 0
    package var limits = ServerLimits()

    package init() {}
}
