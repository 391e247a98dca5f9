import FoundationEssentials

/// The content of GRPC_TOKENS_FILE.
///
/// One token a line: `sha256:<64 hex digits>` (or the digits alone), white space, then a tenant id or `*` for all
/// tenants. Several lines with the same hash add up. Empty lines and everything after a `#` are ignored. The hash is the
/// SHA-256 of the token's bytes: `printf %s "$TOKEN" | sha256sum`.
struct TokenList: Sendable, Equatable {
    struct Entry: Sendable, Equatable {
        /// 32 bytes.
        var hash: [UInt8]
        var tenants: Caller.Tenants
    }

    /// A line that cannot be read. The line itself is not repeated: somebody may have put the token there.
    struct ParseError: Error, Equatable, CustomStringConvertible {
        /// From 1.
        var line: Int
        var problem: String
        var description: String { "line \(line): \(problem)" }
    }

    private(set) var entries: [Entry] = []

    init(parsing text: String) throws(ParseError) {
        // "\r\n" is one character to Swift, and not equal to "\n".
        let lines = text.split(omittingEmptySubsequences: false) { $0 == "\n" || $0 == "\r\n" }
        for (index, line) in lines.enumerated() {
            let content = line.prefix { $0 != "#" }
            let words = content.split { $0 == " " || $0 == "\t" || $0 == "\r" }
            if words.isEmpty { continue }
            let number = index + 1
            guard words.count == 2 else {
                throw ParseError(
                    line: number,
                    problem: "expected two words: sha256:<hash of the token> <tenant id or *>"
                )
            }
            guard let hash = Self.hash(words[0]) else {
                throw ParseError(
                    line: number,
                    problem: "the first word is not sha256:<64 hexadecimal digits>; "
                        + "make it with: printf %s \"$TOKEN\" | sha256sum"
                )
            }
            try add(hash, words[1], line: number)
        }
    }

    private mutating func add(_ hash: [UInt8], _ word: Substring, line: Int) throws(ParseError) {
        let tenants: Caller.Tenants
        if word == "*" {
            tenants = .all
        } else {
            do {
                tenants = .only([try Validate.uuid("tenant", String(word))])
            } catch {
                throw ParseError(line: line, problem: "the second word is neither a tenant's UUID nor *")
            }
        }
        guard let place = entries.firstIndex(where: { $0.hash == hash }) else {
            entries.append(Entry(hash: hash, tenants: tenants))
            return
        }
        switch (entries[place].tenants, tenants) {
        case (.only(let old), .only(let new)): entries[place].tenants = .only(old.union(new))
        default: entries[place].tenants = .all
        }
    }

    private static func hash(_ word: Substring) -> [UInt8]? {
        let prefix = "sha256:"
        let digits = word.hasPrefix(prefix) ? word.dropFirst(prefix.count) : word
        guard digits.utf8.count == 64, digits.utf8.allSatisfy(\.isHexDigit) else { return nil }
        let values = digits.utf8.map { $0.isDigit ? $0 - 0x30 : ($0 | 0x20) - 0x57 }
        return stride(from: 0, to: 64, by: 2).map { values[$0] << 4 | values[$0 + 1] }
    }

    /// What the token with this hash may access; nil = unknown. Takes the same time wherever the hash stands in the list
    /// and however much of it is right.
    func tenants(forHash hash: [UInt8]) -> Caller.Tenants? {
        guard hash.count == 32 else { return nil }
        var found = -1
        for index in entries.indices {
            var difference: UInt8 = 0
            for byte in 0..<32 { difference |= entries[index].hash[byte] ^ hash[byte] }
            // 0 → all ones, anything else → 0; without a branch on the secret.
            let mask = (Int(difference) - 1) >> 8
            found = (found & ~mask) | (index & mask)
        }
        return found < 0 ? nil : entries[found].tenants
    }
}
