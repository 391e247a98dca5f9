package import FoundationEssentials

extension ReadingsWriter {
    /// Bytes COPYed under one savepoint; bounds the memory of an isolating flush.
    private static var isolationChunk: Int { 1 << 20 }
    /// Details of rejections kept for the caller; the table has them all.
    private static var rejectionDetailBound: Int { 100 }

    /// A flush that failed with `data`, again: all rows the database can hold are stored, each other one becomes a row of
    /// `scada_rejected_readings`, and the checkpoint moves once, all in one transaction.
    ///
    /// - Parameter connectionID: which connection a tag belongs to, for the rejected rows.
    /// - Returns: as ``store(in:journalID:from:to:options:rows:)``, with the rejections.
    package func storeIsolating(
        in url: DatabaseURL,
        journalID: UUID,
        from expected: Int64,
        to position: Int64,
        options: Options = Options(),
        connectionID: @escaping @Sendable (_ wellID: UUID?, _ tagNodeID: String) -> UUID? = { _, _ in nil },
        rows: @escaping RowSource
    ) async throws(StoreError) -> Outcome {
        try await pool.withConnection(to: url, for: .writer, timeout: options.timeout) { connection in
            try Self.flush(journalID, expected, position, connection, setup: "") { (connection) throws(StoreError) in
                try Self.enter(options.sharing, connection)
                let isChecked = options.sharing.isChecked
                if isChecked { try Self.prepareIncoming(connection) }
                var isolation = Isolation(
                    connection: connection,
                    copy: isChecked ? PGConnection.incomingCopy : PGConnection.readingsCopy,
                    connectionID: connectionID
                )
                try isolation.store(rows)
                if isChecked { isolation.stored.rows = try Self.storeIncoming(connection) }
                return isolation.stored
            }
        }
    }

    /// The rows of one isolating flush.
    ///
    /// A COPY that fails names the row in its context ("COPY scada_readings, line 17"): the rows before it are copied
    /// again, the row is tried alone, and the rest follows. Where the context does not say, halves do.
    private struct Isolation {
        let connection: PGConnection
        let copy: String
        let connectionID: (UUID?, String) -> UUID?
        var stored = Stored(rows: 0)

        init(connection: PGConnection, copy: String, connectionID: @escaping (UUID?, String) -> UUID?) {
            self.connection = connection
            self.copy = copy
            self.connectionID = connectionID
        }

        mutating func store(_ rows: RowSource) throws(StoreError) {
            // `self` cannot be captured inout by an escaping closure, and this one does not escape.
            var pending: [UInt8] = []
            var this = self
            do {
                try rows { bytes in
                    pending.append(contentsOf: bytes)
                    if pending.count >= ReadingsWriter.isolationChunk { try this.storeWholeRows(&pending) }
                }
                try this.storeWholeRows(&pending)
            } catch {
                throw StoreError.wrapping(error)
            }
            guard pending.isEmpty else {
                throw StoreError(.protocolViolation, "the batch ends within a row")
            }
            self = this
        }

        /// Stores the whole rows at the front of `pending` and leaves the rest in it.
        private mutating func storeWholeRows(_ pending: inout [UInt8]) throws(StoreError) {
            var offsets: [Int] = [0]
            do {
                try pending.withUnsafeBytes { all in
                    var start = 0
                    while let length = try CopyRow.length(prefixOf: UnsafeRawBufferPointer(rebasing: all[start...])) {
                        start += length
                        offsets.append(start)
                    }
                    try store(all, offsets[...])
                }
            } catch {
                throw StoreError.wrapping(error)
            }
            pending.removeFirst(offsets.last ?? 0)
        }

        /// Stores the rows between the offsets; each row lies between two neighbours.
        private mutating func store(_ all: UnsafeRawBufferPointer, _ offsets: ArraySlice<Int>) throws(StoreError) {
            var offsets = offsets
            while offsets.count > 1 {
                guard let failure = try attempt(all, offsets) else { return }
                if offsets.count == 2, let start = offsets.first, let end = offsets.last {
                    return try reject(UnsafeRawBufferPointer(rebasing: all[start..<end]), failure)
                }
                let count = offsets.count - 1
                let named = Self.line(in: failure.detail).flatMap { (1...count).contains($0) ? $0 - 1 : nil }
                if let named {
                    let row = offsets.startIndex + named
                    try store(all, offsets[offsets.startIndex...row])
                    try store(all, offsets[row...(row + 1)])
                    offsets = offsets[(row + 1)...]
                } else {
                    let middle = offsets.startIndex + count / 2
                    try store(all, offsets[offsets.startIndex...middle])
                    offsets = offsets[middle...]
                }
            }
        }

        /// Copies under a savepoint. Returns the error when a row is to blame, throws every other.
        private mutating func attempt(
            _ all: UnsafeRawBufferPointer,
            _ offsets: ArraySlice<Int>
        ) throws(StoreError) -> StoreError? {
            guard let first = offsets.first, let last = offsets.last else { return nil }
            try connection.execute("SAVEPOINT rows")
            do throws(StoreError) {
                stored.rows += try connection.copyIn(copy) { sink in
                    try sink(UnsafeRawBufferPointer(rebasing: all[first..<last]))
                }
            } catch {
                guard error.code == .data, connection.isUsable else { throw error }
                try connection.execute("ROLLBACK TO SAVEPOINT rows; RELEASE SAVEPOINT rows")
                return error
            }
            try connection.execute("RELEASE SAVEPOINT rows")
            return nil
        }

        private mutating func reject(_ bytes: UnsafeRawBufferPointer, _ failure: StoreError) throws(StoreError) {
            let row = try CopyRow(prefixOf: bytes)
            let wellID = row?.wellID
            let tag = row?.tagNodeID ?? ""
            let reason = "\(failure.sqlState ?? "?"): \(failure.message)"
            try connection.query(
                """
                INSERT INTO scada_rejected_readings (received_at, connection_id, well_id, tag_node_id, reason, raw)
                VALUES (now(), $1, $2, $3, $4, $5)
                """,
                [
                    connectionID(wellID, tag).map { .uuid($0) } ?? .null, wellID.map { .uuid($0) } ?? .null,
                    .text(tag), .text(reason), .bytes(Array(bytes)),
                ]
            )
            stored.rejectedCount += 1
            if stored.rejected.count < ReadingsWriter.rejectionDetailBound {
                stored.rejected.append(Rejection(wellID: wellID, tagNodeID: tag, reason: reason))
            }
        }

        /// The number after ", line " in a COPY error's context.
        static func line(in context: String?) -> Int? {
            guard let context else { return nil }
            let marker = Array(", line ".utf8)
            let text = Array(context.utf8)
            guard text.count > marker.count else { return nil }
            for start in 0..<(text.count - marker.count) where text[start..<start + marker.count].elementsEqual(marker)
            {
                let digits = text[(start + marker.count)...].prefix { (0x30...0x39).contains($0) }
                return Int(String(decoding: digits, as: UTF8.self))
            }
            return nil
        }
    }
}
