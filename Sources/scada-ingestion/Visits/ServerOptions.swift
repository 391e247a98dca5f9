import ArgumentParser
import FoundationEssentials
import Glibc
import Ingestion
import OPCUAClient
import OPCUASecurity
import TimescaleStore

/// How a server is visited by the commands that need no database: security, user, patience.
struct ServerOptions: ParsableArguments {
    /// Never in the arguments, which every user of the machine can see.
    static let passwordVariable = "SCADA_PASSWORD"

    @OptionGroup var configuration: ConfigurationOptions

    @Option(
        name: .long,
        help: ArgumentHelp(
            "None, Basic256Sha256, Aes128_Sha256_RsaOaep or Aes256_Sha256_RsaPss, or its full URI. (default: None)",
            valueName: "policy"
        )
    )
    var securityPolicy: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "None, Sign or SignAndEncrypt. (default: SignAndEncrypt with a policy, else None)",
            valueName: "mode"
        )
    )
    var securityMode: String?

    @Option(name: .long, help: ArgumentHelp("User name; anonymous without.", valueName: "name"))
    var user: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "File that holds the password.",
            discussion: "Without it SCADA_PASSWORD of the environment, else standard input or a prompt.",
            valueName: "file"
        ),
        completion: .file()
    )
    var passwordFile: String?

    @Option(
        name: .long,
        help: ArgumentHelp("Certificate to log in with, DER or PEM.", valueName: "file"),
        completion: .file()
    )
    var userCertificate: String?

    @Option(name: .long, help: ArgumentHelp("Its private key, PEM.", valueName: "file"), completion: .file())
    var userKey: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Patience for connecting and for each answer. (default: OPC_CONNECTION_TIMEOUT_MS)",
            valueName: "seconds"
        )
    )
    var timeout: Double?

    func validate() throws {
        if user != nil, userCertificate != nil {
            throw ValidationError("--user and --user-certificate are two ways to log in: give one.")
        }
        if passwordFile != nil, user == nil { throw ValidationError("--password-file needs --user.") }
        if (userCertificate == nil) != (userKey == nil) {
            throw ValidationError("--user-certificate and --user-key go together.")
        }
        if let timeout, !(timeout > 0 && timeout <= 3_600) {
            throw ValidationError("--timeout is a number of seconds up to 3600.")
        }
    }

    /// Everything a visit needs. Blocks on the disk, and perhaps on a person who types a password.
    /// - Throws: `ExitCode` after saying what is wrong: usage for the arguments, configuration for files and folders.
    func target(_ url: String) throws -> ServerTarget {
        let settings = try configuration.load(
            only: [
                "OPC_PKI_DIR", "OPC_CONNECTION_TIMEOUT_MS", "OPC_SESSION_TIMEOUT_MS", "OPC_ALLOW_DEPRECATED_POLICIES",
                "OPC_ALLOW_PLAINTEXT_PASSWORD", "OPC_REVERSE_LISTEN",
            ]
        ).opc
        let policy = securityPolicy ?? "None"
        let isNone = SecurityPolicy(policy) == SecurityPolicy.none
        let record = ConnectionRecord(
            id: UUID(),
            endpointURL: url,
            securityMode: securityMode ?? (isNone ? "None" : "SignAndEncrypt"),
            securityPolicy: policy,
            username: user,
            password: try user.map { try password(for: $0) }
        )
        var plan: ConnectionConfiguration
        do throws(RowProblem) {
            plan = try ConnectionPlan(record, defaults: settings.connectionDefaults, openPassword: { $0 }).configuration
        } catch {
            Console.error(Self.words(error.problem))
            throw ExitCode.usage
        }
        guard plan.endpointURLs.count == 1 else {
            Console.error("one URL at a time: \(url) names \(plan.endpointURLs.count)")
            throw ExitCode.usage
        }
        if let userCertificate, let userKey {
            plan.identity = .x509(certificatePath: userCertificate, privateKeyPath: userKey)
        }
        if let timeout { plan.connectionTimeout = Int64(timeout * 1_000) }
        let isAnonymous = plan.identity == .anonymous
        let pki = try PKIAccess(folder: settings.pkiDirectory, isNeeded: !isNone || !isAnonymous)
        if let uri = pki.security?.applicationURI { plan.applicationURI = uri }
        let dialsIn = plan.endpointURLs.contains { (try? EndpointURL($0))?.isReverse == true }
        return ServerTarget(configuration: plan, pki: pki, listen: dialsIn ? settings.reverseListen : nil)
    }

    private func password(for user: String) throws -> String {
        if let passwordFile {
            do throws(Unacceptable) {
                return SecretInput.withoutLastNewline(try SmallTextFile.read(passwordFile, limit: 64 << 10))
            } catch {
                Console.error("--password-file \(passwordFile): \(error.reason)")
                throw ExitCode.configuration
            }
        }
        if let password = ProcessInfo.processInfo.environment[Self.passwordVariable] { return password }
        return try SecretInput.read(prompt: "Password of \(user): ").revealed
    }

    /// The columns of `scada_connections` by the names of the options.
    private static func words(_ problem: String) -> String {
        problem.replacing("security_mode", with: "--security-mode").replacing(
            "security_policy",
            with: "--security-policy"
        )
    }
}

/// Whom to visit and how.
struct ServerTarget: Sendable {
    var configuration: ConnectionConfiguration
    var pki: PKIAccess
    /// Where the server is awaited that dials in; nil for a server that is dialled.
    var listen: Settings.ReverseAddress?

    var url: String { configuration.endpointURLs.first ?? "" }
}

/// What the folder of certificates is good for here.
struct PKIAccess: Sendable {
    /// For secured channels; nil where none is needed.
    var security: ClientSecurity?
    /// Judges certificates; nil where the folder cannot be used, and `reason` says why.
    var store: TrustStore?
    var reason = ""

    /// Blocks on the disk. A folder that is not needed is not made, and one of another user is left alone.
    /// - Throws: `ExitCode.configuration` after saying why the folder that is needed cannot be used.
    init(folder: String, isNeeded: Bool, now: Int64 = Validity.now) throws {
        if !isNeeded {
            guard access("\(folder)/own/certs", F_OK) == 0 else {
                reason = "there are no certificates in OPC_PKI_DIR \(folder) yet"
                return
            }
            if let owner = PKICommand.foreignOwner(folder) {
                reason = "OPC_PKI_DIR \(folder) belongs to \(owner): run this as that user"
                return
            }
            do throws(SecurityError) { store = try TrustStore(folder: folder) } catch { reason = error.message }
            return
        }
        try PKICommand.refuseForeignFolder(folder)
        do throws(SecurityError) {
            let store = try TrustStore(folder: folder)
            let identity = try store.loadOrCreateIdentity(ApplicationCertificate.template(now: now))
            security = ClientSecurity(identity: identity, trustStore: store)
            self.store = store
        } catch {
            Console.error("OPC_PKI_DIR \(folder): \(error.message)")
            throw ExitCode.configuration
        }
    }
}
