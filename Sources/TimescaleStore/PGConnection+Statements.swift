internal import CLibPQ
internal import Glibc

extension PGConnection {
    /// Runs one or several statements without parameters; returns the last result, as text.
    ///
    /// Several statements in one call are one round trip. Never build `sql` from anything but constants, numbers and
    /// ``quoteLiteral(_:)``.
    @discardableResult
    package func execute(_ sql: String) throws(StoreError) -> PGResult {
        let results = try executeAll(sql)
        guard let last = results.last else { throw StoreError(.protocolViolation, "a statement without a result") }
        return last
    }

    /// As ``execute(_:)``, with the result of each statement.
    package func executeAll(_ sql: String) throws(StoreError) -> [PGResult] {
        try withHandle { handle throws(StoreError) in
            guard PQsendQuery(handle, sql) == 1 else { throw brokenError() }
        }
        return try collectResults()
    }

    /// Runs one statement with parameters. `binary` asks for binary cells.
    @discardableResult
    package func query(_ sql: String, _ parameters: [PGParameter], binary: Bool = false) throws(StoreError) -> PGResult
    {
        try send(sql, parameters, binary: binary)
        let results = try collectResults()
        guard let last = results.last else { throw StoreError(.protocolViolation, "a statement without a result") }
        return last
    }

    private func send(_ sql: String, _ parameters: [PGParameter], binary: Bool) throws(StoreError) {
        let encoded = parameters.map { $0.encode() }
        let types = parameters.map { Oid($0.typeID) }
        // Text travels in binary form too: the bytes are the same, and a NUL inside is the server's to refuse.
        let formats = [Int32](repeating: 1, count: parameters.count)
        let lengths = encoded.map { Int32(truncatingIfNeeded: $0?.count ?? 0) }
        // One buffer for all values keeps the pointers valid for the call without nesting closures.
        let arena = UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(1, encoded.reduce(0) { $0 + ($1?.count ?? 0) }),
            alignment: 8
        )
        defer { arena.deallocate() }
        var offset = 0
        var pointers: [UnsafePointer<CChar>?] = []
        for value in encoded {
            guard let value else {
                pointers.append(nil)
                continue
            }
            let place = UnsafeMutableRawBufferPointer(rebasing: arena[offset..<offset + value.count])
            place.copyBytes(from: value)
            let start = (arena.baseAddress ?? UnsafeMutableRawPointer(bitPattern: 8)).map { $0 + offset }
            pointers.append(start.map { UnsafePointer($0.assumingMemoryBound(to: CChar.self)) })
            offset += value.count
        }
        try withHandle { handle throws(StoreError) in
            let sent = PQsendQueryParams(
                handle,
                sql,
                Int32(parameters.count),
                types,
                pointers,
                lengths,
                formats,
                binary ? 1 : 0
            )
            guard sent == 1 else { throw brokenError() }
        }
    }

    /// Waits for every result of what was sent. The first error is thrown after all results are in, so that the
    /// connection stays usable.
    func collectResults() throws(StoreError) -> [PGResult] {
        try flush()
        var results: [PGResult] = []
        var failure: StoreError?
        while let result = try nextResult() {
            switch result.status {
            case PGRES_FATAL_ERROR, PGRES_BAD_RESPONSE:
                if failure == nil { failure = error(of: result) }
            case PGRES_COPY_IN:
                if let failure { throw failure }
                results.append(result)
                return results
            case PGRES_COPY_OUT, PGRES_COPY_BOTH:
                close()
                throw StoreError(.protocolViolation, "COPY in a direction nobody asked for")
            default:
                results.append(result)
            }
        }
        if let failure { throw failure }
        return results
    }

    /// The next result, or nil when the server has said everything.
    private func nextResult() throws(StoreError) -> PGResult? {
        try withHandle { handle throws(StoreError) in
            while PQisBusy(handle) == 1 {
                try wait(Int16(POLLIN))
                guard self.isOpen, PQconsumeInput(handle) == 1 else { throw brokenError() }
            }
            return PQgetResult(handle).map { PGResult(owning: $0) }
        }
    }

    private var isOpen: Bool { socket >= 0 }

    /// Sends everything libpq holds back. Reads while it waits, because the server may have to speak before it listens.
    func flush() throws(StoreError) {
        try withHandle { handle throws(StoreError) in
            while true {
                switch PQflush(handle) {
                case 0: return
                case 1:
                    try wait(Int16(POLLIN | POLLOUT))
                    guard self.isOpen, PQconsumeInput(handle) == 1 else { throw brokenError() }
                default: throw brokenError()
                }
            }
        }
    }

    // MARK: Transactions

    /// Runs `body` between BEGIN and COMMIT; any error rolls back.
    ///
    /// - Parameters:
    ///   - readOnly: adds READ ONLY, and refuses nothing the body should not do by itself.
    ///   - statementTimeout: bounds each statement inside on the server (`SET LOCAL statement_timeout`).
    package func transaction<R>(
        readOnly: Bool = false,
        statementTimeout: Duration? = nil,
        _ body: (PGConnection) throws -> R
    ) throws(StoreError) -> R {
        var begin = readOnly ? "BEGIN READ ONLY" : "BEGIN"
        if let statementTimeout {
            begin += "; SET LOCAL statement_timeout = \(max(1, statementTimeout.wholeMilliseconds))"
        }
        try execute(begin)
        let value: R
        do {
            value = try body(self)
        } catch {
            rollback()
            throw StoreError.wrapping(error)
        }
        try commit()
        return value
    }

    /// COMMIT. A connection that breaks on the way is ``StoreError/Code/outcomeUnknown``.
    func commit() throws(StoreError) {
        let result: PGResult
        do throws(StoreError) {
            result = try execute("COMMIT")
        } catch {
            throw isUsable ? error : error.withUnknownOutcome()
        }
        guard result.commandTag == "COMMIT" else {
            throw StoreError(.protocolViolation, "the server answered COMMIT with \(result.commandTag)")
        }
    }

    /// ROLLBACK as far as the connection allows; one that cannot is closed.
    func rollback() {
        guard isUsable else { return }
        do {
            try execute("ROLLBACK")
        } catch {
            close()
        }
    }

    // MARK: Quoting

    /// `text` as a string constant, safe with any `standard_conforming_strings`.
    package static func quoteLiteral(_ text: String) -> String {
        let quoted = "'" + text.flatMap { $0 == "'" ? "''" : ($0 == "\\" ? "\\\\" : String($0)) } + "'"
        return text.contains("\\") ? " E" + quoted : quoted
    }

    /// `text` as an identifier.
    package static func quoteIdentifier(_ text: String) -> String {
        "\"" + text.flatMap { $0 == "\"" ? "\"\"" : String($0) } + "\""
    }
}

extension Duration {
    var wholeMilliseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1000 + attoseconds / 1_000_000_000_000_000
    }
}

extension StoreError {
    /// A ``StoreError`` as it is; anything else as ``Code/source`` with its cause.
    static func wrapping(_ error: any Error) -> StoreError {
        if let error = error as? StoreError { return error }
        if error is CancellationError { return StoreError(.cancelled, "cancelled") }
        return StoreError(.source, "the caller's closure failed", cause: error)
    }

    func withUnknownOutcome() -> StoreError {
        StoreError(
            .outcomeUnknown,
            "the connection broke while COMMIT was under way: \(message)",
            sqlState: sqlState,
            detail: detail
        )
    }
}
