import Testing

@testable import scada_ingestion

/// Config/scada-ingestion.env.example and the help are the table, word for word.
@Suite struct ExampleFileTests {
    private var committed: String {
        get throws {
            let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
            return try SmallTextFile.read("/\(root)/Config/scada-ingestion.env.example")
        }
    }

    @Test func theFileIsTheTable() throws {
        #expect(
            try committed == Variable.exampleFile,
            "run: scada-ingestion environment --example > Config/scada-ingestion.env.example"
        )
    }

    @Test func theFileLoadsAsItIs() throws {
        let file = EnvironmentFile(parsing: try committed, path: "example")
        #expect(file.problems.isEmpty)
        #expect(file.entries.map(\.name) == ["DATABASE_URL"])
    }

    @Test func everyCommentedDefaultIsTheDefault() throws {
        let uncommented = try committed.split(separator: "\n").filter { !$0.hasPrefix("# ") && !$0.hasPrefix("##") }
            .map { $0.first == "#" ? $0.dropFirst() : $0 }.joined(separator: "\n")
        let file = EnvironmentFile(parsing: uncommented, path: "example")
        #expect(file.problems.isEmpty)
        #expect(
            file.entries.map(\.name)
                == Variable.Section.allCases.flatMap { section in
                    Variable.all.filter { $0.section == section }.map(\.name)
                }
        )
        for entry in file.entries {
            let variable = try #require(Variable.named(entry.name))
            guard case .value(let text) = variable.fallback else { continue }
            #expect(entry.value == text)
        }
    }

    @Test func everyVariableHasAHelp() {
        for variable in Variable.all {
            #expect(variable.summary.hasSuffix("."), "\(variable.name)")
            #expect(variable.summary.count > 20, "\(variable.name)")
            #expect(!variable.expected.isEmpty, "\(variable.name)")
            #expect(Variable.helpText.contains("  \(variable.name)"))
        }
    }
}
