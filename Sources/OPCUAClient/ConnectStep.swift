/// What an attempt to connect does one after another; the raw value is fit for people.
package enum ConnectStep: String, Sendable {
    case connect = "connect"
    /// Reverse connect.
    case awaitServer = "wait for the server to connect"
    case secureChannel = "open secure channel"
    case endpoints = "get endpoints"
    /// The trust store decides.
    case certificate = "check the server's certificate"
    case createSession = "create session"
    case activateSession = "activate session"
    case read = "read"
    case browse = "browse"
}
