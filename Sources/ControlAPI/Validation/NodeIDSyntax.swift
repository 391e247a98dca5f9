/// The text form of a NodeId (OPC UA Part 6, 5.3.1.10): `[ns=<index>;|nsu=<uri>;]<type>=<identifier>`, where type is
/// i (number), s (text), g (GUID) or b (base64).
enum NodeIDSyntax {
    /// What is wrong with `text`; nil = it is a NodeId and not the null one.
    ///
    /// Works on bytes: Swift compares characters by canonical equivalence, and to it "\u{37E}" is a semicolon.
    static func problem(_ text: String) -> String? {
        guard !text.isEmpty else { return "is required" }
        guard text.utf8.count <= Bounds.nodeIDBytes else {
            return "is \(text.utf8.count) bytes long, at most \(Bounds.nodeIDBytes) are allowed"
        }
        var rest = Substring(text).utf8
        var isNamespaceZero = true
        if rest.starts(with: "svr=".utf8) {
            return "names another server (svr=), which cannot be monitored from here"
        }
        if rest.starts(with: "ns=".utf8) {
            guard let end = rest.firstIndex(of: UInt8(ascii: ";")) else { return expected(text) }
            let digits = rest[..<end].dropFirst(3)
            guard let index = number(digits), index <= 65_535 else {
                return "\(quoted(digits)) is not a namespace index from 0 to 65535"
            }
            isNamespaceZero = index == 0
            rest = rest[rest.index(after: end)...]
        } else if rest.starts(with: "nsu=".utf8) {
            // A semicolon inside the URI is written %3B.
            guard let end = rest.firstIndex(of: UInt8(ascii: ";")) else { return expected(text) }
            guard rest[..<end].count > 4 else { return "has an empty namespace URI" }
            isNamespaceZero = false
            rest = rest[rest.index(after: end)...]
        }
        guard let type = rest.first, rest.dropFirst().first == UInt8(ascii: "=") else { return expected(text) }
        let identifier = rest.dropFirst(2)
        switch type {
        case UInt8(ascii: "i"):
            guard let value = number(identifier), value <= UInt64(UInt32.max) else {
                return "\(quoted(identifier)) is not a number from 0 to 4294967295"
            }
            return value == 0 && isNamespaceZero ? "is the null node id" : nil
        case UInt8(ascii: "s"):
            return identifier.isEmpty ? "has an empty identifier" : nil
        case UInt8(ascii: "g"):
            return isGUID(identifier) ? nil : "\(quoted(identifier)) is not a GUID"
        case UInt8(ascii: "b"):
            return isBase64(identifier) ? nil : "\(quoted(identifier)) is not base64"
        default:
            return expected(text)
        }
    }

    static func check(_ field: String, _ text: String) throws(ControlError) -> String {
        if let problem = problem(text) { throw .invalid(field, problem) }
        return text
    }

    private static func expected(_ text: String) -> String {
        "\(Validate.quoted(text)) is not a node id such as ns=2;s=Well1.Pressure or i=2258"
    }

    private static func quoted(_ bytes: Substring.UTF8View) -> String {
        Validate.quoted(String(Substring(bytes)))
    }

    private static func number(_ digits: Substring.UTF8View) -> UInt64? {
        guard !digits.isEmpty, digits.count <= 10, digits.allSatisfy(\.isDigit) else { return nil }
        return UInt64(Substring(digits))
    }

    private static func isGUID(_ text: Substring.UTF8View) -> Bool {
        text.count == 36
            && text.enumerated().allSatisfy { index, byte in
                [8, 13, 18, 23].contains(index) ? byte == 0x2D : byte.isHexDigit
            }
    }

    private static func isBase64(_ text: Substring.UTF8View) -> Bool {
        guard !text.isEmpty, text.count % 4 == 0 else { return false }
        let padding = text.suffix(2).reversed().prefix { $0 == 0x3D }.count
        return text.dropLast(padding).allSatisfy { byte in
            byte.isDigit || (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7A) || byte == 0x2B || byte == 0x2F
        }
    }
}
