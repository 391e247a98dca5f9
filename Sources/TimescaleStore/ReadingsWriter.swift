package import FoundationEssentials

/// Stores COPY rows and moves the journal's checkpoint, both in one transaction: exactly once.
///
/// The contract with the journal: positions are its logical offsets and only grow. A flush takes the rows from `expected`
/// (where the checkpoint stands) to `position`. After ``StoreError/Code/outcomeUnknown``, or any other error, repeat the
/// same flush: when the first one did commit, the repetition finds the checkpoint moved and stores nothing.
package struct ReadingsWriter: Sendable {
    /// Delivers whole COPY rows to its sink, in any number of calls; called on the database thread, at most once a flush.
    package typealias RowSource =
        @Sendable (_ sink: (UnsafeRawBufferPointer) throws -> Void) throws -> Void

    package struct Options: Sendable {
        /// Straight to TimescaleDB's columnstore. Ignored where the server has no such thing; see ``Stored/directCompress``.
        /// Pays for batches with many rows (hundreds) per tag; they are sorted by well, tag and timestamp first, in runs of
        /// bounded memory.
        package var directCompress = false
        /// Bring the rows into the order (well, tag, timestamp) first, in runs of some 100,000, so that the server finds the
        /// places of the index side by side. With a hundred rows of each well in a run it takes a third to a half less time
        /// for them, with forty no less; the daemon takes about twice as much.
        package var sorted = false
        /// Rows in the batch, when known: what the server may sort at once for direct compress.
        package var rowCountHint = 500_000
        /// Whether other replicas store readings of the same tags.
        package var sharing = Sharing.alone
        /// The flush's place among flushes made at the same time; nil for one made alone.
        package var turn: FlushTurn?
        /// Asked once, when a connection is there: where the flush ends instead, at or behind its `position`. Where a thousand databases
        /// share twenty connections the wait for one is long, and what has come meanwhile need not wait for the next. Not asked for a
        /// flush that follows another one. Called on the database thread.
        package var lateEnd: (@Sendable () -> Int64)?
        /// Waiting for a connection, connecting and storing together.
        package var timeout: Duration = .seconds(120)

        package init() {}
    }

    /// How a flush ended.
    package enum Outcome: Sendable, Equatable {
        case stored(Stored)
        /// The checkpoint already stands at or beyond the flush: an earlier attempt did commit. Nothing was stored.
        case alreadyStored(position: Int64)
        /// The checkpoint is not where the caller believes: before it (a database restored from a backup) or in the midst
        /// of the flush. nil: there is none (a new database). Nothing was stored; see ``setCheckpoint(in:journalID:to:timeout:)``.
        case checkpointDiffers(found: Int64?)
        /// The flush before it, see ``Options/turn``, was not stored or had to be let pass; nor was this one.
        case outOfTurn
    }

    package struct Stored: Sendable, Equatable {
        package var rows: Int64
        /// Rows put in `scada_rejected_readings` instead; only ``storeIsolating`` has any.
        package var rejectedCount: Int64 = 0
        /// The first 100 of them.
        package var rejected: [Rejection] = []
        /// Whether the direct-compress setting was in force.
        package var directCompress = false
    }

    /// A row the database refused.
    package struct Rejection: Sendable, Equatable {
        package var wellID: UUID?
        package var tagNodeID: String
        /// SQLSTATE and the server's words.
        package var reason: String
    }

    let pool: ConnectionPool
    private let capabilities: CapabilityCache

    package init(pool: ConnectionPool) {
        self.pool = pool
        capabilities = CapabilityCache()
    }

    // MARK: Checkpoints

    /// Where the journal's checkpoint stands, created at `start` when there is none. Call once before a journal's first
    /// flush to a database.
    ///
    /// Waits for a transaction of the same journal that is still under way (the remains of a broken connection), so the
    /// answer is final.
    package func prepareCheckpoint(
        in url: DatabaseURL,
        journalID: UUID,
        startingAt start: Int64,
        timeout: Duration = .seconds(30)
    ) async throws(StoreError) -> Int64 {
        try await pool.withConnection(to: url, for: .writer, timeout: timeout) { connection in
            try connection.query(
                #"INSERT INTO ingest_checkpoints (journal_id, "position") VALUES ($1, $2) ON CONFLICT DO NOTHING"#,
                [.uuid(journalID), .int(start)]
            )
            return try connection.transaction { (connection) throws(StoreError) in
                guard let position = try Self.lockCheckpoint(journalID, connection, setup: Self.bounds) else {
                    throw StoreError(.protocolViolation, "the checkpoint of journal \(journalID) vanished")
                }
                return position
            }
        }
    }

    /// Where the checkpoint stands, or nil. Waits like ``prepareCheckpoint(in:journalID:startingAt:timeout:)``.
    package func readCheckpoint(
        in url: DatabaseURL,
        journalID: UUID,
        timeout: Duration = .seconds(30)
    ) async throws(StoreError) -> Int64? {
        try await pool.withConnection(to: url, for: .writer, timeout: timeout) { connection in
            try connection.transaction { (connection) throws(StoreError) in
                try Self.lockCheckpoint(journalID, connection, setup: Self.bounds)
            }
        }
    }

    /// Puts the checkpoint where the caller says: after a database was restored or replaced, and the hole was recorded.
    package func setCheckpoint(
        in url: DatabaseURL,
        journalID: UUID,
        to position: Int64,
        timeout: Duration = .seconds(30)
    ) async throws(StoreError) {
        try await pool.withConnection(to: url, for: .writer, timeout: timeout) { connection in
            try connection.query(
                """
                INSERT INTO ingest_checkpoints (journal_id, "position") VALUES ($1, $2)
                ON CONFLICT (journal_id) DO UPDATE SET "position" = EXCLUDED."position", updated_at = now()
                """,
                [.uuid(journalID), .int(position)]
            )
            return
        }
    }

    // MARK: Flushing

    /// One flush: BEGIN, lock and check the checkpoint, COPY, move the checkpoint, COMMIT.
    ///
    /// A flush that follows another one (``Options/turn``) sends its rows beside it, on a connection that is free at once, and
    /// locks the checkpoint when the one before is over. It is never checked nor direct-compressed.
    ///
    /// - Throws: `data` when a row cannot be stored (nothing was: use ``storeIsolating``), `outcomeUnknown` when the
    ///   connection broke during COMMIT, `fenced` when only a checked flush may be made now, `schema` when tables are missing, `contention` when the checkpoint is held by
    ///   another transaction for longer than 15 s, and everything ``ConnectionPool/withConnection(to:for:timeout:_:)`` throws.
    package func store(
        in url: DatabaseURL,
        journalID: UUID,
        from expected: Int64,
        to position: Int64,
        options: Options = Options(),
        rows: @escaping RowSource
    ) async throws(StoreError) -> Outcome {
        let flush = Flush(
            url: url,
            journalID: journalID,
            expected: expected,
            position: position,
            options: options,
            rows: rows
        )
        let turn = options.turn
        var isStored = false
        defer { turn?.end(isStored: isStored) }
        let outcome: Outcome
        if let previous = turn?.previous {
            outcome = try await follow(previous, with: flush)
        } else {
            outcome = try await lead(flush)
        }
        switch outcome {
        case .stored, .alreadyStored: isStored = true
        case .checkpointDiffers, .outOfTurn: break
        }
        return outcome
    }

    /// What ``store(in:journalID:from:to:options:rows:)`` is asked for.
    struct Flush: Sendable {
        var url: DatabaseURL
        var journalID: UUID
        var expected: Int64
        var position: Int64
        var options: Options
        var rows: RowSource
    }

    private func lead(_ flush: Flush) async throws(StoreError) -> Outcome {
        let capabilities = capabilities
        let (options, rows) = (flush.options, flush.rows)
        return try await pool.withConnection(to: flush.url, for: .writer, timeout: options.timeout) { connection in
            let position = options.lateEnd?() ?? flush.position
            var compress = ""
            if options.directCompress, !options.sharing.isChecked {
                compress = try capabilities.of(connection).directCompressSettings(rowCount: options.rowCountHint)
            }
            return try Self.flush(flush.journalID, flush.expected, position, connection, setup: compress) {
                (connection) throws(StoreError) in
                try Self.enter(options.sharing, connection)
                if let turn = options.turn { turn.begin(backend: try Self.backend(connection)) }
                if case .checked = options.sharing {
                    try Self.prepareIncoming(connection)
                    _ = try connection.copyIn(PGConnection.incomingCopy, rows)
                    return Stored(rows: try Self.storeIncoming(connection))
                }
                let isDirect = !compress.isEmpty
                let purpose: RowSorter.Purpose? = isDirect ? .columnstore : options.sorted ? .index : nil
                let stored = try connection.copyIn(PGConnection.readingsCopy, sortedFor: purpose, rows)
                return Stored(rows: stored, directCompress: isDirect)
            }
        }
    }

    /// The frame around whatever stores the rows.
    static func flush(
        _ journalID: UUID,
        _ expected: Int64,
        _ position: Int64,
        _ connection: PGConnection,
        setup: String,
        _ body: (PGConnection) throws(StoreError) -> Stored
    ) throws(StoreError) -> Outcome {
        guard position >= expected else {
            throw StoreError(.invalidArgument, "a flush from \(expected) back to \(position)")
        }
        do throws(StoreError) {
            let found = try beginAndLock(journalID, connection, setup: setup)
            if found != expected {
                connection.rollback()
                if let found, found >= position { return .alreadyStored(position: found) }
                return .checkpointDiffers(found: found)
            }
            let stored = try body(connection)
            try moveAndCommit(journalID, expected, position, connection)
            return .stored(stored)
        } catch {
            connection.rollback()
            throw error
        }
    }

    static func moveAndCommit(
        _ journalID: UUID,
        _ expected: Int64,
        _ position: Int64,
        _ connection: PGConnection
    ) throws(StoreError) {
        let moved: [PGResult]
        do throws(StoreError) {
            // One message: when the UPDATE fails the server skips the COMMIT.
            moved = try connection.executeAll(
                """
                UPDATE ingest_checkpoints SET "position" = \(position), updated_at = now() \
                WHERE journal_id = '\(journalID.uuidString)' AND "position" = \(expected); COMMIT
                """
            )
        } catch {
            throw connection.isUsable ? error : error.withUnknownOutcome()
        }
        guard moved.last?.commandTag == "COMMIT", moved.first?.affectedRows == 1 else {
            throw StoreError(.protocolViolation, "the checkpoint row of journal \(journalID) did not move")
        }
    }

    private static func beginAndLock(
        _ journalID: UUID,
        _ connection: PGConnection,
        setup: String
    ) throws(StoreError) -> Int64? {
        try connection.execute("BEGIN")
        return try lockCheckpoint(journalID, connection, setup: bounds + setup)
    }

    /// The TCP settings let the server notice a vanished client in half a minute, instead of two hours, and let go of its locks.
    static var bounds: String {
        """
        SET LOCAL lock_timeout = '15s'; SET LOCAL tcp_keepalives_idle = 10; SET LOCAL tcp_keepalives_interval = 5; \
        SET LOCAL tcp_keepalives_count = 3;
        """
    }

    /// The row lock makes a repetition wait until the transaction it repeats has ended one way or the other.
    static func lockCheckpoint(
        _ journalID: UUID,
        _ connection: PGConnection,
        setup: String
    ) throws(StoreError) -> Int64? {
        let result = try connection.execute(
            """
            \(setup)SELECT "position" FROM ingest_checkpoints WHERE journal_id = '\(journalID.uuidString)' FOR UPDATE
            """
        )
        return result.rowCount == 1 ? result.int(0, 0) : nil
    }
}
