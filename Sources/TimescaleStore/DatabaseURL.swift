internal import CLibPQ

/// Where a database is: a libpq connection string or `postgresql://` URI, kept so that it never shows in a log.
///
/// Equal strings are the same database for the pool. The description and ``displayName`` leave out user and password.
package struct DatabaseURL: Hashable, Sendable, CustomStringConvertible, CustomReflectable {
    /// One `keyword=value` of libpq.
    struct Option: Sendable {
        var keyword: String
        var value: String
    }

    let rawValue: String
    /// `host:port/database` for logs and errors.
    package let displayName: String

    /// - Throws: ``StoreError`` with code `invalidURL`. The message names what is wrong and quotes nothing of the text.
    package init(_ text: String) throws(StoreError) {
        let options = try Self.parse(text)
        rawValue = text
        func value(_ keyword: String) -> String? { options.first { $0.keyword == keyword }?.value }
        let host = value("host") ?? value("hostaddr") ?? "local socket"
        if host.contains("@") || (value("dbname") ?? "").contains("@") {
            throw StoreError(.invalidURL, "an @ within the user name or password must be written %40")
        }
        let port = value("port") ?? "5432"
        for part in port.split(separator: ",", omittingEmptySubsequences: true)
        where Int(part).map({ (1...65535).contains($0) }) != true {
            throw StoreError(
                .invalidURL,
                "the port must be a number from 1 to 65535 (a : or / within the password must be written %3A, %2F)"
            )
        }
        displayName = "\(host):\(port)/\(value("dbname") ?? value("user") ?? "")"
    }

    package static func == (left: DatabaseURL, right: DatabaseURL) -> Bool { left.rawValue == right.rawValue }
    package func hash(into hasher: inout Hasher) { hasher.combine(rawValue) }
    package var description: String { displayName }
    package var customMirror: Mirror { Mirror(self, children: ["displayName": displayName]) }

    /// The options given in the text, with libpq's names.
    func options() throws(StoreError) -> [Option] { try Self.parse(rawValue) }

    private static func parse(_ text: String) throws(StoreError) -> [Option] {
        guard !text.utf8.contains(0), text.contains("=") || text.contains("://") else {
            throw StoreError(
                .invalidURL,
                "expected postgresql://user:password@host:port/database or keyword=value pairs"
            )
        }
        var parseError: UnsafeMutablePointer<CChar>?
        guard let list = PQconninfoParse(text, &parseError) else {
            // libpq's text quotes parts of the string, the password among them: not repeated here.
            PQfreemem(parseError)
            throw StoreError(
                .invalidURL,
                "not a connection string libpq understands; expected postgresql://user:password@host:port/database "
                    + "with special characters percent-encoded"
            )
        }
        defer { PQconninfoFree(list) }
        var options: [Option] = []
        var entry = list
        while let keyword = entry.pointee.keyword {
            if let value = entry.pointee.val {
                options.append(Option(keyword: String(cString: keyword), value: String(cString: value)))
            }
            entry += 1
        }
        return options
    }
}
