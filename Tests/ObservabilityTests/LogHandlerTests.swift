import Logging
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

@testable import Observability

@Suite("Log lines")
struct LogHandlerTests {
    struct Failure: Error, CustomStringConvertible {
        var description: String { "it \"broke\"" }
    }

    func json(_ message: String, fields: [(key: String, value: Logger.MetadataValue)] = []) -> String {
        let line = JSONLogHandler.line(milliseconds: 0, level: .info, message: message, source: "M", fields: fields)
        return String(decoding: line, as: UTF8.self)
    }

    @Test func jsonShape() {
        #expect(
            json("a \"b\"\n", fields: [("tenant_id", "t"), ("count", .stringConvertible(3))])
                == #"{"timestamp":"1970-01-01T00:00:00.000Z","level":"info","message":"a \"b\"\n","source":"M","#
                + #""tenant_id":"t","count":3}"# + "\n"
        )
    }

    @Test func jsonTypes() {
        let fields: [(key: String, value: Logger.MetadataValue)] = [
            ("u", .stringConvertible(UInt64.max)), ("d", .stringConvertible(1.5)), ("b", .stringConvertible(true)),
            ("n", .stringConvertible(Double.nan)), ("s", "12"), ("level", "x"),
            ("list", .array(["1", .stringConvertible(2)])), ("map", .dictionary(["z": "1", "a": .array([])])),
        ]
        #expect(
            json("", fields: fields).hasSuffix(
                #""u":18446744073709551615,"d":1.5,"b":true,"n":null,"s":"12","_level":"x","list":["1",2],"#
                    + #""map":{"a":[],"z":"1"}}"# + "\n"
            )
        )
    }

    @Test func longTextsAreCut() {
        let line = json(
            String(repeating: "x", count: 1 << 16),
            fields: [("k", .string(String(repeating: "y", count: 1 << 16)))]
        )
        #expect(line.utf8.count < 20_000)
        #expect(line.contains("x…\"") && line.contains("y…\""))
    }

    @Test func textShape() {
        let line = TextLogHandler.line(
            milliseconds: 45_296_789,
            level: .warning,
            message: "cannot\u{1B}[2J\nconnect",
            fields: [("a", "1"), ("b", "two words"), ("c", "")],
            usesColor: false
        )
        #expect(
            String(decoding: line, as: UTF8.self)
                == "12:34:56.789 warning  cannot\\u{1b}[2J\\nconnect  a=1  b=\"two words\"  c=\"\"\n"
        )
    }

    @Test func fieldsOfLoggerProviderStatementAndError() throws {
        let capture = try CapturedLog(format: .json)
        let provider = Logger.MetadataProvider { ["p": "provider", "both": "provider", "all": "provider"] }
        var logger = capture.logger(level: .info, metadataProvider: provider)
        logger[metadataKey: "l"] = "logger"
        logger[metadataKey: "both"] = "logger"
        logger[metadataKey: "all"] = "logger"
        logger.error("failed", error: Failure(), metadata: ["all": "statement"])
        logger.debug("not shown")
        var copy = logger
        copy[metadataKey: "l"] = "copy"
        copy.logLevel = .debug
        copy.debug("shown")
        logger.notice("third")
        let lines = capture.lines()
        try #require(lines.count == 3)
        #expect(
            lines[0].hasSuffix(
                #""level":"error","message":"failed","source":"ObservabilityTests","all":"statement","both":"provider","#
                    + #""error":"it \"broke\"","error_type":"Failure","l":"logger","p":"provider"}"#
            )
        )
        #expect(lines[1].contains(#""message":"shown""#) && lines[1].contains(#""l":"copy""#))
        #expect(lines[2].contains(#""l":"logger""#))
    }

    @Test func oneWriteALine() throws {
        let capture = try CapturedLog(format: .text, isPacketwise: true)
        let logger = capture.logger()
        for number in 0..<3 { logger.info("line \(number)", metadata: ["x": "y"]) }
        for number in 0..<3 {
            let line = try #require(capture.read())
            #expect(line.hasSuffix("info     line \(number)  x=y\n") && line.filter { $0 == "\n" }.count == 1)
        }
    }

    @Test(arguments: [false, true])
    func aReaderThatStopsCostsLinesNotTime(nonBlocking: Bool) throws {
        let capture = try CapturedLog(format: .json, limit: 100_000)
        if nonBlocking {
            try #require(fcntl(capture.writeEnd, F_SETFL, fcntl(capture.writeEnd, F_GETFL) | O_NONBLOCK) == 0)
        }
        let logger = capture.logger()
        // Far more than a pipe (64 KiB) and the bound hold together; nobody reads.
        let count = 2000
        for number in 0..<count { logger.info("filler", metadata: ["number": .stringConvertible(number)]) }
        #expect(!capture.output.flush(atMost: .milliseconds(1)))
        let dropped = capture.output.dropped
        #expect(dropped > 0)
        var text = ""
        // Only the end is searched: what is read may come in thousands of pieces.
        while !text.suffix(400).contains("were dropped") { text += try #require(capture.read(most: 200)) }
        logger.info("last")
        while !text.suffix(400).contains("\"last\"") { text += try #require(capture.read(most: 200)) }
        #expect(capture.output.flush(atMost: .seconds(20)))
        let lines = text.split(separator: "\n")
        #expect(lines.count { $0.contains("filler") } == count - dropped)
        #expect(lines.count { $0.contains("\"dropped\":\(dropped)}") } == 1)
        // In order, the oldest first.
        let numbers = lines.filter { $0.contains("filler") }.enumerated()
        #expect(numbers.allSatisfy { $1.contains("\"number\":\($0)}") })
    }

    @Test func whatWasLoggedLeavesBeforeTheProcessDoes() async throws {
        let result = try await #require(processExitsWith: .exitCode(69), observing: [\.standardErrorContent]) {
            LoggingSetup.bootstrap(level: .info, format: .json)
            let logger = Logger(label: "test")
            for number in 0..<500 { logger.info("line", metadata: ["number": .stringConvertible(number)]) }
            exit(69)
        }
        let text = String(decoding: result.standardErrorContent, as: UTF8.self)
        #expect(text.split(separator: "\n").count { $0.contains(#""message":"line""#) } == 500)
        #expect(text.hasSuffix("\"number\":499}\n"))
    }

    @Test func aReaderThatIsGoneIsNoSignal() throws {
        var ends: [Int32] = [0, 0]
        try #require(pipe(&ends) == 0)
        close(ends[0])
        let output = LoggingSetup.output(format: .json, descriptor: ends[1])
        output.write(Array("x\n".utf8))
        #expect(output.flush(atMost: .seconds(20)))
        #expect(output.dropped == 1)
        output.close()
        close(ends[1])
    }
}
