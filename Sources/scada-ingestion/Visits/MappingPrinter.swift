import FoundationEssentials
import Ingestion
import OPCUAClient
import OPCUACodec
import OPCUASecurity

/// Nodes as lines: a table for people, or tag mappings for `psql`, spreadsheets and AddConnection. Keeps nothing of what it
/// printed.
struct MappingPrinter: Sendable {
    enum Style: Sendable, Equatable {
        case table
        /// Without an id: psql's variable connection_id.
        case sql(connection: String?)
        case csv
        case json
    }

    let style: Style
    /// Part of the mappings' ids in JSON.
    var url = ""
    /// Lower case; nil leaves it to whoever uses the lines.
    var well: String?
    var usesNamespaceIndex = false
    var showsValues = false
    private var count = 0
    /// Of the table's columns; they grow with what comes.
    private var widths = [4, 4, 4]

    init(_ style: Style) {
        self.style = style
    }

    /// The text for some nodes, line feeds included; the heading comes with the first.
    mutating func lines(_ nodes: [ProbedNode]) -> [String] {
        if nodes.isEmpty { return [] }
        var lines: [String] = []
        switch style {
        case .table:
            let rows = nodes.map { tableRow($0) }
            for row in rows {
                for column in widths.indices { widths[column] = min(60, max(widths[column], row[column].count)) }
            }
            if count == 0 {
                lines.append(aligned(["node", "type", "unit"] + (showsValues ? ["value"] : []) + ["path"]))
            }
            lines += rows.map { aligned($0) }
        case .csv:
            if count == 0 {
                let columns = ["opc_node_id", "data_type", "name", "unit", "well_id", "path"]
                lines.append((columns + (showsValues ? ["value", "quality"] : [])).joined(separator: ",") + "\r\n")
            }
            lines += nodes.map { csvRow($0) }
        case .sql(let connection):
            lines = nodes.map { insert($0, connection) }
        case .json:
            for node in nodes {
                lines.append((count + lines.count == 0 ? "[\n  " : ",\n  ") + mapping(node))
            }
        }
        count += nodes.count
        return lines
    }

    /// What closes the text.
    var end: String {
        guard style == .json else { return "" }
        return count == 0 ? "[]\n" : "\n]\n"
    }

    // MARK: Cells

    private func id(_ node: ProbedNode) -> String { usesNamespaceIndex ? "\(node.nodeID)" : node.stableNodeID }

    /// Path below the start: names alone are the same in every well.
    private func name(_ node: ProbedNode) -> String { node.path.joined(separator: "/") }

    private func dataType(_ node: ProbedNode) -> String {
        node.dataTypeName.isEmpty || node.valueRank < 1 ? node.dataTypeName : node.dataTypeName + "[]"
    }

    private static func value(_ node: ProbedNode) -> String {
        guard let read = node.value else { return "" }
        return read.status.isBad ? "\(read.status)" : String(read.value.displayText.prefix(1_000))
    }

    private static func quality(_ node: ProbedNode) -> String {
        guard let read = node.value else { return "" }
        return read.status.isGood ? "Good" : read.status.isUncertain ? "Uncertain" : "Bad"
    }

    // MARK: Lines

    private func tableRow(_ node: ProbedNode) -> [String] {
        let isVariable = node.nodeClass == .variable
        let type = isVariable ? dataType(node) : node.hasChildren ? "object" : "empty"
        let value = showsValues ? [String(Self.value(node).prefix(40))] : []
        return ([id(node), type, node.unit] + value + [name(node)]).map { ConnectionFindings.printable($0) }
    }

    private func aligned(_ row: [String]) -> String {
        let padded = row.enumerated().map { column, text in
            column < widths.count
                ? text.padded(to: widths[column]) : column < row.count - 1 ? text.padded(to: 20) : text
        }
        return padded.joined(separator: "  ") + "\n"
    }

    private func csvRow(_ node: ProbedNode) -> String {
        var cells = [id(node), dataType(node), node.displayName, node.unit, well ?? "", name(node)]
        if showsValues { cells += [Self.value(node), Self.quality(node)] }
        return cells.map { Self.csv($0) }.joined(separator: ",") + "\r\n"
    }

    /// RFC 4180.
    static func csv(_ text: String) -> String {
        let needsQuotes = text.utf8.contains { $0 == 0x22 || $0 == 0x2C || $0 == 0x0A || $0 == 0x0D }
        return needsQuotes ? "\"\(text.replacing("\"", with: "\"\""))\"" : text
    }

    private func insert(_ node: ProbedNode, _ connection: String?) -> String {
        let values = [
            connection.map { Self.sql($0) } ?? ":'connection_id'", well.map { Self.sql($0) } ?? ":'well_id'",
            Self.sql(id(node)), Self.sql(dataType(node)), Self.sql(name(node)),
            node.unit.isEmpty ? "NULL" : Self.sql(node.unit),
        ]
        return "INSERT INTO tag_mappings (connection_id, well_id, opc_node_id, data_type, name, unit) VALUES ("
            + values.joined(separator: ", ") + ");\n"
    }

    /// A literal whatever `standard_conforming_strings` is; PostgreSQL has no NUL. On one line, as a mapping is one.
    static func sql(_ text: String) -> String {
        let safe = text.unicodeScalars.map { scalar -> String in
            switch scalar {
            case "'": "''"
            case "\\": "\\\\"
            case "\n": "\\n"
            case "\r": "\\r"
            case "\0": ""
            default: String(scalar)
            }
        }.joined()
        return text.unicodeScalars.contains(where: { "\\\n\r".unicodeScalars.contains($0) })
            ? "E'\(safe)'" : "'\(safe)'"
    }

    // MARK: JSON

    /// scada.TagMapping as protobuf's JSON has it.
    private struct Mapping: Encodable {
        var tagId: String
        var wellId: String
        var nodeId: String
        var dataType: String
        var name: String
        var unit: String
    }

    private func mapping(_ node: ProbedNode) -> String {
        let id = id(node)
        let mapping = Mapping(
            tagId: Self.tagID("\(url)\n\(node.stableNodeID)\n\(well ?? "")"),
            wellId: well ?? "",
            nodeId: id,
            dataType: Self.bounded(dataType(node), 128),
            name: Self.bounded(name(node), 256),
            unit: Self.bounded(node.unit, 64)
        )
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(mapping) else { return "{}" }
        return String(decoding: data, as: UTF8.self)
    }

    /// The same for the same tag of the same server each time, so that AddConnection changes what is there instead of
    /// adding it again (RFC 9562, 5.8).
    static func tagID(_ text: String) -> String {
        var bytes = Array(HashAlgorithm.sha256.digest(Array(text.utf8)).prefix(16))
        bytes[6] = bytes[6] & 0x0F | 0x80
        bytes[8] = bytes[8] & 0x3F | 0x80
        let digits = bytes.map { byte in
            let text = String(byte, radix: 16)
            return text.count == 1 ? "0" + text : text
        }.joined()
        var parts: [Substring] = []
        var rest = digits[...]
        for length in [8, 4, 4, 4, 12] {
            parts.append(rest.prefix(length))
            rest = rest.dropFirst(length)
        }
        return parts.joined(separator: "-")
    }

    /// The API's bounds are bytes; its end says more than its beginning.
    private static func bounded(_ text: String, _ bytes: Int) -> String {
        var text = text[...]
        while text.utf8.count > bytes { text.removeFirst() }
        return String(text)
    }
}
