import ArgumentParser
import FoundationEssentials
import TimescaleStore

/// `scada-ingestion tenant`: the rows of the master database's table tenants.
struct Tenant: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List tenants, or add one, in the master database.",
        discussion: "A platform that manages its tenants itself needs none of this.",
        subcommands: [List.self, Add.self]
    )

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the active tenants: id, slug, name and database, separated by tabs."
        )

        @OptionGroup var options: ConfigurationOptions

        func run() async throws {
            let tenants = try await withRegistry(options) { (registry, master) throws(StoreError) in
                try await registry.activeTenants(master: master)
            }
            for tenant in tenants.tenants {
                Console.output(
                    "\(tenant.id.lowercase)\t\(tenant.slug ?? "")\t\(tenant.name ?? "")\t\(tenant.url)"
                )
            }
            for problem in tenants.problems { Console.error("\(problem)") }
            if !tenants.problems.isEmpty { throw ExitCode.unavailable }
        }
    }

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Add a tenant and print its id.",
            discussion: """
                The tenant's database must exist; run scada-ingestion migrate --tenant with the printed id afterwards. The URL
                with its password is best piped in: arguments can be seen by every user of this machine.

                EXAMPLES
                  scada-ingestion tenant add --slug north --name "North field" --database-url - < north.url
                  scada-ingestion tenant add --slug test --database-url postgresql:///scada_test
                """
        )

        @OptionGroup var options: ConfigurationOptions

        @Option(help: "Short name, for people.")
        var slug: String

        @Option(help: "Full name; the slug when it is left out.")
        var name: String?

        @Option(help: ArgumentHelp("The tenant's database, or - to read it from standard input.", valueName: "url"))
        var databaseURL: String

        @Option(
            help: ArgumentHelp("The tenant's id; a new one when it is left out.", valueName: "uuid"),
            transform: UUID.init(argument:)
        )
        var id: UUID?

        func validate() throws {
            guard !slug.isEmpty else { throw ValidationError("--slug is empty.") }
        }

        func run() async throws {
            let text = databaseURL == "-" ? try SecretInput.read(prompt: "Database URL: ").revealed : databaseURL
            let url: DatabaseURL
            do throws(StoreError) {
                url = try DatabaseURL(text)
            } catch {
                Console.error("--database-url: \(error.message)")
                throw ExitCode.usage
            }
            let record = TenantRecord(id: id ?? UUID(), slug: slug, name: name ?? slug, url: url)
            try await withRegistry(options) { (registry, master) throws(StoreError) in
                try await registry.add(record, master: master)
            }
            Console.output(record.id.lowercase)
        }
    }
}

/// Loads the configuration and runs `body` with the master database's registry.
private func withRegistry<R>(
    _ options: ConfigurationOptions,
    _ body: (TenantRegistry, DatabaseURL) async throws(StoreError) -> R
) async throws -> R {
    let configuration = try options.load()
    let pool = try DatabaseCommand.makePool(configuration)
    let result: Result<R, StoreError>
    do throws(StoreError) {
        result = .success(try await body(TenantRegistry(pool: pool), configuration.databaseURL))
    } catch {
        result = .failure(error)
    }
    await pool.close()
    switch result {
    case .success(let value): return value
    case .failure(let error):
        let isIncomplete = ["42P01", "42703"].contains(error.sqlState)
        let cure =
            isIncomplete
            ? "run scada-ingestion migrate --master-only first"
            : DatabaseCommand.cure(error, variable: "DATABASE_URL")
        Console.error("master database \(configuration.databaseURL): \(error)\(cure.map { "; \($0)" } ?? "")")
        throw ExitCode.unavailable
    }
}
