import FoundationEssentials
import Ingestion
import OPCUASecurity
import Synchronization
import TimescaleStore

/// What `check` found about one tenant.
struct TenantCheck: Sendable {
    /// Rows that cannot be used are named up to this many, then counted.
    private static let rowBound = 20

    var findings: [Finding] = []
    /// Connections and tags that would be run.
    var connections = 0
    var tags = 0
    private let subject: String
    private var problems: [RowProblem] = []

    static func perform(
        _ tenant: TenantRecord,
        _ pool: ConnectionPool,
        _ cipher: SecretCipher?,
        _ defaults: ConnectionDefaults,
        _ storage: StorageSettings,
        _ patience: Duration
    ) async -> TenantCheck {
        var check = TenantCheck(subject: tenant.label)
        do throws(StoreError) {
            let report = try await Migrator(settings: storage)
                .migrateTenant(tenant.url, pool: pool, dryRun: true, timeout: patience)
            check.take(report)
            let missing = try await pool.withConnection(to: tenant.url, for: .admin, timeout: patience) { connection in
                try missingPrivileges(connection)
            }
            if !missing.isEmpty {
                check.fail(
                    "its user lacks \(missing.joined(separator: ", "))",
                    cure: "grant it, or make the user of database_url the owner of the tables"
                )
            }
            // A schema still to be made has no rows to look at.
            if report.applied.contains("001_configuration") { return check }
            let rows = try await TenantRegistry(pool: pool).configuration(of: tenant.url, timeout: patience)
            check.take(rows, cipher, defaults)
        } catch {
            check.fail("\(error)", cure: DatabaseCommand.cure(error, variable: "the tenant's database_url"))
        }
        return check
    }

    init(subject: String) { self.subject = subject }

    private mutating func fail(_ message: String, cure: String?) {
        findings.append(.fail(subject, message, cure: cure, .service))
    }

    private mutating func take(_ report: MigrationReport) {
        let schema = report.applied.isEmpty ? "schema up to date" : "schema incomplete"
        findings.append(.ok(subject, "\(report.edition), \(schema)"))
        if !report.applied.isEmpty {
            findings.append(
                .warn(
                    subject,
                    "its schema lacks \(report.applied.joined(separator: ", "))",
                    cure: "run scada-ingestion migrate; the daemon does so at its start where it may"
                )
            )
        }
        for notice in report.notices { findings.append(.warn(subject, notice)) }
    }

    /// What of the configured connections can be run.
    mutating func take(_ rows: TenantConfiguration, _ cipher: SecretCipher?, _ defaults: ConnectionDefaults) {
        problems = rows.problems
        let forms = Mutex<[OpenedSecret.Form: Int]>([:])
        for record in rows.connections {
            do throws(RowProblem) {
                let plan = try ConnectionPlan(record, defaults: defaults) { stored in
                    let opened = try cipher.openStored(stored)
                    forms.withLock { $0[opened.form, default: 0] += 1 }
                    return opened.plaintext
                }
                connections += 1
                tags += plan.tags.count
                problems += plan.problems
            } catch {
                problems.append(error)
            }
        }
        findings.append(.ok(subject, "\(connections.counted("connection")) with \(tags.counted("tag")) can be run"))
        tell(forms.withLock { $0 })
        for problem in problems.prefix(Self.rowBound) {
            findings.append(.fail(subject, "\(problem)", cure: Self.cure(problem), .service))
        }
        if problems.count > Self.rowBound {
            findings.append(
                .fail(subject, "unusable beside these: \((problems.count - Self.rowBound).counted("row"))", .service)
            )
        }
    }

    private static func cure(_ problem: RowProblem) -> String {
        problem.problem.hasPrefix("the password")
            ? "set the ENCRYPTION_KEY it was encrypted with, or store the password anew"
            : "correct the row"
    }

    private mutating func tell(_ forms: [OpenedSecret.Form: Int]) {
        if let count = forms[.plain] {
            findings.append(
                .warn(
                    subject,
                    "in plain text in the database: \(count.counted("password"))",
                    cure: "set ENCRYPTION_KEY and run scada-ingestion migrate --reencrypt"
                )
            )
        }
        if let count = forms[.previousKey] {
            findings.append(
                .warn(
                    subject,
                    "encrypted under a previous key: \(count.counted("password"))",
                    cure: "run scada-ingestion migrate --reencrypt, then drop ENCRYPTION_KEY_PREVIOUS"
                )
            )
        }
    }

    /// "INSERT on scada_readings" and the like, of tables that exist.
    private static func missingPrivileges(_ connection: PGConnection) throws(StoreError) -> [String] {
        let rows = try connection.execute(
            """
            SELECT privilege || ' on ' || name FROM (VALUES
                ('scada_connections', 'SELECT'), ('scada_connections', 'INSERT'), ('scada_connections', 'UPDATE'),
                ('tag_mappings', 'SELECT'), ('tag_mappings', 'INSERT'), ('tag_mappings', 'UPDATE'),
                ('scada_readings', 'SELECT'), ('scada_readings', 'INSERT'),
                ('ingest_checkpoints', 'SELECT'), ('ingest_checkpoints', 'INSERT'), ('ingest_checkpoints', 'UPDATE'),
                ('scada_gaps', 'SELECT'), ('scada_gaps', 'INSERT'), ('scada_gaps', 'UPDATE'),
                ('scada_rejected_readings', 'INSERT')) AS needed (name, privilege)
            WHERE to_regclass(name) IS NOT NULL AND NOT has_table_privilege(to_regclass(name), privilege)
            """
        )
        return (0..<rows.rowCount).map { rows.string($0, 0) ?? "" }
    }
}
