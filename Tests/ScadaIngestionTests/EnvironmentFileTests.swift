import Testing

@testable import scada_ingestion

@Suite struct EnvironmentFileTests {
    @Test(
        arguments: [
            ("A=1", "1"), ("A = 1 ", "1"), ("\tA=1\r", "1"), ("export A=1", "1"), ("A=", ""), ("A=\"\"", ""),
            ("A=''", ""),
            ("A=a b  c", "a b  c"), ("A=a #c", "a"), ("A=a#c", "a#c"), ("A=#c", ""), ("A=x=y", "x=y"),
            ("A='a #\"$b\\'", "a #\"$b\\"), (#"A="a\n\t\"\\\$#" # c"#, "a\n\t\"\\$#"), ("A='x' # c", "x"),
            ("A=it's", "it's"), ("\u{FEFF}A=1", "1"), ("A=grün", "grün"), ("exportA=1", nil), ("_A1=x", nil),
        ] as [(String, String?)]
    )
    func reads(_ line: String, _ value: String?) {
        let file = EnvironmentFile(parsing: line, path: "f")
        #expect(file.problems.isEmpty)
        #expect(file.entries.count == 1)
        if let value { #expect(file.entries.first == .init(name: "A", value: value, line: 1)) }
    }

    @Test(arguments: ["", "   ", "# A=1", "  # A", "\n\n", "\r\n"])
    func saysNothing(_ text: String) {
        #expect(EnvironmentFile(parsing: text, path: "f") == EnvironmentFile(parsing: "", path: "f"))
    }

    @Test(arguments: [
        ("A", "expected NAME=value"), ("=1", "expected NAME=value"), ("1A=1", "expected NAME=value"),
        ("A-B=1", "expected NAME=value"), ("A: 1", "expected NAME=value"), ("export =1", "expected NAME=value"),
        ("A=\"x", "does not end"), ("A='x", "does not end"), ("A=\"x\" y", "goes on"), ("A='it's'", "goes on"),
        (#"A="C:\new dir\x""#, "needs none"), ("B=1\nB=2", "stands in line 1 already"),
    ])
    func refuses(_ text: String, _ part: String) {
        let file = EnvironmentFile(parsing: text, path: "f.env")
        #expect(file.problems.count == 1)
        #expect(file.problems.first?.description.contains(part) == true)
        #expect(file.problems.first?.description.hasPrefix("f.env line ") == true)
    }

    @Test func linesAreCounted() {
        let file = EnvironmentFile(parsing: "# one\r\nA=1\r\n\r\nbad\nB=2", path: "f")
        #expect(file.entries.map(\.line) == [2, 5])
        #expect(
            file.problems.map(\.description) == [
                "f line 4: expected NAME=value, a comment beginning with #, or nothing"
            ]
        )
    }

    @Test func aBadLineIsNotRepeated() {
        let file = EnvironmentFile(parsing: "hunter2secret\nPASSWORD=\"hunter2secret", path: "f")
        #expect(file.problems.count == 2)
        #expect(file.problems.allSatisfy { !$0.description.contains("hunter2secret") })
    }

    @Test(arguments: 0..<300) func anyBytesAreTaken(_ seed: Int) {
        var generator = SplitMix64(seed: UInt64(seed))
        let alphabet = Array("AB=#'\"\\ \n\r\t$é\u{0}ex")
        let text = String((0..<40).map { _ in alphabet[Int(generator.next() % UInt64(alphabet.count))] })
        // Whatever it says, each line is an entry, a problem or nothing.
        let file = EnvironmentFile(parsing: text, path: "f")
        let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).count
        #expect(file.entries.count + file.problems.count <= lines, "seed \(seed)")
    }
}

struct SplitMix64: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
