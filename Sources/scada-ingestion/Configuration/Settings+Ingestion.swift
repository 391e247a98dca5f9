import Ingestion
import OPCUASecurity

extension Settings.OPC {
    /// What applies to every connection.
    var connectionDefaults: ConnectionDefaults {
        var defaults = ConnectionDefaults()
        defaults.connectionTimeout = connectionTimeout.wholeMilliseconds
        defaults.sessionTimeout = Double(sessionTimeout.wholeMilliseconds)
        defaults.reconnectDelay = reconnectDelay.wholeMilliseconds
        defaults.maximumAttempts = maxReconnectAttempts
        defaults.allowPlaintextPassword = allowPlaintextPassword
        defaults.allowDeprecatedPolicies = allowDeprecatedPolicies
        defaults.userFolder = pkiDirectory + "/users"
        return defaults
    }
}

/// A stored password that needs a key while there is none.
struct MissingEncryptionKey: Error, CustomStringConvertible {
    var description: String { "it is encrypted and ENCRYPTION_KEY is not set" }
}

extension SecretCipher? {
    /// Opens what stands in a password column; without a cipher only plain text can be.
    /// - Throws: `SecretCipherError` or ``MissingEncryptionKey``; neither holds anything of the password.
    func openStored(_ stored: String) throws -> (plaintext: String, form: OpenedSecret.Form) {
        guard let self else {
            guard !SecretCipher.needsKey(stored) else { throw MissingEncryptionKey() }
            return (stored, .plain)
        }
        let opened = try self.open(stored)
        return (opened.plaintext, opened.form)
    }
}
