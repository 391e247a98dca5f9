import Testing

@testable import scada_ingestion

@Suite struct TextFormTests {
    @Test(
        arguments: [
            ("0", 0), ("1", 1), ("1024", 1_024), ("1KiB", 1_024), ("1 kib", 1_024), ("3MiB", 3 << 20),
            ("2GiB", 2 << 30),
            ("1TIB", 1 << 40), ("5B", 5), ("", nil), ("KiB", nil), ("1K", nil), ("1KB", nil), ("1.5MiB", nil),
            ("-1", nil),
            ("1 MiB x", nil), ("9223372036854775808", nil), ("8388608TiB", nil), ("٣", nil),
        ] as [(String, Int?)]
    )
    func sizes(_ text: String, _ bytes: Int?) {
        #expect(ByteSize.parse(text) == bytes)
    }

    @Test(arguments: [0, 1, 1_000, 1_024, 1_536, 1 << 20, 3 << 30, 1 << 50, Int.max])
    func sizesReadBack(_ bytes: Int) {
        #expect(ByteSize.parse(ByteSize.format(bytes)) == bytes)
    }

    @Test(arguments: [
        ("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("AB", "BA", 1), ("ABCD", "ACBD", 1), ("abc", "abc", 0),
    ])
    func distances(_ left: String, _ right: String, _ distance: Int) {
        #expect(NearestName.distance(left, right) == distance)
        #expect(NearestName.distance(right, left) == distance)
    }

    @Test(
        arguments: [
            ("GRPC_PROT", "GRPC_PORT"), ("DATABASEURL", "DATABASE_URL"), ("log_level", "LOG_LEVEL"),
            ("POSTGRES_DB", nil),
            ("X", nil),
        ] as [(String, String?)]
    )
    func nearest(_ name: String, _ meant: String?) {
        #expect(NearestName.of(name, in: Variable.knownNames) == meant)
    }

    @Test func messagesAreOneLine() {
        #expect(Console.oneLine("refused\n\tIs the server running?\n") == "refused; Is the server running?")
        #expect(SecretInput.withoutLastNewline("a\n\n") == "a\n")
        #expect(SecretInput.withoutLastNewline("a\r\n") == "a")
        #expect(["a"].formattedAsChoice == "a")
        #expect(["a", "b", "c"].formattedAsChoice == "a, b or c")
    }
}
