import CScadaProto
import FoundationEssentials
import Testing

@testable import ControlAPI

extension GRPCMessage {
    var bytes: [UInt8] { withBytes { Array($0) } }
}

/// Values into bytes, taken apart by hand.
struct ResponseTests {
    private static func reading(_ change: (inout Reading) -> Void = { _ in }) -> Reading {
        var reading = Reading(
            wellID: TestBackend.well,
            tagNodeID: "ns=2;s=A",
            timestampMicros: 1,
            value: 1,
            quality: .good
        )
        change(&reading)
        return reading
    }

    @Test func everyFieldOfAReading() throws {
        let reading = Reading(
            wellID: TestBackend.well,
            tagNodeID: "ns=2;s=é",
            timestampMicros: 1_700_000_000_123_456,
            value: -2.5,
            quality: .uncertain,
            statusCode: 0x4094_0000,
            valueText: "off",
            min: -3,
            max: 9,
            count: 12
        )
        let page = try Unwired(ReadingsPage(readings: [reading], nextPageToken: "next").encoded().bytes)
        #expect(page.numbers == [1, 2] && page.string(2) == "next")
        let fields = try #require(try page.messages(1).first)
        #expect(fields.numbers == Array(1...12))
        #expect(fields.string(1) == Sample.well && fields.string(2) == "ns=2;s=é")
        #expect(fields.int(3) == 1_700_000_000 && fields.double(4) == -2.5 && fields.string(5) == "Uncertain")
        #expect(fields.int(6) == 1_700_000_000_123_456 && fields.string(7) == "off" && fields.int(8) == 0x4094_0000)
        #expect(fields.double(9) == -3 && fields.double(10) == 9 && fields.int(11) == 12 && fields.bool(12))
    }

    @Test func absentValuesTakeNoBytes() throws {
        let page = try Unwired(ReadingsPage(readings: [Self.reading { $0.value = nil }]).encoded().bytes)
        #expect(page.string(2).isEmpty)
        let fields = try #require(try page.messages(1).first)
        #expect(!fields.numbers.contains(4) && !fields.bool(12) && !fields.numbers.contains(8))
    }

    @Test(arguments: [
        (Int64(0), Int64(0)), (999_999, 0), (1_000_000, 1), (-1, -1), (-1_000_000, -1), (-1_000_001, -2),
        (.min, -9_223_372_036_855), (.max, 9_223_372_036_854),
    ])
    func secondsAreRoundedDown(micros: Int64, seconds: Int64) throws {
        let page = try Unwired(ReadingsPage(readings: [Self.reading { $0.timestampMicros = micros }]).encoded().bytes)
        #expect(try page.messages(1).first?.int(3) == seconds)
        #expect(try page.messages(1).first?.int(6) == micros)
    }

    @Test(arguments: [Double.nan, .infinity, -.infinity, -0.0, .leastNonzeroMagnitude, .greatestFiniteMagnitude])
    func everyDoubleComesThrough(value: Double) throws {
        let page = try Unwired(ReadingsPage(readings: [Self.reading { $0.value = value }]).encoded().bytes)
        let fields = try #require(try page.messages(1).first)
        #expect(fields.bool(12))
        #expect(fields.double(4).bitPattern == value.bitPattern || (value == 0 && fields.double(4) == 0))
        #expect(value.isNaN == fields.double(4).isNaN)
    }

    @Test func anEmptyPageIsEmpty() {
        #expect(ReadingsPage(readings: []).encoded().bytes.isEmpty)
    }

    /// To Swift these two are equal strings; to an OPC UA server they are different nodes.
    @Test func textsKeepTheirBytes() throws {
        let composed = "ns=2;s=\u{E9}"
        let decomposed = "ns=2;s=e\u{301}"
        let readings = [composed, decomposed, composed].map { node in Self.reading { $0.tagNodeID = node } }
        let page = try Unwired(ReadingsPage(readings: readings).encoded().bytes)
        let found = try page.messages(1).map { Array($0.string(2).utf8) }
        #expect(found == [composed, decomposed, composed].map { Array($0.utf8) })
    }

    @Test func nulBecomesAQuestionMark() throws {
        let page = try Unwired(ReadingsPage(readings: [Self.reading { $0.valueText = "a\u{0}b" }]).encoded().bytes)
        #expect(try page.messages(1).first?.string(7) == "a?b")
    }

    /// `encodedSize` is what the backend keeps pages within a message's bound by: never below the truth.
    @Test func encodedSizeIsAnUpperBound() {
        for length in [0, 1, 100, 127, 128, 16_383, 16_384, 2_100_000] {
            let reading = Reading(
                wellID: TestBackend.well,
                tagNodeID: String(repeating: "n", count: min(length, 4_096)),
                timestampMicros: .min,
                value: .pi,
                quality: .uncertain,
                statusCode: .max,
                valueText: String(repeating: "é", count: length),
                min: -1,
                max: 1,
                count: .min
            )
            let size = ReadingsPage(readings: [reading]).encoded().byteCount
            #expect(size <= reading.encodedSize && reading.encodedSize - size < 150)
        }
    }

