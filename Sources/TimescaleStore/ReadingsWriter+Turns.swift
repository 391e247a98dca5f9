import FoundationEssentials

extension ReadingsWriter {
    /// How often a flush that waits for its turn looks whether it is in the way of those before it.
    private static var lookout: Duration { .milliseconds(100) }

    /// Thrown through the COPY of a flush whose turn will not come.
    private struct OutOfTurn: Error {}

    /// A flush beside those before it: COPY at once, then wait for the turn, lock and check the checkpoint, move it, COMMIT.
    func follow(
        _ previous: FlushTurn,
        with flush: Flush
    ) async throws(StoreError) -> Outcome {
        let (expected, position, options, rows) = (flush.expected, flush.position, flush.options, flush.rows)
        guard position >= expected, !options.sharing.isChecked else {
            throw StoreError(.invalidArgument, "a flush that cannot be made beside another one")
        }
        await previous.begun()
        if previous.hasFailed { return .outOfTurn }
        return try await pool.withConnection(to: flush.url, for: .parallelWriter, timeout: options.timeout) {
            (connection) throws(StoreError) -> Outcome in
            do throws(StoreError) {
                try connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED; \(Self.bounds)")
                try Self.enter(options.sharing, connection)
                options.turn?.begin(backend: try Self.backend(connection))
                let purpose: RowSorter.Purpose? = options.sorted ? .index : nil
                let stored = try connection.copyIn(PGConnection.readingsCopy, sortedFor: purpose) { sink in
                    try rows { bytes in
                        if previous.hasFailed { throw OutOfTurn() }
                        try sink(bytes)
                    }
                }
                guard try Self.wait(for: previous, connection) else {
                    connection.rollback()
                    return .outOfTurn
                }
                let found = try Self.lockCheckpoint(flush.journalID, connection, setup: "")
                guard found == expected else {
                    connection.rollback()
                    if let found, found >= position { return .alreadyStored(position: found) }
                    return .outOfTurn
                }
                try Self.moveAndCommit(flush.journalID, expected, position, connection)
                return .stored(Stored(rows: stored))
            } catch {
                connection.rollback()
                if error.cause is OutOfTurn { return .outOfTurn }
                throw error
            }
        }
    }

    /// Waits until the flush before is over.
    ///
    /// It may wait for a lock that this flush has, a new chunk's for instance: it came first there, and the server cannot
    /// know that it waits for the other one. Then this flush makes way.
    /// - Returns: false when this flush has to give up.
    static func wait(for previous: FlushTurn, _ connection: PGConnection) throws(StoreError) -> Bool {
        connection.follow(previous)
        defer { connection.unfollow(previous) }
        while !previous.isOver {
            let limit = ContinuousClock.now + lookout
            while !previous.isOver, ContinuousClock.now < limit { try connection.pause(until: limit) }
            if !previous.isOver, try isInTheWay(of: previous.backends, connection) { return false }
        }
        return !previous.hasFailed
    }

    /// Whether one of the processes waits for this connection's, be it by way of others.
    private static func isInTheWay(of backends: [Int64], _ connection: PGConnection) throws(StoreError) -> Bool {
        guard !backends.isEmpty else { return false }
        let pids = backends.map(String.init).joined(separator: ",")
        return try connection.execute(
            """
            WITH RECURSIVE waiting (pid) AS (
                SELECT unnest('{\(pids)}'::int[])
                UNION SELECT unnest(pg_blocking_pids(pid)) FROM waiting
            )
            SELECT pg_backend_pid() IN (SELECT pid FROM waiting)
            """
        ).bool(0, 0) == true
    }

    /// The server's process, asked for rather than taken from the start of the connection: PgBouncer says a number of its own there.
    static func backend(_ connection: PGConnection) throws(StoreError) -> Int64 {
        try connection.execute("SELECT pg_backend_pid()").int(0, 0) ?? 0
    }
}
