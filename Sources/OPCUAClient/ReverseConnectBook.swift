import OPCUACodec

/// Which of the sockets that servers opened belongs to whom. Knows neither sockets nor time: the listener performs.
struct ReverseConnectBook: Sendable {
    typealias SocketID = UInt64
    typealias ClaimID = UInt64

    enum Verdict: Equatable {
        /// Nobody needs it now; somebody will.
        case wait
        case hand(to: ClaimID)
        case refuse(StatusCode)
    }

    /// Sockets that nobody has taken yet, identified or not.
    static let maximumSockets = 256
    /// Of them for one endpoint. A server that dials on leaves those it forgot behind.
    static let maximumPerEndpoint = 4

    /// Connections that are running, by endpoint.
    private var expected: [ReverseEndpoint: Int] = [:]
    /// Every open socket that nobody has taken.
    private var sockets: Set<SocketID> = []
    /// The identified of them, oldest first.
    private var waiting: [ReverseEndpoint: [SocketID]] = [:]
    /// Who waits for a socket, first come first served.
    private var claims: [ReverseEndpoint: [ClaimID]] = [:]

    mutating func expect(_ endpoint: ReverseEndpoint) { expected[endpoint, default: 0] += 1 }

    /// - Returns: sockets that nobody will take any more, to be closed.
    mutating func unexpect(_ endpoint: ReverseEndpoint) -> [SocketID] {
        guard let count = expected[endpoint] else { return [] }
        expected[endpoint] = count > 1 ? count - 1 : nil
        guard count == 1, let left = waiting.removeValue(forKey: endpoint) else { return [] }
        sockets.subtract(left)
        return left
    }

    /// - Returns: false where there are too many: close it.
    mutating func accepted(_ socket: SocketID) -> Bool {
        guard sockets.count < Self.maximumSockets else { return false }
        sockets.insert(socket)
        return true
    }

    /// A socket's ReverseHello came.
    /// - Returns: what to do with it, and an older socket to close in its favour.
    mutating func identified(
        _ socket: SocketID,
        as endpoint: ReverseEndpoint
    ) -> (verdict: Verdict, displaced: SocketID?) {
        guard sockets.contains(socket) else { return (.refuse(.badTcpInternalError), nil) }
        if let claim = claims[endpoint]?.first {
            sockets.remove(socket)
            return (.hand(to: claim), nil)
        }
        guard expected[endpoint] != nil else {
            sockets.remove(socket)
            return (.refuse(.badTcpEndpointUrlInvalid), nil)
        }
        var others = waiting[endpoint] ?? []
        let displaced = others.count >= Self.maximumPerEndpoint ? others.removeFirst() : nil
        if let displaced { sockets.remove(displaced) }
        waiting[endpoint] = others + [socket]
        return (.wait, displaced)
    }

    /// Somebody needs a socket.
    /// - Returns: one that waits already: the youngest, which is the likeliest to live.
    mutating func claim(_ id: ClaimID, _ endpoint: ReverseEndpoint) -> SocketID? {
        if var others = waiting[endpoint], let socket = others.popLast() {
            waiting[endpoint] = others.isEmpty ? nil : others
            sockets.remove(socket)
            return socket
        }
        claims[endpoint, default: []].append(id)
        return nil
    }

    /// A claim got its socket or was given up.
    mutating func ended(claim id: ClaimID, _ endpoint: ReverseEndpoint) {
        claims[endpoint]?.removeAll { $0 == id }
        if claims[endpoint]?.isEmpty == true { claims[endpoint] = nil }
    }

    /// A socket is closed, or has waited too long.
    mutating func closed(_ socket: SocketID) {
        guard sockets.remove(socket) != nil else { return }
        for (endpoint, others) in waiting where others.contains(socket) {
            let rest = others.filter { $0 != socket }
            waiting[endpoint] = rest.isEmpty ? nil : rest
        }
    }

    var socketCount: Int { sockets.count }
}