    @Test func aPageBecomesMessagesWithinTheBound() throws {
        let readings = (0..<1_000).map { index in
            Self.reading {
                $0.timestampMicros = Int64(index)
                $0.valueText = String(repeating: "x", count: index == 500 ? 20_000 : index % 50)
            }
        }
        let page = ReadingsPage(readings: readings, nextPageToken: "next")
        let parts = Array(page.encodedParts(maxBytes: 10_000))
        var times: [Int64] = []
        for (index, part) in parts.enumerated() {
            let answer = try Unwired(part.bytes)
            let inside = try answer.messages(1)
            #expect(part.byteCount <= 10_000 || inside.count == 1)
            #expect(answer.string(2) == (index == parts.count - 1 ? "next" : ""))
            times.append(contentsOf: inside.map { $0.int(6) })
        }
        #expect(times == (0..<1_000).map(Int64.init))
        #expect(parts.count > 15)
        #expect(Array(page.encodedParts(maxBytes: 10_000_000)).count == 1)
        #expect(Array(ReadingsPage(readings: [], nextPageToken: "t").encodedParts(maxBytes: 1)).count == 1)
    }

    @Test func numbersAreClampedToTheirType() throws {
        let stats = AggregatorStats(
            bufferSize: .max,
            timeSinceLastFlush: nil,
            journalBytes: .max,
            backlogReadings: .max,
            oldestUnstoredAge: .seconds(Int64.max / 1_000)
        )
        let answer = try Unwired(stats.encoded(tenantID: TestBackend.tenant).bytes)
        #expect(answer.int(2) == Int64(Int32.max) && answer.int(3) == -1 && answer.int(4) == .max)
        #expect(answer.int(6) == Int64.max / 1_000 * 1_000)
    }

