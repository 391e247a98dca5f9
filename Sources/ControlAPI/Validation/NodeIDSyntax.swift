/// The text form of a NodeId (OPC UA Part 6, 5.3.1.10): `[ns=<index>;|nsu=<uri>;]<type>=<identifier>`, where type is
/// i (number), s (text), g (GUID) or b (base64).
enum NodeIDSyntax {
    /// What is wrong with `text`; nil = it is a NodeId and not the null one.
    static func problem(_ text: String) -> String? {
        guard !text.isEmpty else { return "is required" }
        guard text.utf8.count <= Bounds.nodeIDBytes else {
            return "is \(text.utf8.count) bytes long, at most \(Bounds.nodeIDBytes) are allowed"
        }
        var rest = Substring(text)
        var isNamespaceZero = true
        if rest.hasPrefix("svr=") { return "names another server (svr=), which cannot be monitored from here" }
        if rest.hasPrefix("ns=") {
            guard let end = rest.firstIndex(of: ";") else { return expected(text) }
            let digits = rest[rest.index(rest.startIndex, offsetBy: 3)..<end]
            guard let index = number(digits), index <= 65_535 else {
                return "\(Validate.quoted(String(digits))) is not a namespace index from 0 to 65535"
            }
            isNamespaceZero = index == 0
            rest = rest[rest.index(after: end)...]
        } else if rest.hasPrefix("nsu=") {
            // A semicolon inside the URI is written %3B.
            guard let end = rest.firstIndex(of: ";") else { return expected(text) }
            guard rest.distance(from: rest.startIndex, to: end) > 4 else { return "has an empty namespace URI" }
            isNamespaceZero = false
            rest = rest[rest.index(after: end)...]
        }
        guard rest.utf8.count >= 2, rest.utf8[rest.utf8.index(after: rest.utf8.startIndex)] == 0x3D else {
            return expected(text)
        }
        let identifier = rest.dropFirst(2)
        switch rest.first {
        case "i":
            guard let value = number(identifier), value <= UInt64(UInt32.max) else {
                return "\(Validate.quoted(String(identifier))) is not a number from 0 to 4294967295"
            }
            return value == 0 && isNamespaceZero ? "is the null node id" : nil
        case "s":
            return identifier.isEmpty ? "has an empty identifier" : nil
        case "g":
            return isGUID(identifier) ? nil : "\(Validate.quoted(String(identifier))) is not a GUID"
        case "b":
            return isBase64(identifier) ? nil : "\(Validate.quoted(String(identifier))) is not base64"
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

    private static func number(_ digits: Substring) -> UInt64? {
        guard !digits.isEmpty, digits.utf8.count <= 10, digits.utf8.allSatisfy(\.isDigit) else { return nil }
        return UInt64(digits)
    }

    private static func isGUID(_ text: Substring) -> Bool {
        text.utf8.count == 36
            && text.utf8.enumerated().allSatisfy { index, byte in
                [8, 13, 18, 23].contains(index) ? byte == 0x2D : byte.isHexDigit
            }
    }

    private static func isBase64(_ text: Substring) -> Bool {
        let bytes = Array(text.utf8)
        guard !bytes.isEmpty, bytes.count % 4 == 0 else { return false }
        let padding = bytes.suffix(2).reversed().prefix { $0 == 0x3D }.count
        return bytes.dropLast(padding).allSatisfy { byte in
            byte.isDigit || (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7A) || byte == 0x2B || byte == 0x2F
        }
    }
}
