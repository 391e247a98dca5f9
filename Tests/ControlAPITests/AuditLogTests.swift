import Testing

@testable import ControlAPI

/// What a caller can put into the log: neither much of it, nor anything that acts.
struct AuditLogTests {
    private static func entry(_ text: String, _ code: StatusCode = .invalidArgument) -> AuditEntry {
        AuditEntry(
            identity: text,
            peer: text,
            method: text,
            subject: ["tenant_id": text, "endpoint_url": text],
            code: code,
            message: text
        )
    }

    @Test(arguments: [
        ("plain text, ümläut 油井 €", "plain text, ümläut 油井 €"),
        ("a\nb\r\tc\0", #"a\u{a}b\u{d}\u{9}c\u{0}"#),
        ("\u{1B}[31mred\u{9B}31m", #"\u{1b}[31mred\u{9b}31m"#),
        ("\u{2028}\u{2029}\u{85}", #"\u{2028}\u{2029}\u{85}"#),
        ("abc\u{202E}fed\u{2066}\u{FEFF}", #"abc\u{202e}fed\u{2066}\u{feff}"#),
        ("\u{E000}\u{10FFFF}", #"\u{e000}\u{10ffff}"#),
        ("", ""),
    ])
    func textIsEscaped(text: String, written: String) {
        #expect(AuditLog.safe(text) == written)
    }

    @Test func textIsCut() {
        let longest = AuditLog.longestText
        #expect(AuditLog.safe(String(repeating: "x", count: longest)).utf8.count == longest)
        #expect(AuditLog.safe(String(repeating: "x", count: longest + 1)).hasSuffix("x…"))
        // Never within a character, and the escapes' length is bounded with it.
        let euros = AuditLog.safe(String(repeating: "€", count: 10_000))
        #expect(euros == String(repeating: "€", count: longest / 3) + "…")
        #expect(AuditLog.safe(String(repeating: "\n", count: 1_000_000)).utf8.count <= longest * 5 + 3)
    }

    @Test func everyLineIsBoundedAndOneLine() {
        let log = LogLines()
        let audit = AuditLog(logger: log.logger()) { _ in }
        let text = String(repeating: "\n\u{1B}[2J\u{202E}forged audit: command", count: 10_000)
        audit.command(Self.entry(text))
        audit.command(Self.entry(text, .ok))
        audit.refusal(Self.entry(text))
        audit.refusal(Self.entry(text, .resourceExhausted))
        audit.failedHandshake(text)
        #expect(log.all.count == 5)
        for line in log.all {
            #expect(line.utf8.count < 12_000)
            #expect(!actsOnATerminal(line))
        }
    }
}

/// Whether a line has characters that do something where it is shown.
private func actsOnATerminal(_ line: String) -> Bool {
    line.unicodeScalars.contains { [.control, .format].contains($0.properties.generalCategory) }
}

extension OverTheNetwork {
    struct AuditTests {
        private static let texts = [
            String(repeating: "x", count: 3_000_000), String(repeating: "\u{0}", count: 100_000),
            String(repeating: "\u{85}", count: 1_000), "\n{\"level\":\"error\"}\n", "\u{1B}]0;title\u{7}",
            "\u{202E}drow",
        ]

        /// Every failed command is a line, whatever its strings are; and the line is short.
        @Test func malformedCommandsAreEachOneShortLine() async throws {
            try await Fixture.with { it in
                var calls = 0
                for text in Self.texts {
                    // A user name may be any text; a password without one is an error.
                    for field in [1, 2, 3, 4, 5, 7] {
                        let request = Sample.addConnection.string(field, text)
                        let reply = await it.client.unary("AddConnection", request.bytes)
                        #expect(reply.code == .invalidArgument, "field \(field): \(reply.text)")
                        calls += 1
                    }
                    for field in 1...3 {
                        let request = Sample.addConnection.message(8, Sample.tag().string(field, text))
                        #expect(await it.client.unary("AddConnection", request.bytes).code == .invalidArgument)
                        calls += 1
                    }
                    let removal = await it.client.unary("RemoveConnection", Wire().string(1, text).bytes)
                    #expect(removal.code == .invalidArgument)
                    calls += 1
                }
                let expected = calls
                #expect(await eventually { it.log.all.count { $0.contains("audit: ") } == expected })
                let lines = it.log.all.filter { $0.contains("audit: ") }
                for line in lines {
                    #expect(line.hasPrefix("warning audit: command failed ") && line.utf8.count < 2_000)
                    #expect(!actsOnATerminal(line))
                }
                #expect(it.backend.seen.added.isEmpty && it.backend.seen.removed.isEmpty)
            }
        }

        /// Good requests have long texts too: what of them stands in the line is cut.
        @Test func theLineOfALongRequestIsShort() async throws {
            try await Fixture.with { it in
                let url = "opc.tcp://host/" + String(repeating: "x", count: 2_000)
                #expect(await it.client.unary("AddConnection", Sample.addConnection.string(3, url).bytes).code == .ok)
                #expect(await eventually { it.log.contains("audit: command ") })
                let line = try #require(it.log.all.first { $0.contains("audit: command ") })
                #expect(line.utf8.count < 2_000 && line.contains("endpoint_url=opc.tcp://host/xxx"))
            }
        }
    }
}
