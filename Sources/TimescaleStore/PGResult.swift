internal import CLibPQ
internal import FoundationEssentials

/// The rows of one statement. Owns the libpq result; byte views handed to a closure end with the closure.
package final class PGResult {
    private let handle: OpaquePointer

    /// Takes ownership.
    init(owning handle: OpaquePointer) { self.handle = handle }

    deinit { PQclear(handle) }

    var status: ExecStatusType { PQresultStatus(handle) }
    package var rowCount: Int { Int(PQntuples(handle)) }
    package var columnCount: Int { Int(PQnfields(handle)) }
    /// The command tag, for example `COPY 10000`.
    package var commandTag: String { PQcmdStatus(handle).map { String(cString: $0) } ?? "" }
    /// Rows the command stored, changed or deleted; 0 for those that count none.
    package var affectedRows: Int64 { PQcmdTuples(handle).flatMap { Int64(String(cString: $0)) } ?? 0 }

    package func isNull(_ row: Int, _ column: Int) -> Bool {
        check(row, column)
        return PQgetisnull(handle, Int32(row), Int32(column)) == 1
    }

    /// The bytes of a cell as the server sent them; nil for NULL. Valid until `self` is gone.
    func bytes(_ row: Int, _ column: Int) -> UnsafeRawBufferPointer? {
        if isNull(row, column) { return nil }
        let length = PQgetlength(handle, Int32(row), Int32(column))
        return UnsafeRawBufferPointer(start: PQgetvalue(handle, Int32(row), Int32(column)), count: Int(length))
    }

    /// A cell as text. Invalid UTF-8 is repaired, never a trap.
    package func string(_ row: Int, _ column: Int) -> String? {
        bytes(row, column).map { String(decoding: $0, as: UTF8.self) }
    }

    /// A cell of a text result as a whole number.
    package func int(_ row: Int, _ column: Int) -> Int64? { string(row, column).flatMap { Int64($0) } }

    /// A cell of a text result as a floating-point number.
    package func double(_ row: Int, _ column: Int) -> Double? { string(row, column).flatMap { Double($0) } }

    /// A cell of a text result as a boolean.
    package func bool(_ row: Int, _ column: Int) -> Bool? { string(row, column).map { $0 == "t" } }

    /// A `bytea` cell of a text result; nil for NULL.
    func bytea(_ row: Int, _ column: Int) -> [UInt8]? {
        guard let text = bytes(row, column)?.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return nil }
        var length = 0
        // nil when memory is short.
        guard let decoded = PQunescapeBytea(text, &length) else { return nil }
        defer { PQfreemem(decoded) }
        return Array(UnsafeBufferPointer(start: decoded, count: length))
    }

    /// A big-endian integer of a binary result; nil for NULL or a width that does not fit.
    func bigEndian<T: FixedWidthInteger>(_ row: Int, _ column: Int, as: T.Type = T.self) -> T? {
        guard let bytes = bytes(row, column), bytes.count == MemoryLayout<T>.size else { return nil }
        return T(bigEndian: bytes.loadUnaligned(as: T.self))
    }

    /// A `float8` of a binary result.
    func binaryDouble(_ row: Int, _ column: Int) -> Double? {
        bigEndian(row, column, as: UInt64.self).map { Double(bitPattern: $0) }
    }

    private func check(_ row: Int, _ column: Int) {
        precondition(row >= 0 && row < rowCount && column >= 0 && column < columnCount, "no such cell")
    }

    /// The server's error, scrubbed of what `scrub` knows to be secret.
    func error(scrub: (String) -> String) -> StoreError {
        func field(_ code: Character) -> String? {
            PQresultErrorField(handle, Int32(code.asciiValue ?? 0)).map { scrub(String(cString: $0)) }
        }
        let state = field("C")
        let text =
            field("M") ?? PQresultErrorMessage(handle).map { scrub(String(cString: $0)) } ?? "no message"
        let details = [field("D"), field("H"), field("W")].compactMap { $0 }.joined(separator: "; ")
        let code = state.map(StoreError.classify(sqlState:)) ?? .connection
        return StoreError(
            code,
            text.trimmedTrailingNewlines,
            sqlState: state,
            detail: details.isEmpty ? nil : details
        )
    }
}

extension String {
    var trimmedTrailingNewlines: String {
        var text = self[...]
        while let last = text.last, last.isWhitespace { text.removeLast() }
        return String(text)
    }
}
