/// Why the API server could not start. Every description names the thing and the cure.
package struct ControlServerError: Error, Sendable, CustomStringConvertible {
    package struct Code: RawRepresentable, Hashable, Sendable {
        package let rawValue: String

        package init(rawValue: String) {
            self.rawValue = rawValue
        }

        /// The address cannot be bound, e.g. because its port is in use.
        package static let address = Code(rawValue: "address")
        /// Not encrypted and reachable from elsewhere, without permission to be so.
        package static let insecure = Code(rawValue: "insecure")
        /// A file cannot be read or does not hold what it should.
        package static let file = Code(rawValue: "file")
        /// Certificate, key or client CA do not work together.
        package static let credentials = Code(rawValue: "credentials")
        /// The operating system refused a thread.
        package static let system = Code(rawValue: "system")
    }

    package let code: Code
    package let description: String

    package init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }

    static func file(_ path: String, _ problem: String) -> ControlServerError {
        ControlServerError(.file, "\(path): \(problem)")
    }

    static func credentials(_ problem: String) -> ControlServerError {
        ControlServerError(.credentials, problem)
    }

    static func thread(errno: Int32) -> ControlServerError {
        ControlServerError(.system, "cannot start a thread for the gRPC server (error \(errno))")
    }

    /// Whether trying again without a change may succeed.
    package var isRetryable: Bool { code == .system }
}
