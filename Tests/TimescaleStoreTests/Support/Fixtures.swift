import FoundationEssentials

@testable import TimescaleStore

/// Finished COPY rows, as the encoder of the hot path makes them.
struct RowMaker {
    var bytes: [UInt8] = []
    var count = 0

    mutating func add(
        well: UUID,
        tag: [UInt8],
        micros: Int64,
        value: Double? = nil,
        quality: String = "Good",
        status: Int64? = nil,
        text: [UInt8]? = nil
    ) {
        func column(_ content: [UInt8]?) {
            bytes += Int32(content?.count ?? -1).bigEndianBytes
            bytes += content ?? []
        }
        bytes += Int16(7).bigEndianBytes
        column(well.bytes)
        column(tag)
        column((micros &- postgresEpochMicroseconds).bigEndianBytes)
        column(value?.bitPattern.bigEndianBytes)
        column(Array(quality.utf8))
        column(status?.bigEndianBytes)
        column(text)
        count += 1
    }

    mutating func add(well: UUID, tag: String, micros: Int64, value: Double, quality: String = "Good") {
        add(well: well, tag: Array(tag.utf8), micros: micros, value: value, quality: quality)
    }

    /// A source that hands the rows out in slices that do not end at rows.
    func source(slice: Int = 60_000) -> ReadingsWriter.RowSource {
        let bytes = bytes
        return { sink in
            try bytes.withUnsafeBytes { all in
                var start = 0
                while start < all.count {
                    let end = min(all.count, start + slice)
                    try sink(UnsafeRawBufferPointer(rebasing: all[start..<end]))
                    start = end
                }
            }
        }
    }
}

/// A well of which the tests know the id: `n` in the last bytes.
func well(_ n: UInt8) -> UUID {
    UUID(uuid: (0x5C, 0xAD, 0xA0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, n))
}

/// 2026-03-01 00:00 UTC, microseconds since 1970.
let march: Int64 = 1_772_323_200_000_000
let hour: Int64 = 3_600_000_000
let day: Int64 = 24 * hour

/// A pool and a migrated tenant database on a private server.
struct TestTenant {
    let server: PrivatePostgres
    let url: DatabaseURL
    let pool: ConnectionPool
    let report: MigrationReport

    init(_ flavour: PrivatePostgres.Flavour, connections: Int = 4) async throws {
        server = try PrivatePostgres.shared(flavour)
        url = try server.makeDatabase()
        var limits = ConnectionPool.Limits(maxConnections: connections)
        // However slow the machine: a connection that is gone was lost, not idle for too long.
        limits.idleTimeout = .seconds(3600)
        pool = try ConnectionPool(limits: limits)
        report = try await Migrator().migrateTenant(url, pool: pool)
    }

    var writer: ReadingsWriter { ReadingsWriter(pool: pool) }
    var reader: ReadingsReader { ReadingsReader(pool: pool) }

    /// Stores rows as one flush of a journal of its own.
    @discardableResult
    func store(_ rows: RowMaker, directCompress: Bool = false) async throws -> ReadingsWriter.Outcome {
        let journal = UUID()
        _ = try await writer.prepareCheckpoint(in: url, journalID: journal, startingAt: 0)
        var options = ReadingsWriter.Options()
        options.directCompress = directCompress
        options.rowCountHint = rows.count
        return try await writer.store(
            in: url,
            journalID: journal,
            from: 0,
            to: Int64(rows.bytes.count),
            options: options,
            rows: rows.source()
        )
    }

    /// One text value out of the database.
    func ask(_ sql: String) async throws -> String? {
        try await pool.withConnection(to: url, for: .admin) { connection in
            let rows = try connection.execute(sql)
            return rows.rowCount > 0 ? rows.string(0, 0) : nil
        }
    }

    /// A whole column out of the database.
    func column(_ sql: String) async throws -> [String] {
        try await pool.withConnection(to: url, for: .admin) { connection in
            let rows = try connection.execute(sql)
            return (0..<rows.rowCount).map { rows.string($0, 0) ?? "NULL" }
        }
    }
}
