package import OPCUACodec

/// Turns messages into secured chunks and back (Part 6, 6.7): both directions of one secure channel, of either role,
/// under every policy and mode.
///
/// A value without I/O or clock, used on one thread; it belongs to one channel and is not to be copied into a second
/// one. Sequence numbers, tokens and keys of both directions live here. Times are whatever monotonic clock the caller
/// reads, in any unit; callers that do not care leave them out and tokens never expire.
///
/// A client: ``makeNonce()``, `encode` the OpenSecureChannel request, `decode` the response, then
/// ``install(channelID:tokenID:clientNonce:serverNonce:expiresAt:)``. A server: ``AsymmetricHeader/peek(_:)``, choose
/// the policy and check the certificate, `decode`, ``choose(mode:)``, ``makeNonce()``, `install`, `encode`.
package struct SecureChannelCodec: Sendable {
    /// Part 6, 6.7.2.4: a sequence number may wrap when it is larger than this, and then starts below 1024.
    private static let wrapsAfter = UInt32.max - 1024
    /// Message header and channel id; token id or the asymmetric header follows.
    static let plainHeader = 12
    /// Message header, channel id and token id.
    static let symmetricHeader = 16
    /// Sequence number and request id.
    static let sequenceHeader = 8

    package private(set) var security: ChannelSecurity
    package private(set) var lastSent: UInt32
    package private(set) var lastReceived: UInt32?
    /// 0 until the server's first OpenSecureChannel response.
    package private(set) var channelID: UInt32 = 0

    /// The newest token.
    private(set) var current = ChannelToken(id: 0, expiresAt: .max, keys: nil)
    /// The token before, until the peer used the new one or it expired.
    private(set) var previous: ChannelToken?

    /// A channel without security.
    package init(firstSequenceNumber: UInt32 = 1) {
        self.init(security: .unsecured(role: .client), firstSequenceNumber: firstSequenceNumber)
    }

    package init(security: ChannelSecurity, firstSequenceNumber: UInt32 = 1) {
        self.security = security
        lastSent = firstSequenceNumber &- 1
    }

    // MARK: Opening and renewing

    /// See ``ChannelSecurity/choose(mode:)``.
    package mutating func choose(mode: MessageSecurityMode) throws(SecurityError) { try security.choose(mode: mode) }

    /// A nonce for an OpenSecureChannel message; nil under policy None, where it is null (Part 4, 5.5.2).
    package func makeNonce() throws(SecurityError) -> [UInt8]? {
        security.policy == .none ? nil : try SecureRandom.bytes(security.policy.nonceLength)
    }

    /// The channel was opened or renewed under policy None. Under another policy use the function that takes the nonces:
    /// a token installed without keys serves nothing then.
    package mutating func install(channelID: UInt32, tokenID: UInt32) {
        install(channelID, ChannelToken(id: tokenID, expiresAt: .max, keys: nil))
    }

    /// The channel was opened or renewed: derives the keys of the new token.
    ///
    /// The old token is accepted until the peer uses the new one or the old one expires. A client sends under the new
    /// one from now on; a server goes on under the old one for as long as it accepts it (Part 4, 5.5.2.1).
    ///
    /// - Parameter expiresAt: the end of the new token's life, the 25 % of grace of Part 4, 5.5.2.1 included.
    /// - Throws: `badNonceInvalid`, `badSecurityModeRejected` when the mode was never chosen.
    package mutating func install(
        channelID: UInt32,
        tokenID: UInt32,
        clientNonce: [UInt8]?,
        serverNonce: [UInt8]?,
        expiresAt: UInt64 = .max
    ) throws(SecurityError) {
        guard security.mode != .invalid else {
            throw SecurityError(.badSecurityModeRejected, "a token before the security mode was chosen")
        }
        let keys =
            security.policy == .none
            ? nil : try ChannelKeys(security, clientNonce: clientNonce, serverNonce: serverNonce)
        install(channelID, ChannelToken(id: tokenID, expiresAt: expiresAt, keys: keys))
    }

    private mutating func install(_ channelID: UInt32, _ token: ChannelToken) {
        previous = self.channelID == 0 ? nil : current
        self.channelID = channelID
        current = token
    }

    /// The newest token's id.
    package var tokenID: UInt32 { current.id }

    /// Still accepted from the peer until it uses the new one (Part 4, 5.5.2.1).
    package var previousTokenID: UInt32? { previous?.id }

    /// The token to send under.
    func sendingToken(_ now: UInt64) -> ChannelToken {
        if security.role == .server, let previous, now < previous.expiresAt { return previous }
        return current
    }

    /// The token a received chunk says it is under.
    func receivingToken(_ id: UInt32, _ now: UInt64) throws(SecurityError) -> ChannelToken {
        for token in [current, previous] {
            if let token, token.id == id, now < token.expiresAt { return token }
        }
        throw SecurityError(
            .badSecureChannelTokenUnknown,
            "a message under token \(id), which is unknown or expired; the newest is \(current.id)"
        )
    }

    /// A message came that is really under token `id`, as its signature says where there is one.
    mutating func used(token id: UInt32) {
        if previous != nil, id == current.id { previous = nil }
    }

    // MARK: Sequence numbers

    static func next(_ number: UInt32) -> UInt32 { number >= wrapsAfter ? 1 : number + 1 }

    mutating func nextSequenceNumber() -> UInt32 {
        lastSent = Self.next(lastSent)
        return lastSent
    }

    /// Part 6, 6.7.2.4: one more than the last, or wrapped around.
    mutating func received(sequenceNumber: UInt32) throws(SecurityError) {
        if let last = lastReceived, last == .max || sequenceNumber != last + 1,
            !(last >= Self.wrapsAfter && sequenceNumber < 1024)
        {
            throw SecurityError(.badSequenceNumberInvalid, "sequence number \(sequenceNumber) came after \(last)")
        }
        lastReceived = sequenceNumber
    }
}
