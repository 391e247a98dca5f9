import OPCUASecurity

/// A key of ENCRYPTION_KEY or ENCRYPTION_KEY_PREVIOUS, known to be one. Printing it shows nothing of it.
struct EncryptionKey: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// Base64 of 32 bytes. Hand it to the cipher, nowhere else.
    let base64: String

    /// - Throws: ``Unacceptable``, whose text holds nothing of the key.
    init(base64: String) throws(Unacceptable) {
        do throws(SecretCipherError) {
            _ = try SecretCipher(key: base64)
        } catch {
            throw Unacceptable(error.message)
        }
        self.base64 = base64
    }

    var description: String { "••••" }
    var debugDescription: String { description }
    var customMirror: Mirror { Mirror(self, children: []) }
}

extension Settings.Encryption {
    /// The cipher of stored passwords; nil without ENCRYPTION_KEY.
    func makeCipher() throws(SecretCipherError) -> SecretCipher? {
        guard let key else { return nil }
        return try SecretCipher(key: key.base64, previousKeys: previousKeys.map(\.base64))
    }
}
