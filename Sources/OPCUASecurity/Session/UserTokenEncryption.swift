/// A password as UserNameIdentityToken carries it (Part 4, 7.41.4).
package struct EncryptedPassword: Equatable, Sendable {
    package var bytes: [UInt8]
    /// EncryptionAlgorithm; nil when the password is not encrypted.
    package var algorithmURI: String?

    package init(bytes: [UInt8], algorithmURI: String?) {
        self.bytes = bytes
        self.algorithmURI = algorithmURI
    }
}

/// Encryption of passwords for user identity tokens, in the legacy form all servers with RSA policies understand
/// (Part 4, 7.41.2.2): the length of what follows as UInt32, the secret, the server's nonce.
package enum UserTokenEncryption {
    /// Longer passwords are refused: both ends would have to carry them through dozens of RSA blocks.
    package static let maximumPasswordSize = 4096

    /// Encrypts `password` for the server.
    ///
    /// - Parameters:
    ///   - policy: of the chosen token policy; of the channel where that names none. Under None the password is sent as
    ///     it is: whether that is allowed on this channel is the caller's decision.
    ///   - serverCertificate: needed under any other policy.
    ///   - serverNonce: of the last CreateSession or ActivateSession response.
    /// - Throws: `badIdentityTokenInvalid` for a password that is too long or a missing certificate.
    package static func encrypt(
        password: String,
        policy: SecurityPolicy,
        serverCertificate: Certificate?,
        serverNonce: [UInt8]?
    ) throws(SecurityError) -> EncryptedPassword {
        let secret = Array(password.utf8)
        guard secret.count <= maximumPasswordSize else {
            throw SecurityError(.badIdentityTokenInvalid, "the password is longer than \(maximumPasswordSize) bytes")
        }
        guard let algorithm = policy.asymmetricEncryption else {
            return EncryptedPassword(bytes: secret, algorithmURI: nil)
        }
        guard let serverCertificate else {
            throw SecurityError(
                .badIdentityTokenInvalid,
                "the server has no certificate to encrypt the password for, as its token policy asks"
            )
        }
        let nonce = serverNonce ?? []
        let length = UInt32(secret.count + nonce.count).littleEndian
        var plain = withUnsafeBytes(of: length) { Array($0) } + secret + nonce
        defer { plain.wipe() }
        let bytes = try serverCertificate.publicKey.encrypt(plain, algorithm)
        return EncryptedPassword(bytes: bytes, algorithmURI: algorithm.uri)
    }

    /// Reads what ``encrypt(password:policy:serverCertificate:serverNonce:)`` made: the server's side.
    ///
    /// - Throws: `badIdentityTokenInvalid` for whatever is not the password and the nonce that was last sent.
    package static func decrypt(
        _ password: EncryptedPassword,
        policy: SecurityPolicy,
        key: PrivateKey?,
        serverNonce: [UInt8]
    ) throws(SecurityError) -> String {
        let failure = SecurityError(.badIdentityTokenInvalid, "the user identity token's password does not decrypt")
        guard let algorithm = policy.asymmetricEncryption else {
            guard let text = String(validating: password.bytes, as: UTF8.self) else { throw failure }
            return text
        }
        guard let key, password.algorithmURI == algorithm.uri, password.bytes.count <= 64 * key.size,
            var plain = try? key.decrypt(password.bytes, algorithm)
        else { throw failure }
        defer { plain.wipe() }
        guard plain.count >= 4 + serverNonce.count else { throw failure }
        let length = plain.withUnsafeBytes { Int(UInt32(littleEndian: $0.loadUnaligned(as: UInt32.self))) }
        guard length == plain.count - 4,
            constantTimeEquals(Array(plain.suffix(serverNonce.count)), serverNonce),
            let text = String(validating: plain[4..<plain.count - serverNonce.count], as: UTF8.self)
        else { throw failure }
        return text
    }
}
