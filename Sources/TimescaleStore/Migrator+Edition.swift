extension Migrator {
    /// The oldest TimescaleDB with continuous aggregates on continuous aggregates.
    private static let oldestTimescale = (major: 2, minor: 9)

    /// Which of the three editions the server is. Needs an open transaction when `createExtension` is set.
    ///
    /// The extension is only created when its loader is in `shared_preload_libraries`: creating it without ends the session
    /// with a fatal error.
    static func detectEdition(
        _ connection: PGConnection,
        createExtension: Bool,
        _ notices: inout [String]
    ) throws(StoreError) -> ServerEdition {
        let facts = try connection.execute(
            """
            SELECT (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),
                   (SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'),
                   current_setting('timescaledb.disable_load', true) IS NOT NULL,
                   current_setting('timescaledb.license', true)
            """
        )
        var installed = facts.string(0, 0)
        var license = facts.string(0, 3)
        if installed == nil, let offered = facts.string(0, 1) {
            if facts.bool(0, 2) != true {
                notices.append(
                    "TimescaleDB \(offered) is offered but not in shared_preload_libraries: partitions are used instead"
                )
            } else if !createExtension {
                installed = offered
            } else {
                try connection.execute("SAVEPOINT extension")
                do throws(StoreError) {
                    try connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
                    installed = offered
                    license = try connection.execute("SELECT current_setting('timescaledb.license', true)").string(0, 0)
                } catch {
                    guard connection.isUsable else { throw error }
                    try connection.execute("ROLLBACK TO SAVEPOINT extension")
                    notices.append(
                        "TimescaleDB \(offered) is offered but could not be created: \(error.message); partitions are used"
                    )
                }
            }
        }
        guard let installed else { return .plain }
        let parts = installed.split(separator: ".").map { Int($0.prefix { $0.isNumber }) ?? 0 }
        let (major, minor) = (parts.first ?? 0, parts.dropFirst().first ?? 0)
        if (major, minor) < (oldestTimescale.major, oldestTimescale.minor) {
            notices.append("TimescaleDB \(installed) is too old (2.9 is needed): partitions are used instead")
            return .plain
        }
        return license == "apache" ? .timescaleApache(version: installed) : .timescaleCommunity(version: installed)
    }
}
