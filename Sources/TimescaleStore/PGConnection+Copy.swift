internal import CLibPQ
internal import Glibc

extension PGConnection {
    /// Bytes handed to libpq at once: its buffer is flushed after each, so it never holds much more than this.
    private static var copySlice: Int { 256 * 1024 }
    /// Signature, flags and extension length of binary COPY (PostgreSQL documentation, COPY, "Binary Format").
    private static var copyHeader: [UInt8] {
        [0x50, 0x47, 0x43, 0x4F, 0x50, 0x59, 0x0A, 0xFF, 0x0D, 0x0A, 0x00, 0, 0, 0, 0, 0, 0, 0, 0]
    }

    /// The COPY every reading goes through; the rows' layout is the contract between encoder, journal and store.
    static var readingsCopy: String { copy(to: "scada_readings") }

    /// The same rows, to be compared with what is stored before they are.
    static var incomingCopy: String { copy(to: "pg_temp.scada_incoming") }

    private static func copy(to table: String) -> String {
        """
        COPY \(table) (well_id, tag_node_id, "timestamp", value, quality, status_code, value_text) \
        FROM STDIN (FORMAT binary)
        """
    }

    /// Streams binary COPY rows. `rows` calls its sink with whole or partial rows, any number of times; the bytes are
    /// copied into libpq's buffer before the sink returns. Header and trailer are added here.
    ///
    /// An error of `rows` ends the COPY so that nothing of it is stored, and leaves the connection usable.
    /// - Parameter purpose: bring the rows into order first, see ``RowSorter``; nil leaves them.
    /// - Returns: the number of rows the server took.
    package func copyIn(
        _ sql: String,
        sortedFor purpose: RowSorter.Purpose? = nil,
        _ rows: (_ sink: (UnsafeRawBufferPointer) throws -> Void) throws -> Void
    ) throws(StoreError) -> Int64 {
        try withHandle { handle throws(StoreError) in
            guard PQsendQuery(handle, sql) == 1 else { throw brokenError() }
        }
        guard try collectResults().last?.status == PGRES_COPY_IN else {
            throw StoreError(.protocolViolation, "the statement is not COPY FROM STDIN")
        }
        do {
            try Self.copyHeader.withUnsafeBytes { try put($0) }
            if let purpose {
                var sorter = RowSorter(for: purpose)
                try rows { try sorter.add($0) { try put($0) } }
                try sorter.finish { try put($0) }
            } else {
                try rows { try put($0) }
            }
            let trailer: [UInt8] = [0xFF, 0xFF]
            try trailer.withUnsafeBytes { try put($0) }
        } catch {
            endCopy(abandoned: true)
            throw StoreError.wrapping(error)
        }
        try withHandle { handle throws(StoreError) in
            while true {
                switch PQputCopyEnd(handle, nil) {
                case 1: return
                case 0: try wait(Int16(POLLIN | POLLOUT))
                default: throw brokenError()
                }
            }
        }
        guard let result = try collectResults().last else {
            throw StoreError(.protocolViolation, "COPY ended without a result")
        }
        return result.affectedRows
    }

    private func put(_ bytes: UnsafeRawBufferPointer) throws(StoreError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let slice = UnsafeRawBufferPointer(rebasing: rest.prefix(Self.copySlice))
            try withHandle { handle throws(StoreError) in
                let start = slice.baseAddress?.assumingMemoryBound(to: CChar.self)
                while true {
                    switch PQputCopyData(handle, start, Int32(slice.count)) {
                    case 1: return
                    case 0: try wait(Int16(POLLIN | POLLOUT))
                    default: throw brokenError()
                    }
                }
            }
            try flush()
            rest = rest.dropFirst(slice.count)
        }
    }

    private func endCopy(abandoned: Bool) {
        guard isUsable else { return }
        do throws(StoreError) {
            try withHandle { handle throws(StoreError) in
                guard PQputCopyEnd(handle, "abandoned by the client") == 1 else { throw brokenError() }
            }
            _ = try collectResults()
        } catch {
            // The expected answer is the server's own "COPY from stdin failed"; a broken connection is seen by isUsable.
        }
    }
}
