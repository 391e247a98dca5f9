import ArgumentParser
import OPCUASecurity

/// `scada-ingestion certificate`: the own certificate, and housekeeping of the PKI folder.
struct CertificateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "certificate",
        abstract: "Show, make or renew the own OPC UA certificate; list, reject or remove others'.",
        discussion: """
            Servers that ask for security have to trust the own certificate: hand them the file that show names.

            EXAMPLES
              scada-ingestion certificate
              scada-ingestion certificate show --pem > scada-ingestion.pem
              scada-ingestion certificate list
              scada-ingestion certificate reject 3FA85F64
            """,
        subcommands: [Show.self, Create.self, Renew.self, List.self, Reject.self, Remove.self],
        defaultSubcommand: Show.self
    )

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show the own certificate, or another one.")

        @OptionGroup var options: ConfigurationOptions

        @Flag(name: .long, help: "Print the certificate itself, as PEM.")
        var pem = false

        @Argument(help: "Thumbprint of another one, or its first eight digits or more.")
        var thumbprint: String?

        func run() throws {
            try PKICommand.run(options) { (store) throws(SecurityError) in
                let (certificate, path) = try chosen(store)
                if pem {
                    Console.write(String(decoding: try certificate.pem(), as: UTF8.self), to: 1)
                } else {
                    Console.output(PKICommand.details(certificate, path: path))
                }
            }
        }

        private func chosen(_ store: TrustStore) throws(SecurityError) -> (Certificate, String?) {
            if let thumbprint {
                let found = try store.find(thumbprint)
                if let first = found.first { return (first.certificate, first.path) }
            } else if let own = try store.loadIdentity()?.certificate {
                return (own, try store.list().first { $0.certificate == own }?.path)
            }
            throw SecurityError(
                .badConfigurationError,
                "there is no own certificate in \(store.folder) yet: the first start makes it, or scada-ingestion certificate create"
            )
        }
    }

    struct Create: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make the own certificate and its key unless they are there, and show it."
        )

        @OptionGroup var options: ConfigurationOptions

        func run() throws {
            try PKICommand.run(options) { (store) throws(SecurityError) in
                let identity = try store.loadOrCreateIdentity(ApplicationCertificate.template(now: Validity.now))
                Console.output(PKICommand.details(identity.certificate, path: store.ownCertificatePath))
            }
        }
    }

    struct Renew: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a new own certificate for the same key, five years from now.",
            discussion: "Servers that trust the old one have to trust the new one; restart the daemon to use it."
        )

        @OptionGroup var options: ConfigurationOptions

        func run() throws {
            try PKICommand.run(options) { (store) throws(SecurityError) in
                var template = ApplicationCertificate.template(now: Validity.now)
                // Servers know this application by its URI: it stays what it was.
                if let uri = try store.loadIdentity()?.certificate.uris.first { template.applicationUri = uri }
                let identity = try store.renewCertificate(template)
                Console.output(PKICommand.details(identity.certificate, path: store.ownCertificatePath))
            }
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List all certificates: place, thumbprint, end and name, separated by tabs."
        )

        @OptionGroup var options: ConfigurationOptions

        func run() throws {
            try PKICommand.run(options) { (store) throws(SecurityError) in
                for stored in try store.list() { Console.output(PKICommand.line(stored)) }
                for problem in try store.unreadableFiles() { Console.error(problem) }
            }
        }
    }

    struct Reject: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Trust a certificate no more: it moves to rejected/."
        )

        @OptionGroup var options: ConfigurationOptions

        @Argument(help: "Thumbprint, or its first eight digits or more.")
        var thumbprint: String

        func run() throws {
            try PKICommand.run(options) { (store) throws(SecurityError) in
                let stored = try store.reject(thumbprint)
                Console.output("rejected: \(stored.certificate) in \(stored.path)")
            }
        }
    }

    struct Remove: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Delete a certificate of somebody else from trusted/, issuers/ and rejected/."
        )

        @OptionGroup var options: ConfigurationOptions

        @Argument(help: "Thumbprint, or its first eight digits or more.")
        var thumbprint: String

        func run() throws {
            try PKICommand.run(options) { (store) throws(SecurityError) in
                for stored in try store.remove(thumbprint) {
                    Console.output("removed: \(stored.certificate) from \(stored.path)")
                }
            }
        }
    }
}
