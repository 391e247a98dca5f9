import ArgumentParser
import FoundationEssentials
import OPCUASecurity
import TimescaleStore

/// `scada-ingestion migrate`: the databases' schema.
struct Migrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Create or complete the schema of the master database and of the tenants' databases.",
        discussion: """
            Safe to run at any time, also beside a running daemon and on databases that the platform already filled: what is
            missing is added, nothing is dropped or retyped. Each database is one transaction. A tenant that fails does not
            stop the others. Without options: the master database, then every active tenant.

            EXAMPLES
              scada-ingestion migrate --config scada.env
              scada-ingestion migrate --dry-run > changes.sql
              scada-ingestion migrate --tenant 8f14e45f-ceea-467f-a5d1-7b1a3c0a9b10
              scada-ingestion migrate --all-tenants
                  when others look after the master database
              scada-ingestion migrate --reencrypt
                  after changing ENCRYPTION_KEY, the former key being in
                  ENCRYPTION_KEY_PREVIOUS

            EXIT CODES
              0   all is done
              69  a database could not be reached, or refused
              78  wrong configuration, or a stored password that no key opens
            """
    )

    @OptionGroup var options: ConfigurationOptions

    @Flag(name: .long, help: "The master database only.")
    var masterOnly = false

    @Flag(name: .long, help: "Every active tenant, but not the master database.")
    var allTenants = false

    @Option(
        name: .customLong("tenant"),
        help: ArgumentHelp("One tenant only, by its id; may be repeated.", valueName: "uuid"),
        transform: UUID.init(argument:)
    )
    var tenants: [UUID] = []

    @Flag(name: .long, help: "Print the SQL that would run; change nothing.")
    var dryRun = false

    @Flag(
        name: .long,
        help: ArgumentHelp(
            "Instead: encrypt the stored passwords of tenants' connections under ENCRYPTION_KEY.",
            discussion: "Those in plain text, under a key of ENCRYPTION_KEY_PREVIOUS, or in the older form."
        )
    )
    var reencrypt = false

    func validate() throws {
        guard [masterOnly, allTenants, !tenants.isEmpty].count(where: { $0 }) <= 1 else {
            throw ValidationError("Use one of --master-only, --all-tenants and --tenant.")
        }
        guard !(masterOnly && reencrypt) else {
            throw ValidationError("--reencrypt is about the tenants' databases: leave out --master-only.")
        }
    }

    func run() async throws {
        let configuration = try options.load()
        let cipher = reencrypt ? try cipher(configuration) : nil
        let pool = try DatabaseCommand.makePool(configuration)
        var run = MigrationRun(
            pool: pool,
            master: configuration.databaseURL,
            storage: configuration.storage,
            dryRun: dryRun
        )
        let isClean =
            if let cipher {
                await run.performReencryption(scope, cipher: cipher)
            } else {
                await run.perform(scope)
            }
        await pool.close()
        if !isClean { throw ExitCode.unavailable }
        if run.unreadable > 0 { throw ExitCode.configuration }
    }

    private func cipher(_ configuration: DaemonConfiguration) throws -> SecretCipher {
        do throws(SecretCipherError) {
            if let cipher = try configuration.encryption.makeCipher() { return cipher }
            Console.error("ENCRYPTION_KEY is not set: expected the key to encrypt under, base64 of 32 bytes")
        } catch {
            Console.error("ENCRYPTION_KEY: \(error)")
        }
        throw ExitCode.configuration
    }

    private var scope: MigrationRun.Scope {
        if masterOnly { return .masterOnly }
        if allTenants { return .allTenants }
        return tenants.isEmpty ? .everything : .tenants(tenants)
    }
}
