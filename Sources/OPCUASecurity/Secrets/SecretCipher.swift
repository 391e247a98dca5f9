import OPCUACodec

/// Opens and closes the passwords that stand in tenants' databases.
///
/// Written form: `enc:v1:` + base64(nonce[12] ‖ ciphertext ‖ tag[16]), AES-256-GCM under ENCRYPTION_KEY. The management
/// API's older form, the same base64 without the prefix, is read too, and plain text as itself. Immutable, any thread.
package struct SecretCipher: Sendable {
    package static let prefix = "enc:v1:"

    private let key: SecretBytes
    private let previousKeys: [SecretBytes]

    /// - Parameters:
    ///   - key: base64 of 32 bytes; white space around it, as a file's last newline, does not matter.
    ///   - previousKeys: keys that still open what was encrypted before a rotation, in the order to try them.
    /// - Throws: `.badKey`; the text of a key is never part of the error.
    package init(key: String, previousKeys: [String] = []) throws(SecretCipherError) {
        self.key = try Self.decode(key, "the encryption key")
        var previous: [SecretBytes] = []
        for (index, each) in previousKeys.enumerated() {
            previous.append(try Self.decode(each, "previous encryption key \(index + 1)"))
        }
        self.previousKeys = previous
    }

    private static func decode(_ text: String, _ name: String) throws(SecretCipherError) -> SecretBytes {
        guard var bytes = Base64.decode(trimmed(text)) else {
            throw SecretCipherError(.badKey, "\(name) is not base64")
        }
        guard bytes.count == AESGCM.keySize else {
            let count = bytes.count
            bytes.wipe()
            throw SecretCipherError(.badKey, "\(name) has \(count) bytes after base64 decoding; 32 are expected")
        }
        return SecretBytes(moving: &bytes)
    }

    /// A new random key in the form `init` takes.
    package static func makeKey() throws(SecretCipherError) -> String {
        do throws(SecurityError) {
            return Base64.encode(try SecureRandom.bytes(AESGCM.keySize))
        } catch {
            throw SecretCipherError(.unavailable, error.message)
        }
    }

    /// The stored form of `plaintext`; two calls never give the same text.
    package func encrypt(_ plaintext: String) throws(SecretCipherError) -> String {
        do throws(SecurityError) {
            return Self.prefix + Base64.encode(try AESGCM.seal(Array(plaintext.utf8), key: key))
        } catch {
            throw SecretCipherError(.unavailable, error.message)
        }
    }

    /// Whether `stored` needs a key to be read: it has the prefix or the shape of the older form. Also for those who
    /// have no key and must say so.
    package static func needsKey(_ stored: String) -> Bool { stored.hasPrefix(prefix) || olderForm(stored) != nil }

    /// Reads what stands in a password column.
    ///
    /// Text without the prefix that has the older form's shape (padded base64 of at least 28 bytes) but opens under no
    /// key is an error, not a plain text: a ciphertext must not travel to a server as if it were the password.
    ///
    /// - Throws: `.damaged` when the text cannot be what it claims to be, whatever the key; `.wrongKey` when no key fits.
    package func open(_ stored: String) throws(SecretCipherError) -> OpenedSecret {
        if stored.hasPrefix(Self.prefix) {
            guard let sealed = Base64.decode(Self.trimmed(stored).dropFirst(Self.prefix.utf8.count)) else {
                throw SecretCipherError(.damaged, "the encrypted secret is not base64 after \(Self.prefix)")
            }
            guard sealed.count >= AESGCM.nonceSize + AESGCM.tagSize else {
                throw SecretCipherError(.damaged, "the encrypted secret is cut short: \(sealed.count) bytes")
            }
            let opened = try open(sealed)
            return OpenedSecret(plaintext: opened.text, form: opened.isCurrent ? .current : .previousKey)
        }
        guard let sealed = Self.olderForm(stored) else { return OpenedSecret(plaintext: stored, form: .plain) }
        return OpenedSecret(plaintext: try open(sealed).text, form: .legacy)
    }

    private func open(_ sealed: [UInt8]) throws(SecretCipherError) -> (text: String, isCurrent: Bool) {
        for (index, each) in ([key] + previousKeys).enumerated() {
            guard var plaintext = AESGCM.open(sealed, key: each) else { continue }
            defer { plaintext.wipe() }
            guard let text = String(validating: plaintext, as: UTF8.self) else {
                throw SecretCipherError(.damaged, "the decrypted secret is not UTF-8 text")
            }
            return (text, index == 0)
        }
        let count = 1 + previousKeys.count
        throw SecretCipherError(
            .wrongKey,
            "the secret opens under none of \(count) encryption key\(count == 1 ? "" : "s"): it was encrypted with"
                + " another key, or altered"
        )
    }

    private static func olderForm(_ stored: String) -> [UInt8]? {
        guard stored.utf8.count >= (AESGCM.nonceSize + AESGCM.tagSize) * 4 / 3 else { return nil }
        guard let bytes = Base64.decode(trimmed(stored)), bytes.count >= AESGCM.nonceSize + AESGCM.tagSize else {
            return nil
        }
        return bytes
    }

    /// Without ASCII white space at both ends.
    private static func trimmed(_ text: String) -> ArraySlice<UInt8> {
        func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
        let bytes = Array(text.utf8)
        guard let first = bytes.firstIndex(where: { !isSpace($0) }),
            let last = bytes.lastIndex(where: { !isSpace($0) })
        else { return [] }
        return bytes[first...last]
    }
}

/// A secret as ``SecretCipher/open(_:)`` found it. Printing it prints dots.
package struct OpenedSecret: Equatable, Sendable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    package enum Form: Equatable, Sendable {
        /// Encrypted under the current key, with the prefix.
        case current
        /// Encrypted under an earlier key: to be encrypted again.
        case previousKey
        /// The older form without a prefix, under any of the keys.
        case legacy
        /// Not encrypted at all: to be warned of.
        case plain
    }

    package var plaintext: String
    package var form: Form

    package var description: String { "•••• (\(form))" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: []) }
}

/// Why a secret could not be encrypted or opened. Holds no part of a key, a plaintext or a ciphertext.
package struct SecretCipherError: Error, Equatable, Sendable, CustomStringConvertible {
    /// Extensible: a `switch` needs a `default`.
    package struct Code: Hashable, Sendable, CustomStringConvertible {
        package let description: String

        /// A configured key is not base64 of 32 bytes.
        package static let badKey = Code(description: "bad key")
        /// The stored text is cut or not base64: no key can help.
        package static let damaged = Code(description: "damaged")
        /// The tag fits under no key. GCM cannot tell another key from altered bytes of the right length.
        package static let wrongKey = Code(description: "wrong key")
        /// The cryptographic library failed.
        package static let unavailable = Code(description: "unavailable")
    }

    package var code: Code
    package var message: String

    init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { message }
}
