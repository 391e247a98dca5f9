import NIOCore

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Why the HTTP endpoint could not start. The description names address, port and cure.
package struct HTTPServerError: Error, Sendable, CustomStringConvertible {
    package struct Code: RawRepresentable, Hashable, Sendable {
        package let rawValue: String

        package init(rawValue: String) {
            self.rawValue = rawValue
        }

        /// Another process listens there.
        package static let portInUse = Code(rawValue: "port_in_use")
        /// The system does not let this user listen there.
        package static let notPermitted = Code(rawValue: "not_permitted")
        /// This machine does not have the address, or it is none.
        package static let address = Code(rawValue: "address")
        /// The server has been stopped; it starts once.
        package static let stopped = Code(rawValue: "stopped")
        /// Something else; the description has the system's words.
        package static let system = Code(rawValue: "system")
    }

    package let code: Code
    package let description: String

    package init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }

    init(binding host: String, _ port: Int, _ error: any Error) {
        let place = "cannot listen on \(host.contains(":") ? "[\(host)]" : host):\(port) for metrics and status"
        switch (error as? IOError)?.errnoCode {
        case EADDRINUSE:
            self.init(
                .portInUse,
                "\(place): another process uses the port. Stop it (ss -ltnp shows which it is), or set METRICS_PORT to a "
                    + "free port"
            )
        case EACCES, EPERM:
            self.init(.notPermitted, "\(place): not permitted. Set METRICS_PORT to a port above 1023")
        case EADDRNOTAVAIL:
            self.init(.address, "\(place): this machine does not have the address")
        default:
            self.init(error is SocketAddressError ? .address : .system, "\(place): \(error)")
        }
    }
}
