import OPCUACodec
import OPCUASecurity

/// One session (Part 4, 5.7): outlives the TCP connections it is used over.
///
/// Confined to its server's event loop.
final class Session {
    struct PublishCall {
        let peer: any Peer
        var requestID: UInt32
        var requestHandle: UInt32
        /// Nanoseconds of the run; `.max` where the client named no time.
        var deadline: Int64
        /// Results of the request's acknowledgements.
        var results: [StatusCode]
    }

    struct BrowseContinuation {
        var description: BrowseDescription
        var maximum: Int
        var offset: Int
    }

    let id: NodeId
    let token: NodeId
    let name: String
    /// Nanoseconds.
    let timeout: Int64
    /// Bytes of one response the client takes; 0 for no limit.
    let maximumResponseSize: Int

    /// The connection it was created or activated on; nil after that one closed.
    weak var peer: (any Peer)?
    var isActivated = false
    /// The user name, or a user certificate's thumbprint; nil is anonymous.
    var user: String?
    /// The application that made the session, and under which policy.
    let certificate: Certificate?
    let policy: SecurityPolicy
    /// What the next ActivateSession has to sign or encrypt with.
    var nonce: [UInt8] = []
    var lastUse: Int64

    var publishCalls: [PublishCall] = []
    /// In order of creation; the first gets the next Publish request where several are late.
    var subscriptions: [Subscription] = []
    var continuations: [UInt64: BrowseContinuation] = [:]
    var historyContinuations: [UInt64: FieldServer.HistoryQuery] = [:]
    var nextContinuation: UInt64 = 1
    /// StatusChange messages of subscriptions that this session lost, waiting for a Publish request.
    var farewells: [Farewell] = []

    struct Farewell {
        var subscription: UInt32
        var sequenceNumber: UInt32
        var status: StatusCode
    }

    /// A BrowseNext may come this much later than the Browse: older continuation points make room for new ones.
    static let maximumContinuations = 100
    static let maximumFarewells = 100

    init(id: NodeId, token: NodeId, name: String, timeout: Int64, maximumResponseSize: Int, peer: any Peer, now: Int64)
    {
        self.id = id
        self.token = token
        self.name = name
        self.timeout = timeout
        self.maximumResponseSize = maximumResponseSize
        self.peer = peer
        certificate = peer.security.certificate
        policy = peer.security.offer.policy
        lastUse = now
    }

    /// Publish requests that came over a connection can only be answered over it.
    func forgetCalls(of peer: any Peer) { publishCalls.removeAll { $0.peer === peer } }

    func addFarewell(_ farewell: Farewell) {
        if farewells.count == Self.maximumFarewells { farewells.removeFirst() }
        farewells.append(farewell)
    }
}
