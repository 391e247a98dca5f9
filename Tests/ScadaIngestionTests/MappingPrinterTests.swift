import FoundationEssentials
import OPCUAClient
import OPCUACodec
import Testing

@testable import scada_ingestion

/// Nodes as lines to paste.
@Suite struct MappingPrinterTests {
    static let connection = "6f2c9c1e-3b0e-4a53-9a0f-0b8f9f3f0001"
    static let well = "0b0f6a52-9d3e-4a7c-8a5e-0d6f1c2b0001"

    private func variable(_ name: String, unit: String = "", rank: Int32 = -1) -> ProbedNode {
        var node = ProbedNode(
            nodeID: NodeId(2, name),
            stableNodeID: "nsu=urn:field;s=\(name)",
            parent: WellKnownNodeId.objectsFolder,
            path: ["Well 1", name],
            browseName: QualifiedName(namespaceIndex: 2, name: name),
            displayName: name,
            nodeClass: .variable
        )
        node.dataTypeName = "Double"
        node.unit = unit
        node.valueRank = rank
        return node
    }

    @Test func sqlIsOneStatementATag() {
        var printer = MappingPrinter(.sql(connection: Self.connection))
        printer.well = Self.well
        let lines = printer.lines([variable("Pressure", unit: "PSI"), variable("Flow")])
        let head = "INSERT INTO tag_mappings (connection_id, well_id, opc_node_id, data_type, name, unit) VALUES ("
        #expect(
            lines == [
                head
                    + "'\(Self.connection)', '\(Self.well)', 'nsu=urn:field;s=Pressure', 'Double', 'Well 1/Pressure', 'PSI');\n",
                head
                    + "'\(Self.connection)', '\(Self.well)', 'nsu=urn:field;s=Flow', 'Double', 'Well 1/Flow', NULL);\n",
            ]
        )
        #expect(printer.end.isEmpty)
    }

    @Test func withoutIdsPsqlIsAsked() {
        var printer = MappingPrinter(.sql(connection: nil))
        printer.usesNamespaceIndex = true
        let line = printer.lines([variable("Flow", rank: 1)]).joined()
        #expect(line.contains("(:'connection_id', :'well_id', 'ns=2;s=Flow', 'Double[]', "))
    }

    static let literals = [
        ("plain", "'plain'"), ("O'Hara", "'O''Hara'"), ("'); DROP TABLE x; --", "'''); DROP TABLE x; --'"),
        ("a\\b", "E'a\\\\b'"), ("a\\'b", "E'a\\\\''b'"), ("a\nb\rc", "E'a\\nb\\rc'"), ("a\0b", "'ab'"), ("°F", "'°F'"),
        ("a\r\nb'", "E'a\\r\\nb'''"),
    ]

    @Test(arguments: literals) func sqlLiterals(_ text: String, _ literal: String) {
        #expect(MappingPrinter.sql(text) == literal)
    }

    static let cells = [
        ("plain", "plain"), ("a,b", "\"a,b\""), ("say \"no\"", "\"say \"\"no\"\"\""), ("a\nb", "\"a\nb\""), ("", ""),
        ("a\r\nb", "\"a\r\nb\""),
    ]

    @Test(arguments: cells) func csvCells(_ text: String, _ cell: String) { #expect(MappingPrinter.csv(text) == cell) }

    @Test func csvHasOneHeading() {
        var printer = MappingPrinter(.csv)
        printer.showsValues = true
        var node = variable("Flow", unit: "BBL/day")
        node.value = DataValue(.double(1.5))
        var bad = variable("Level")
        bad.value = DataValue(.null, status: .badNodeIdUnknown)
        let lines = printer.lines([node]) + printer.lines([bad])
        #expect(lines[0] == "opc_node_id,data_type,name,unit,well_id,path,value,quality\r\n")
        #expect(lines[1] == "nsu=urn:field;s=Flow,Double,Flow,BBL/day,,Well 1/Flow,1.5,Good\r\n")
        #expect(lines[2].hasSuffix(",BadNodeIdUnknown (0x80340000),Bad\r\n"))
        #expect(lines.count == 3)
    }

    @Test(arguments: [0, 1, 2, 5]) func jsonIsAnArrayOfTagMappings(_ count: Int) throws {
        var printer = MappingPrinter(.json)
        printer.well = Self.well
        printer.url = "opc.tcp://plc:4840"
        var text = ""
        // In pieces, as they come.
        for number in 0..<count { text += printer.lines([variable("T\(number)", unit: "\"u\"")]).joined() }
        text += printer.lines([]).joined() + printer.end
        struct Mapping: Decodable {
            var tagId: String
            var wellId: String
            var nodeId: String
            var unit: String
        }
        let mappings = try JSONDecoder().decode([Mapping].self, from: Data(text.utf8))
        #expect(mappings.map(\.nodeId) == (0..<count).map { "nsu=urn:field;s=T\($0)" })
        #expect(
            mappings.allSatisfy { $0.wellId == Self.well && $0.unit == "\"u\"" && UUID(uuidString: $0.tagId) != nil }
        )
        #expect(Set(mappings.map(\.tagId)).count == count)
    }

    @Test func aTagKeepsItsId() {
        #expect(MappingPrinter.tagID("a") == MappingPrinter.tagID("a"))
        #expect(MappingPrinter.tagID("a") != MappingPrinter.tagID("b"))
        // RFC 9562, 5.8: version 8, variant 10.
        #expect(Array(MappingPrinter.tagID("a"))[14] == "8")
        #expect("89ab".contains(Array(MappingPrinter.tagID("a"))[19]))
    }

    @Test func theTableIsAlignedAndMovesNoCursor() {
        var printer = MappingPrinter(.table)
        let lines = printer.lines([variable("Flow\u{1B}[2J"), variable("CasingPressure", unit: "PSI")])
        #expect(lines.count == 3)
        #expect(lines.allSatisfy { !$0.contains("\u{1B}") && $0.hasSuffix("\n") })
        let columns = lines.dropFirst().map { line in
            line.firstRange(of: "Double").map { line.distance(from: line.startIndex, to: $0.lowerBound) }
        }
        #expect(columns[0] != nil && columns[0] == columns[1])
    }

    @Test func theEndOfAWalkIsSaid() {
        var summary = WalkSummary()
        summary.seen = 12
        summary.matched = 1
        #expect(Browse.words(summary, limit: .max) == "1 node of 12 looked at")
        summary.end = .limit
        #expect(Browse.words(summary, limit: 1).hasSuffix("there are more: --limit 1 ended it"))
        summary.end = .tooMany
        #expect(Browse.words(summary, limit: 1).contains("begin further down"))
    }
}
