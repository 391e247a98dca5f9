import ArgumentParser
import FoundationEssentials
import TimescaleStore

/// What commands that use databases share.
enum DatabaseCommand {
    /// Of DB_MAX_CONNECTIONS, those that listen for changed configuration instead of carrying rows; none where there are few.
    static func listeners(of configuration: DaemonConfiguration) -> Int { configuration.database.maxConnections / 5 }

    /// Of DB_MAX_CONNECTIONS, those that only keep this replica's leases.
    static func leaseKeepers(of configuration: DaemonConfiguration) -> Int {
        configuration.replica.isShared && configuration.database.maxConnections > 2 ? 1 : 0
    }

    /// A pool of the configured size. Opens nothing yet.
    /// - Parameter reserved: connections that are made elsewhere.
    static func makePool(
        sized configuration: DaemonConfiguration,
        reserved: Int = 0
    ) throws(StoreError) -> ConnectionPool {
        try ConnectionPool(limits: .init(maxConnections: configuration.database.maxConnections - reserved))
    }

    /// As ``makePool(sized:reserved:)``; a failure is said and ends the command.
    static func makePool(_ configuration: DaemonConfiguration, reserved: Int = 0) throws -> ConnectionPool {
        do throws(StoreError) {
            return try makePool(sized: configuration, reserved: reserved)
        } catch {
            Console.error("cannot prepare database connections: \(error)")
            throw ExitCode.unavailable
        }
    }

    /// What a person can do about it; nil when the error says enough.
    static func cure(_ error: StoreError, variable: String) -> String? {
        switch error.code {
        case .connection where error.message.contains("database \"") && error.message.contains("does not exist"):
            "create it with CREATE DATABASE, or correct the name in \(variable)"
        case .connection: "check that the server runs and that host, port and firewall in \(variable) are right"
        case .authentication: "check user and password in \(variable), and the server's pg_hba.conf"
        case .readOnly: "\(variable) must name the primary, not a standby"
        case .contention: "something holds a lock on the tables: try again"
        case .schema where error.sqlState == "42501":
            "grant the user of \(variable) CREATE on the schema and ownership of the tables"
        default: nil
        }
    }
}

extension UUID {
    /// For argument transforms: the parser adds which option it was.
    init(argument: String) throws {
        guard let id = UUID(uuidString: argument) else {
            throw ValidationError("expected a UUID such as 8f14e45f-ceea-467f-a5d1-7b1a3c0a9b10")
        }
        self = id
    }
}
