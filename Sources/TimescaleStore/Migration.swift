/// One file under Migrations/, embedded by scripts/generate-migrations.
struct Migration: Sendable {
    /// Which database a migration belongs to.
    enum Scope: String, Sendable {
        case master, tenant
    }

    var scope: Scope
    /// File name up to the first dot: its identity in `scada_schema_migrations`.
    var name: String
    /// The layout it is for; nil for all.
    var layout: StorageLayout?
    /// Applied again whenever its text with settings changed.
    var isRepeated: Bool
    /// SHA-256 of the file, hexadecimal.
    var checksum: String
    var sql: String
}

/// How a tenant's readings are kept.
package enum StorageLayout: String, Sendable {
    /// A hypertable with compression, retention and continuous aggregates.
    case timescaledb
    /// Daily range partitions and views, looked after by ``PartitionMaintenance``.
    case plain
}

/// What a server offers.
package enum ServerEdition: Sendable, Hashable, CustomStringConvertible {
    /// TimescaleDB under the Timescale License: everything.
    case timescaleCommunity(version: String)
    /// TimescaleDB under the Apache License: no compression, retention or continuous aggregates.
    case timescaleApache(version: String)
    /// PostgreSQL alone (or a TimescaleDB too old for hierarchical continuous aggregates, before 2.9).
    case plain

    package var description: String {
        switch self {
        case .timescaleCommunity(let version): "TimescaleDB \(version) Community"
        case .timescaleApache(let version): "TimescaleDB \(version) Apache edition"
        case .plain: "PostgreSQL without TimescaleDB"
        }
    }

    var layout: StorageLayout {
        if case .timescaleCommunity = self { .timescaledb } else { .plain }
    }
}

/// Intervals of the storage, in PostgreSQL's interval syntax where the database keeps them, in days where this program does.
package struct StorageSettings: Sendable, Equatable {
    /// Width of a hypertable chunk.
    package var chunkInterval = "24 hours"
    /// Age at which a chunk is compressed.
    package var compressAfter = "7 days"
    /// Age at which readings are dropped.
    package var retention = "2 years"
    /// How far back changed roll-up buckets are computed again; shorter than `retention`.
    package var refreshWindow = "23 months"
    package var hourlyRefresh = "15 minutes"
    package var dailyRefresh = "1 hour"
    package var monthlyRefresh = "12 hours"
    /// Plain layout: partitions made ahead of today.
    package var partitionDaysAhead = 7
    /// Plain layout: days of readings kept.
    package var retentionDays = 731

    package init() {}

    var substitutions: [String: String] {
        [
            "chunk_interval": chunkInterval,
            "compress_after": compressAfter,
            "retention": retention,
            "refresh_window": refreshWindow,
            "hourly_refresh": hourlyRefresh,
            "daily_refresh": dailyRefresh,
            "monthly_refresh": monthlyRefresh,
        ]
    }

    /// `sql` with every `:'name'` replaced by the setting as a string constant.
    func render(_ sql: String) -> String {
        substitutions.reduce(sql) { text, setting in
            text.split(separator: ":'\(setting.key)'", omittingEmptySubsequences: false)
                .joined(separator: PGConnection.quoteLiteral(setting.value))
        }
    }
}

/// What a migration did, or would do.
package struct MigrationReport: Sendable {
    package var edition: ServerEdition
    /// The layout of this database; nil for a master database.
    package var layout: StorageLayout?
    /// Names of the migrations applied (or, in a dry run, to be applied), in order.
    package var applied: [String] = []
    /// What the server or the migrator want a person to know.
    package var notices: [String] = []
    /// The SQL of a dry run.
    package var sql: String = ""
}
