import ArgumentParser
import FoundationEssentials
import OPCUASecurity

/// `scada-ingestion trust`: whose certificates are taken.
struct Trust: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Trust OPC UA servers' certificates, or list those that were refused.",
        discussion: """
            A server whose certificate is not known is refused, and its certificate kept in rejected/. Compare its thumbprint
            with what the server's operator says before you trust it. A running daemon notices by itself.

            EXAMPLES
              scada-ingestion trust
                  what was refused
              scada-ingestion trust 3FA85F64
                  the first eight digits of a thumbprint are enough
              scada-ingestion trust plc7.der
                  a certificate that the operator sent
              scada-ingestion trust --issuer plant-ca.crt
                  an authority that completes chains, without trusting it by itself
            """
    )

    @OptionGroup var options: ConfigurationOptions

    @Flag(name: .long, help: "Into issuers/ instead of trusted/; for certificate files.")
    var issuer = false

    @Argument(
        help: ArgumentHelp(
            "Thumbprints of refused certificates, or certificate files (DER or PEM).",
            valueName: "what"
        ),
        completion: .file()
    )
    var subjects: [String] = []

    func validate() throws {
        if issuer, subjects.isEmpty { throw ValidationError("--issuer needs a certificate file.") }
    }

    func run() throws {
        try PKICommand.run(options) { (store) throws(SecurityError) in
            guard !subjects.isEmpty else { return try list(store) }
            for subject in subjects {
                for stored in try take(subject, store) {
                    Console.output("\(stored.location.rawValue): \(stored.certificate) in \(stored.path)")
                }
            }
        }
    }

    private func list(_ store: TrustStore) throws(SecurityError) {
        let rejected = try store.list().filter { $0.location == .rejected }
        if rejected.isEmpty { Console.error("nothing was refused: \(store.folder)/rejected is empty") }
        for stored in rejected { Console.output(PKICommand.line(stored)) }
    }

    private func take(_ subject: String, _ store: TrustStore) throws(SecurityError) -> [StoredCertificate] {
        let isThumbprint = subject.count >= 8 && subject.allSatisfy { $0.isHexDigit || $0 == ":" }
        if isThumbprint, !FileManager.default.fileExists(atPath: subject) {
            guard !issuer else {
                throw SecurityError(.badNothingToDo, "--issuer goes with certificate files, \(subject) is a thumbprint")
            }
            return [try store.trust(subject)]
        }
        let bytes: [UInt8]
        do throws(Unacceptable) {
            bytes = try SmallTextFile.readBytes(subject)
        } catch {
            throw SecurityError(
                .badNothingToDo,
                "\(subject): \(error.reason); expected a thumbprint or a certificate file"
            )
        }
        let chain: CertificateChain
        do throws(SecurityError) {
            chain = try CertificateChain(fileContent: bytes)
        } catch {
            throw SecurityError(.badNothingToDo, "\(subject): \(error.message)")
        }
        // Of a chain, only the first is meant: who trusts a server does not thereby trust its authority.
        let chosen = issuer ? chain.all : [chain.leaf]
        var stored: [StoredCertificate] = []
        for certificate in chosen { stored.append(try store.add(certificate, to: issuer ? .issuers : .trusted)) }
        return stored
    }
}