    @Test func everyFieldOfAConnection() throws {
        var status = ConnectionStatus(connectionID: TestBackend.connection, tenantID: TestBackend.tenant)
        status.name = "Pad 7"
        status.endpointURL = "opc.tcp://plc"
        status.securityMode = "Sign"
        status.securityPolicy = "Basic256Sha256"
        status.state = "connected"
        status.stateSinceMicros = 8
        status.lastError = "why"
        status.lastErrorAtMicros = 10
        status.tagsTotal = 11
        status.tagsBad = 12
        status.readingsReceived = 13
        status.lastReadingAtMicros = 14
        status.reconnects = 15
        status.publishingIntervalMillis = 16.5
        status.isEnabled = true
        status.owner = "host"
        let answer = try Unwired(ConnectionsPage(connections: [status]).encoded().bytes)
        let fields = try #require(try answer.messages(1).first)
        #expect(fields.numbers == Array(1...18))
        #expect(
            (1...7).map { fields.string($0) } == [
                Sample.connection, Sample.tenant, "Pad 7", "opc.tcp://plc", "Sign", "Basic256Sha256", "connected",
            ]
        )
        #expect(fields.int(8) == 8 && fields.string(9) == "why")
        #expect((10...15).map { fields.int($0) } == [10, 11, 12, 13, 14, 15])
        #expect(fields.double(16) == 16.5 && fields.bool(17) && fields.string(18) == "host")
    }

    @Test func everyFieldOfATenantsHealth() throws {
        var tenant = TenantHealth(tenantID: TestBackend.tenant, name: "North", status: .unhealthy)
        tenant.reason = "why"
        tenant.connectionsTotal = 5
        tenant.connectionsActive = 6
        tenant.isDatabaseReachable = true
        tenant.backlogReadings = 8
        tenant.oldestUnstoredAge = .milliseconds(9)
        let health = DaemonHealth(
            status: .healthy,
            activeConnections: 6,
            activeTenants: 1,
            version: "1",
            tenants: [tenant]
        )
        let fields = try #require(try Unwired(health.encoded().bytes).messages(5).first)
        #expect((1...4).map { fields.string($0) } == [Sample.tenant, "North", "unhealthy", "why"])
        #expect((5...9).map { fields.int($0) } == [5, 6, 1, 8, 9])
    }

    @Test func everyFieldOfATestReport() throws {
        var report = ConnectionTestReport(success: false)
        report.error = "why"
        report.failedStep = "tcp"
        report.connectTime = .microseconds(1_250)
        report.applicationName = "6"
        report.applicationURI = "7"
        report.productName = "8"
        report.manufacturer = "9"
        report.softwareVersion = "10"
        report.clockOffsetMillis = -12.5
        report.limits.maxMonitoredItemsPerCall = 1
        report.limits.maxNodesPerRead = 2
        report.limits.maxNodesPerBrowse = 3
        report.limits.maxMessageSize = 4
        report.limits.maxChunkCount = 5
        report.limits.minSamplingIntervalMillis = 6
        report.limits.maxSessions = 7
        report.limits.maxSubscriptions = 8
        report.limits.maxMonitoredItems = 9
        report.limits.historyRead = true
        var endpoint = EndpointDetails(endpointURL: "1", securityMode: "2", securityPolicy: "3")
        endpoint.userTokenTypes = ["a", "b"]
        endpoint.certificateThumbprint = "5"
        endpoint.certificateSHA256 = "6"
        endpoint.certificateSubject = "7"
        endpoint.certificateNotBeforeMicros = 8
        endpoint.certificateNotAfterMicros = 9
        endpoint.isCertificateTrusted = true
        endpoint.securityLevel = 255
        report.endpoints = [endpoint]
        let answer = try Unwired(report.encoded().bytes)
        #expect(!answer.bool(1) && answer.string(2) == "why" && answer.string(3) == "tcp" && answer.double(4) == 1.25)
        #expect((6...10).map { answer.string($0) } == ["6", "7", "8", "9", "10"])
        #expect(answer.double(12) == -12.5)
        let fields = try #require(try answer.messages(5).first)
        #expect((1...3).map { fields.string($0) } == ["1", "2", "3"] && fields.strings(4) == ["a", "b"])
        #expect((5...7).map { fields.string($0) } == ["5", "6", "7"])
        #expect((8...11).map { fields.int($0) } == [8, 9, 1, 255])
        let limits = try #require(try answer.messages(11).first)
        #expect([1, 2, 3, 4, 5, 7, 8, 9, 10].map { limits.int($0) } == [1, 2, 3, 4, 5, 7, 8, 9, 1])
        #expect(limits.double(6) == 6)
    }

    @Test func everyFieldOfANode() throws {
        var node = BrowsedNode(nodeID: "1", nodeClass: "5")
        node.parentNodeID = "2"
        node.browsePath = "3"
        node.displayName = "4"
        node.description = "6"
        node.hasChildren = true
        node.isReadable = true
        node.isHistoryReadable = true
        node.value = "10"
        node.quality = "11"
        node.dataType = "Double"
        node.unit = "bar"
        let answer = try Unwired(BrowsePage(nodes: [node], nextPageToken: "t").encoded().bytes)
        #expect(answer.string(2) == "t")
        let fields = try #require(try answer.messages(1).first)
        #expect((1...6).map { fields.string($0) } == ["1", "2", "3", "4", "5", "6"])
        #expect((7...9).map { fields.bool($0) } == [true, true, true])
        #expect(fields.string(10) == "10" && fields.string(11) == "11")
        let mapping = try #require(try fields.messages(12).first)
        #expect([1, 2, 3, 4, 9, 10].map { mapping.string($0) } == ["", "", "1", "Double", "4", "bar"])
    }

    @Test func everyFieldOfAGap() throws {
        let gap = Gap(
            gapID: "1",
            connectionID: TestBackend.connection,
            tagNodeID: "i=3",
            startedAtMicros: 4,
            endedAtMicros: 5,
            cause: "6",
            readingsLost: 0,
            healedAtMicros: 9,
            readingsRecovered: 10
        )
        let fields = try #require(try Unwired(GapsPage(gaps: [gap]).encoded().bytes).messages(1).first)
        #expect([1, 2, 3, 6].map { fields.string($0) } == ["1", Sample.connection, "i=3", "6"])
        #expect([4, 5, 7, 8, 9, 10].map { fields.int($0) } == [4, 5, 0, 1, 9, 10])
    }

    // MARK: - Status

    @Test func statusCodesHaveTheirNames() {
        #expect((Int32(0)...16).map { StatusCode(rawValue: $0).description }.count == 17)
        #expect(StatusCode.invalidArgument.description == "INVALID_ARGUMENT")
        #expect(StatusCode.unauthenticated.description == "UNAUTHENTICATED")
        #expect(StatusCode(rawValue: 17).description == "UNKNOWN" && StatusCode(rawValue: -1).description == "UNKNOWN")
    }

    @Test(arguments: [
        ("", 0), ("short", 5), (String(repeating: "x", count: 1_024), 1_024),
        (String(repeating: "x", count: 2_000), 1_024),
        (String(repeating: "x", count: 1_023) + "é", 1_023), (String(repeating: "x", count: 1_022) + "éé", 1_024),
        (String(repeating: "€", count: 1_000), 1_023), (String(repeating: "x", count: 1_021) + "😀", 1_021),
        (String(repeating: "x", count: 1_020) + "😀!", 1_024),
    ])
    func longStatusTextsAreCutBetweenCharacters(text: String, byteCount: Int) {
        let cut = ServerCall.statusText(text)
        #expect(cut.utf8.count == byteCount)
        #expect(text.utf8.starts(with: cut.utf8))
    }

    @Test func errorsSayWhetherTryingAgainHelps() {
        #expect(ControlError.unavailable("x").isRetryable)
        #expect(!ControlError.invalid("field", "is wrong").isRetryable)
        #expect(ControlError.invalid("field", "is wrong").description == "INVALID_ARGUMENT: field: is wrong")
        #expect(ControlError.permissionDenied("x").code == .permissionDenied)
        let denied = refusal { () throws(ControlError) in
            try Caller(tenants: .only([]), identity: "x").requireAccess(to: TestBackend.tenant)
        }
        #expect(denied?.code == .permissionDenied && denied?.message.contains(Sample.tenant) == true)
    }
}
