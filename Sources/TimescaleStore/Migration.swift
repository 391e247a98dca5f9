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

/// Intervals of the storage. Whole numbers, so that what the environment says is checked before a database is asked.
package struct StorageSettings: Sendable, Equatable {
    /// STORAGE_CHUNK_HOURS: width of a hypertable chunk.
    package var chunkHours = 24
    /// STORAGE_COMPRESS_AFTER_HOURS: age at which a chunk is compressed.
    package var compressAfterHours = 7 * 24
    /// STORAGE_RETENTION_DAYS: age at which readings are dropped, in every layout; at least ``shortestRetentionDays``.
    package var retentionDays = Self.twoYears
    /// STORAGE_REFRESH_HOURLY_MINUTES and so on: how often the roll-ups are brought up to date. Between two times what is new
    /// is computed when it is asked for.
    package var hourlyRefreshMinutes = 15
    package var dailyRefreshMinutes = 60
    package var monthlyRefreshMinutes = 12 * 60
    /// Plain layout: partitions made ahead of today.
    package var partitionDaysAhead = 7

    package static let shortestRetentionDays = 7
    private static let twoYears = 731

    package init() {}

    /// How far back changed buckets are computed again. It ends before the retention's edge, where a dropped chunk would
    /// empty a bucket.
    private var windowDays: Int {
        let margin = max(chunkHours / 24 + 1, min(31, retentionDays / 4))
        return max(1, retentionDays - margin)
    }

    var substitutions: [String: String] {
        let isUsual = retentionDays == Self.twoYears && chunkHours <= 24
        return [
            "chunk_interval": "\(chunkHours) hours",
            "compress_after": compressAfterHours % 24 == 0
                ? "\(compressAfterHours / 24) days" : "\(compressAfterHours) hours",
            "retention": retentionDays == Self.twoYears ? "2 years" : "\(retentionDays) days",
            "hourly_window": isUsual ? "23 months" : "\(windowDays) days",
            // Both are computed from the level below, which keeps its buckets: they may reach beyond the raw readings. A
            // window holds two buckets at least.
            "daily_window": isUsual ? "23 months" : "\(max(windowDays, 4)) days",
            "monthly_window": isUsual ? "23 months" : "\(max(windowDays, 124)) days",
            "hourly_refresh": "\(hourlyRefreshMinutes) minutes",
            "daily_refresh": "\(dailyRefreshMinutes) minutes",
            "monthly_refresh": "\(monthlyRefreshMinutes) minutes",
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
