import Logging
import OPCUASecurity
import Synchronization

/// Opens and makes the passwords of `scada_connections`.
final class PasswordStore: Sendable {
    private let cipher: SecretCipher?
    private let logger: Logger
    private let hasWarned = Mutex(false)

    init(_ configuration: DaemonConfiguration, logger: Logger) throws {
        cipher = try configuration.encryption.makeCipher()
        self.logger = logger
    }

    /// - Throws: what is wrong, without quoting the secret.
    func open(_ stored: String) throws -> String {
        let opened = try cipher.openStored(stored)
        if opened.form == .plain { warn() }
        return opened.plaintext
    }

    /// The form in which a password is stored; as it is when there is no key.
    func seal(_ password: String) throws -> String {
        guard let cipher else {
            warn()
            return password
        }
        return try cipher.encrypt(password)
    }

    private func warn() {
        let isFirst = hasWarned.withLock { hasWarned in
            defer { hasWarned = true }
            return !hasWarned
        }
        if isFirst {
            logger.warning(
                """
                passwords of OPC UA connections are stored in plain text; set ENCRYPTION_KEY and encrypt them with \
                scada-ingestion migrate --reencrypt
                """
            )
        }
    }
}
