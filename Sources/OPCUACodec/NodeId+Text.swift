/// The text form of node ids (Part 6, 5.3.1.10): `i=85`, `ns=2;s=Well-00001.CasingPressure`, `nsu=urn:x;g=…`.
package struct NodeIdText: Hashable, Sendable {
    /// Where the namespace comes from: an index valid in one server run, or a URI valid for ever.
    package enum Namespace: Hashable, Sendable {
        case index(UInt16)
        case uri(String)
    }

    package var namespace: Namespace
    package var identifier: NodeId.Identifier

    /// The node of one server run, its namespace by index.
    package init(_ node: NodeId) {
        namespace = .index(node.namespaceIndex)
        identifier = node.identifier
    }

    /// Parses the text form; the error says what is wrong in words fit for the person who typed it.
    package init(parsing text: String) throws(NodeIdTextError) {
        var rest = Substring(text)
        namespace = .index(0)
        if rest.hasPrefix("nsu=") {
            guard let end = rest.firstIndex(of: ";"), end > rest.index(rest.startIndex, offsetBy: 4) else {
                throw NodeIdTextError("\"nsu=\" must be followed by a namespace URI and \";\"")
            }
            // Part 6 escapes ";" and "%" inside the URI.
            let uri = rest[rest.index(rest.startIndex, offsetBy: 4)..<end]
            namespace = .uri(String(uri).replacing("%3B", with: ";").replacing("%25", with: "%"))
            rest = rest[rest.index(after: end)...]
        } else if rest.hasPrefix("ns=") {
            guard let end = rest.firstIndex(of: ";"),
                let index = UInt16(rest[rest.index(rest.startIndex, offsetBy: 3)..<end])
            else { throw NodeIdTextError("\"ns=\" must be followed by a number from 0 to 65535 and \";\"") }
            namespace = .index(index)
            rest = rest[rest.index(after: end)...]
        }
        guard rest.utf8.count >= 2, rest[rest.index(after: rest.startIndex)] == "=" else {
            throw NodeIdTextError("expected i=, s=, g= or b= after the namespace")
        }
        let value = rest.dropFirst(2)
        switch rest.first {
        case "i":
            guard let number = UInt32(value), value.utf8.first != UInt8(ascii: "+") else {
                throw NodeIdTextError("\"i=\" must be followed by a number from 0 to 4294967295")
            }
            identifier = .numeric(number)
        case "s":
            guard !value.isEmpty else { throw NodeIdTextError("\"s=\" must be followed by at least one character") }
            guard value.utf8.count <= 4096 else {
                throw NodeIdTextError("a string identifier has at most 4096 bytes")
            }
            guard !value.utf8.contains(0) else { throw NodeIdTextError("an identifier must not contain NUL") }
            identifier = .string(String(value))
        case "g":
            guard let guid = Guid(value) else {
                throw NodeIdTextError("\"g=\" must be followed by a GUID such as 09087e75-8e5e-499b-954f-f2a9603db28a")
            }
            identifier = .guid(guid)
        case "b":
            guard let bytes = Base64.decode(value.utf8), !bytes.isEmpty else {
                throw NodeIdTextError("\"b=\" must be followed by base64 text")
            }
            identifier = .opaque(bytes)
        default: throw NodeIdTextError("expected i=, s=, g= or b= after the namespace")
        }
    }

    /// The NodeId for a server with this namespace table; nil when the URI is not in it.
    package func resolved(namespaces: [String]) -> NodeId? {
        switch namespace {
        case .index(let index): return NodeId(namespaceIndex: index, identifier: identifier)
        case .uri(let uri):
            guard let index = namespaces.firstIndex(of: uri), let short = UInt16(exactly: index) else { return nil }
            return NodeId(namespaceIndex: short, identifier: identifier)
        }
    }
}

package struct NodeIdTextError: Error, Equatable, CustomStringConvertible {
    package var description: String
    init(_ description: String) { self.description = description }
}

extension NodeId: CustomStringConvertible {
    /// The text form with the namespace index, omitted where it is 0.
    package var description: String {
        (namespaceIndex == 0 ? "" : "ns=\(namespaceIndex);") + identifier.description
    }
}

extension NodeId.Identifier: CustomStringConvertible {
    package var description: String {
        switch self {
        case .numeric(let value): "i=\(value)"
        case .string(let value): "s=\(value)"
        case .guid(let value): "g=\(value)"
        case .opaque(let value): "b=\(Base64.encode(value))"
        }
    }
}

extension ExpandedNodeId: CustomStringConvertible {
    package var description: String {
        let server = serverIndex == 0 ? "" : "svr=\(serverIndex);"
        guard let namespaceUri else { return server + nodeId.description }
        let escaped = namespaceUri.replacing("%", with: "%25").replacing(";", with: "%3B")
        return server + "nsu=\(escaped);" + nodeId.identifier.description
    }
}
