import ArgumentParser
import OPCUASecurity

/// `scada-ingestion encrypt-secret`: the stored form of a password.
struct EncryptSecret: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "encrypt-secret",
        abstract: "Encrypt an OPC UA password for the column scada_connections.password.",
        discussion: """
            Reads the password from standard input, or asks for it without showing it, and prints the text to store. The key
            is ENCRYPTION_KEY (or the file that ENCRYPTION_KEY_FILE names); no database is needed.

            EXAMPLES
              scada-ingestion encrypt-secret --config scada.env
              printf %s "$PASSWORD" | ENCRYPTION_KEY_FILE=/run/secrets/key scada-ingestion encrypt-secret
              scada-ingestion encrypt-secret --new-key
                  a key for ENCRYPTION_KEY
            """
    )

    @OptionGroup var options: ConfigurationOptions

    @Flag(name: .long, help: "Print a new random key for ENCRYPTION_KEY instead.")
    var newKey = false

    func run() throws {
        if newKey {
            let key = try reporting("no key could be made", .unavailable) { () throws(SecretCipherError) in
                try SecretCipher.makeKey()
            }
            return Console.output(key)
        }
        // Only the keys count here: whatever else is missing is nobody's concern.
        let encryption = try options.load(only: ["ENCRYPTION_KEY", "ENCRYPTION_KEY_PREVIOUS"]).encryption
        let cipher = try reporting("ENCRYPTION_KEY", .configuration) { () throws(SecretCipherError) in
            try encryption.makeCipher()
        }
        guard let cipher else {
            Console.error(
                "ENCRYPTION_KEY is not set: expected base64 of 32 bytes; "
                    + "make a key with scada-ingestion encrypt-secret --new-key"
            )
            throw ExitCode.configuration
        }
        let secret = try SecretInput.read(prompt: "Password to encrypt: ")
        let text = try reporting("the password could not be encrypted", .unavailable) { () throws(SecretCipherError) in
            try cipher.encrypt(secret.revealed)
        }
        Console.output(text)
    }

    private func reporting<Value>(
        _ what: String,
        _ code: ExitCode,
        _ body: () throws(SecretCipherError) -> Value
    ) throws -> Value {
        do throws(SecretCipherError) {
            return try body()
        } catch {
            Console.error("\(what): \(error)")
            throw code
        }
    }
}
