import Glibc

/// Where the server listens.
package struct ListenAddress: Sendable, Equatable, CustomStringConvertible {
    /// An IP address, "localhost", or a host name that resolves to an address of this machine.
    package var host: String
    /// 0 = any free port.
    package var port: UInt16

    package init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    package static func loopback(port: UInt16) -> ListenAddress {
        ListenAddress(host: "127.0.0.1", port: port)
    }

    package var description: String {
        host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    /// Whether only this machine can reach it. A name other than "localhost" is not looked up: it counts as reachable.
    package var isLoopback: Bool {
        if host == "localhost" { return true }
        var v4 = in_addr()
        if inet_pton(AF_INET, host, &v4) == 1 { return UInt32(bigEndian: v4.s_addr) >> 24 == 127 }
        var v6 = in6_addr()
        guard inet_pton(AF_INET6, host, &v6) == 1 else { return false }
        return withUnsafeBytes(of: v6) { bytes in
            let isMapped = bytes[..<10].allSatisfy { $0 == 0 } && bytes[10] == 0xFF && bytes[11] == 0xFF
            return isMapped ? bytes[12] == 127 : bytes[..<15].allSatisfy { $0 == 0 } && bytes[15] == 1
        }
    }

    /// Why the address cannot be bound, in words, by trying it. The core only says that it cannot. nil = it can be.
    /// - Parameter variable: which one to set to another port.
    package func bindProblem(variable: String = "GRPC_PORT") -> String? {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_PASSIVE
        var list: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(host, String(port), &hints, &list)
        guard status == 0, let list else { return String(cString: gai_strerror(status)) }
        defer { freeaddrinfo(list) }
        let descriptor = socket(list.pointee.ai_family, list.pointee.ai_socktype, list.pointee.ai_protocol)
        guard descriptor >= 0 else { return String(cString: strerror(errno)) }
        defer { close(descriptor) }
        var yes: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        guard Glibc.bind(descriptor, list.pointee.ai_addr, list.pointee.ai_addrlen) == 0,
            listen(descriptor, 1) == 0
        else {
            switch errno {
            case EADDRINUSE: return "port \(port) is in use: stop what listens there or set \(variable)"
            case EACCES: return "port \(port) needs privileges: set \(variable) to one above 1023"
            case EADDRNOTAVAIL: return "this machine does not have the address \(host)"
            default: return String(cString: strerror(errno))
            }
        }
        return nil
    }
}
