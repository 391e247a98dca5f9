import OPCUASecurity
import TimescaleStore

/// Which stored passwords have to be encrypted anew, and their new text.
struct Reencryption: Sendable {
    struct Replacement: Sendable {
        var password: TenantRegistry.StoredPassword
        /// Encrypted under the current key.
        var text: String
        var form: OpenedSecret.Form
    }

    struct Refusal: Sendable, CustomStringConvertible {
        var password: TenantRegistry.StoredPassword
        var reason: String
        var description: String { "\(password): \(reason)" }
    }

    var replacements: [Replacement] = []
    /// Under the current key already.
    var current = 0
    /// What no key opens: left as it is.
    var refusals: [Refusal] = []

    init(_ passwords: [TenantRegistry.StoredPassword], cipher: SecretCipher) {
        for password in passwords {
            do throws(SecretCipherError) {
                let opened = try cipher.open(password.text)
                if opened.form == .current {
                    current += 1
                } else {
                    replacements.append(
                        Replacement(
                            password: password,
                            text: try cipher.encrypt(opened.plaintext),
                            form: opened.form
                        )
                    )
                }
            } catch {
                refusals.append(Refusal(password: password, reason: "\(error)"))
            }
        }
    }

    func count(_ form: OpenedSecret.Form) -> Int { replacements.count { $0.form == form } }

    /// "2 passwords in plain text, 1 password under a previous key, 0 passwords in the older form".
    var summary: String {
        let parts: [(OpenedSecret.Form, String)] = [
            (.plain, "in plain text"), (.previousKey, "under a previous key"), (.legacy, "in the older form"),
        ]
        let named = parts.filter { count($0.0) > 0 }.map { "\(count($0.0).counted("password")) \($0.1)" }
        return named.isEmpty ? "no password" : named.joined(separator: ", ")
    }
}
