internal import Synchronization

/// What one database's server and schema can do, as far as it changes what is sent.
struct Capabilities: Sendable {
    /// Whether the roll-ups are continuous aggregates rather than views over the raw rows.
    var hasContinuousAggregates = false
    var hasDirectCompress = false
    var hasDirectCompressSortLimit = false

    /// Settings for the flush transaction, each ended by a semicolon; empty where there is no direct compress.
    ///
    /// The server sorts what it gets, up to a limit of rows at once; a sorted batch is best kept whole. The
    /// `client_sorted` setting stays off: it promises that no batch overlaps an earlier one, which late data breaks.
    func directCompressSettings(rowCount: Int) -> String {
        guard hasDirectCompress else { return "" }
        var text = "SET LOCAL timescaledb.enable_direct_compress_copy = on; "
        if hasDirectCompressSortLimit {
            let limit = max(100_000, min(rowCount, 2_000_000))
            text += "SET LOCAL timescaledb.direct_compress_copy_tuple_sort_limit = \(limit); "
        }
        return text
    }
}

/// Remembers capabilities per database for ten minutes, so that an upgraded server is noticed without a restart.
final class CapabilityCache: Sendable {
    private struct Entry {
        var capabilities: Capabilities
        var until: ContinuousClock.Instant
    }
    private let entries = Mutex<[DatabaseURL: Entry]>([:])

    func of(_ connection: PGConnection) throws(StoreError) -> Capabilities {
        let now = ContinuousClock.now
        if let entry = entries.withLock({ $0[connection.url] }), entry.until > now { return entry.capabilities }
        let capabilities = try Self.ask(connection)
        entries.withLock { entries in
            entries = entries.filter { $0.value.until > now }
            entries[connection.url] = Entry(capabilities: capabilities, until: now + .seconds(600))
        }
        return capabilities
    }

    private static func ask(_ connection: PGConnection) throws(StoreError) -> Capabilities {
        // A function of the extension would load its library; so does reading the hypertable, before the settings exist.
        let hasExtension = try connection.execute(
            """
            SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')
                AND EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('scada_readings') AND relkind = 'r')
            """
        )
        guard hasExtension.bool(0, 0) == true else { return Capabilities() }
        let facts = try connection.execute(
            """
            SELECT EXISTS (SELECT FROM timescaledb_information.continuous_aggregates
                           WHERE view_name = 'scada_readings_hourly'),
                   EXISTS (SELECT FROM timescaledb_information.hypertables
                           WHERE hypertable_name = 'scada_readings' AND compression_enabled),
                   current_setting('timescaledb.enable_direct_compress_copy', true) IS NOT NULL,
                   current_setting('timescaledb.direct_compress_copy_tuple_sort_limit', true) IS NOT NULL
            """
        )
        return Capabilities(
            hasContinuousAggregates: facts.bool(0, 0) == true,
            hasDirectCompress: facts.bool(0, 1) == true && facts.bool(0, 2) == true,
            hasDirectCompressSortLimit: facts.bool(0, 3) == true
        )
    }
}
