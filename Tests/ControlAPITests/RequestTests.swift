import FoundationEssentials
import Testing

@testable import ControlAPI

/// Every field of every request: where it arrives, and its bounds.
struct RequestTests {
    // MARK: - QueryReadings, StreamReadings

    @Test func queryHasDefaults() throws {
        let query = try Decode.query(Sample.query)
        #expect(query.tenantID == TestBackend.tenant)
        #expect(query.wellID == TestBackend.well)
        #expect(query.range == TimeRange(startMicros: nil, endMicros: nil))
        #expect(query.tagNodeIDs.isEmpty)
        #expect(query.limit == 10_000)
        #expect(query.pageToken == nil)
        #expect(query.resolution == .raw)
        #expect(!query.ascending)
        #expect(query.maxPageBytes < 4 * 1_024 * 1_024)
    }

    @Test func queryTakesEveryField() throws {
        let wire = Sample.query.int(3, 100).int(4, 200).string(5, "i=1").string(5, "ns=2;s=B").int(6, 77)
            .string(7, "token").int(8, 2).int(9, 150_000_001).int(10, 160_000_002).bool(11, true)
        let query = try Decode.query(wire)
        #expect(query.range == TimeRange(startMicros: 150_000_001, endMicros: 160_000_002))
        #expect(query.tagNodeIDs == ["i=1", "ns=2;s=B"])
        #expect(query.limit == 77)
        #expect(query.pageToken == "token")
        #expect(query.resolution == .daily)
        #expect(query.ascending)
    }

    /// The message as the clients that existed before this server send it.
    @Test func queryTakesTheOriginalFieldsAlone() throws {
        let query = try Decode.query(Sample.query.int(3, 100).int(4, 200))
        #expect(query.range == TimeRange(startMicros: 100_000_000, endMicros: 200_999_999))
    }

    /// Pages of a stream are cut so small that each is one message and carries its own token.
    @Test func streamedPagesFitOneMessage() throws {
        let query = try Decode.query(Sample.query, streamed: true)
        #expect(query.limit == 5_000)
        #expect(query.maxPageBytes <= CallDispatcher.streamMessageBytes)
        #expect(try Decode.query(Sample.query.int(6, 9), streamed: true).limit == 9)
    }

    @Test(arguments: Resolution.allCases)
    func queryTakesResolution(resolution: Resolution) throws {
        #expect(try Decode.query(Sample.query.int(8, Int64(resolution.rawValue))).resolution == resolution)
    }

    @Test func queryIgnoresUnknownFields() throws {
        let wire = Sample.query.int(99, 5).string(100, "\u{0}").double(101, 1).message(2_000, Wire().int(1, 1))
        #expect(try Decode.query(wire) == Decode.query(Sample.query))
    }

    /// protobuf: the last value of a field that is not repeated counts.
    @Test func lastValueCounts() throws {
        #expect(
            try Decode.query(Wire().string(1, "x").string(2, "y").string(1, Sample.tenant).string(2, Sample.well)).limit
                == 10_000
        )
    }

    @Test(arguments: [
        (Wire(), "tenant_id"), (Wire().string(1, Sample.tenant), "well_id"),
        (Wire().string(1, "x").string(2, Sample.well), "tenant_id"), (Sample.query.string(2, "x"), "well_id"),
        (Sample.query.int(3, 2).int(4, 1), "end_time"), (Sample.query.int(3, .max), "start_time"),
        (Sample.query.string(5, "i=1").string(5, "nonsense"), "tag_node_ids[1]"),
        (Sample.query.string(5, ""), "tag_node_ids[0]"), (Sample.query.int(6, -1), "limit"),
        (Sample.query.int(6, 10_001), "limit"), (Sample.query.string(7, "a b"), "page_token"),
        (Sample.query.int(8, 4), "resolution"), (Sample.query.int(8, -1), "resolution"),
        (Sample.query.int(9, .min), "start_time_micros"), (Sample.query.int(10, .max), "end_time_micros"),
        (Sample.query.int(9, 2).int(10, 1), "end_time_micros"),
        (
            (0...Bounds.tagFilters).reduce(Sample.query) { wire, index in wire.string(5, "i=\(index + 1)") },
            "tag_node_ids"
        ),
        (Sample.query.data(1, [0xFF]), "tenant_id"), (Sample.query.string(5, "s=a\u{0}b"), "tag_node_ids[0]"),
    ])
    func queryNamesTheFieldAtFault(wire: Wire, field: String) {
        Self.expect(refusal { () throws(ControlError) in try Decode.query(wire) }, field)
    }

    @Test func queryTakesAsManyTagsAsPromised() throws {
        let wire = (1...Bounds.tagFilters).reduce(Sample.query) { wire, index in wire.string(5, "i=\(index)") }
        #expect(try Decode.query(wire).tagNodeIDs.count == 1_000)
    }

    // MARK: - AddConnection

    @Test func connectionHasDefaults() throws {
        let connection = try Decode.connection(Sample.addConnection)
        #expect(connection.connectionID == TestBackend.connection)
        #expect(connection.tenantID == TestBackend.tenant)
        #expect(connection.endpoint.endpointURL == "opc.tcp://10.0.0.7:4840")
        #expect(connection.endpoint.securityMode == .none)
        #expect(connection.endpoint.securityPolicy == .none)
        #expect(connection.endpoint.username.isEmpty && connection.endpoint.password.isEmpty)
        #expect(connection.tags.isEmpty)
        #expect(connection.name.isEmpty)
        #expect(connection.publishingIntervalMillis == nil)
    }

    @Test func connectionTakesEveryField() throws {
        let tag = Sample.tag().string(4, "Double").double(5, 250.5).int(6, 10).double(7, 0.5).string(9, "Pressure")
            .string(10, "bar")
        let other = Sample.tag(Sample.otherTag).double(5, -1).double(8, 2.5)
        let wire = Sample.addConnection.string(4, "SignAndEncrypt").string(5, "Basic256Sha256").string(6, "operator")
            .string(7, "hunter2").message(8, tag).message(8, other).string(9, "Pad 7").int(10, 500)
        let connection = try Decode.connection(wire)
        #expect(connection.endpoint.securityMode == .signAndEncrypt)
        #expect(connection.endpoint.securityPolicy == .basic256Sha256)
        #expect(connection.endpoint.username == "operator")
        #expect(connection.endpoint.password.value == "hunter2")
        #expect(connection.name == "Pad 7")
        #expect(connection.publishingIntervalMillis == 500)
        let tags = connection.tags
        try #require(tags.count == 2)
        #expect(tags[0].tagID == Sample.uuid(Sample.tag) && tags[0].wellID == TestBackend.well)
        #expect(tags[0].nodeID == "ns=2;s=Well1.Pressure")
        #expect(tags[0].dataType == "Double" && tags[0].name == "Pressure" && tags[0].unit == "bar")
        #expect(tags[0].samplingIntervalMillis == 250.5 && tags[0].queueSize == 10)
        #expect(tags[0].deadbandAbsolute == 0.5 && tags[0].deadbandPercent == nil)
        #expect(tags[1].samplingIntervalMillis == -1 && tags[1].queueSize == nil)
        #expect(tags[1].deadbandAbsolute == nil && tags[1].deadbandPercent == 2.5)
    }

    @Test(arguments: [
        (Sample.addConnection.string(1, ""), "connection_id"), (Sample.addConnection.string(2, "x"), "tenant_id"),
        (Sample.addConnection.string(3, ""), "endpoint_url"), (Sample.addConnection.string(4, "x"), "security_mode"),
        (Sample.addConnection.string(5, "x"), "security_policy"),
        (Sample.addConnection.string(7, "hunter2"), "username"),
        (Sample.addConnection.string(9, String(repeating: "n", count: 257)), "name"),
        (Sample.addConnection.int(10, 9), "publishing_interval_ms"),
        (Sample.addConnection.int(10, -1), "publishing_interval_ms"),
        (Sample.addConnection.int(10, 3_600_001), "publishing_interval_ms"),
        (Sample.addConnection.string(9, "a\u{0}b"), "name"), (Sample.addConnection.data(7, [0xC3]), "password"),
    ])
    func connectionNamesTheFieldAtFault(wire: Wire, field: String) {
        let error = refusal { () throws(ControlError) in try Decode.connection(wire) }
        Self.expect(error, field)
        #expect(error?.message.contains("hunter2") == false)
    }

    @Test(arguments: [
        (Sample.tag(""), "tag_id"), (Sample.tag().string(1, "x"), "tag_id"), (Sample.tag().string(2, "x"), "well_id"),
        (Sample.tag().string(3, ""), "node_id"), (Sample.tag().string(3, "i=0"), "node_id"),
        (Sample.tag().string(4, String(repeating: "d", count: 129)), "data_type"),
        (Sample.tag().double(5, -2), "sampling_interval_ms"), (Sample.tag().double(5, .nan), "sampling_interval_ms"),
        (Sample.tag().double(5, .infinity), "sampling_interval_ms"),
        (Sample.tag().double(5, 3_600_000.5), "sampling_interval_ms"), (Sample.tag().int(6, 100_001), "queue_size"),
        (Sample.tag().double(7, -0.1), "deadband_absolute"), (Sample.tag().double(7, .infinity), "deadband_absolute"),
        (Sample.tag().double(7, .nan), "deadband_absolute"), (Sample.tag().double(8, 100.1), "deadband_percent"),
        (Sample.tag().double(8, -1), "deadband_percent"), (Sample.tag().double(8, .nan), "deadband_percent"),
        (Sample.tag().double(7, 1).double(8, 1), "deadband_percent"),
        (Sample.tag().string(9, String(repeating: "n", count: 257)), "name"),
        (Sample.tag().string(10, String(repeating: "u", count: 65)), "unit"),
        (Sample.tag().string(10, "\u{0}"), "unit"), (Sample.tag().data(9, [0x80]), "name"), (Wire(), "tag_id"),
    ])
    func connectionNamesTheTagAtFault(tag: Wire, field: String) {
        let wire = Sample.addConnection.message(8, Sample.tag(Sample.otherTag)).message(8, tag)
        Self.expect(refusal { () throws(ControlError) in try Decode.connection(wire) }, "tags[1].\(field)")
    }

    @Test func tagIDsDiffer() {
        let wire = Sample.addConnection.message(8, Sample.tag()).message(8, Sample.tag(Sample.otherTag))
            .message(8, Sample.tag(Sample.tag.uppercased()))
        let error = refusal { () throws(ControlError) in try Decode.connection(wire) }
        #expect(error?.message == "tags[2].tag_id: is the same as tags[0].tag_id")
    }

    @Test func tagsAreBounded() throws {
        var wire = Sample.addConnection
        for _ in 0...Bounds.tags { wire = wire.message(8, Wire()) }
        Self.expect(refusal { () throws(ControlError) in try Decode.connection(wire) }, "tags")
        // More than the inspector lets through at all: refused before memory is taken for them.
        for _ in 0...WireInspector.maxFieldsPerMessage - Bounds.tags { wire = wire.message(8, Wire()) }
        let error = refusal { () throws(ControlError) in try Decode.connection(wire) }
        #expect(error?.message == "the request has more than 65536 fields")
    }

    // MARK: - The others

    @Test func listTakesEveryField() throws {
        let plain = try Decode.list(Sample.list.bytes)
        #expect(
            plain == ConnectionsQuery(tenantID: TestBackend.tenant, connectionID: nil, limit: 1_000, pageToken: nil)
        )
        let query = try Decode.list(Sample.list.string(2, Sample.connection).int(3, 5).string(4, "t").bytes)
        #expect(query.connectionID == TestBackend.connection && query.limit == 5 && query.pageToken == "t")
    }

    @Test(arguments: [
        (Wire(), "tenant_id"), (Sample.list.string(2, "x"), "connection_id"), (Sample.list.int(3, 1_001), "limit"),
        (Sample.list.string(4, " "), "page_token"),
    ])
    func listNamesTheFieldAtFault(wire: Wire, field: String) {
        Self.expect(refusal { () throws(ControlError) in try Decode.list(wire.bytes) }, field)
    }

    @Test func testTakesEveryField() throws {
        let target = Wire().string(2, "opc.tcp://plc").string(3, "Sign").string(4, "Basic256Sha256").string(5, "u")
            .string(6, "p")
        let probe = try Decode.test(Wire().string(1, Sample.tenant).message(2, target).int(3, 250).bytes)
        #expect(probe.tenantID == TestBackend.tenant && probe.timeout == .milliseconds(250))
        let settings = EndpointSettings(
            endpointURL: "opc.tcp://plc",
            securityMode: .sign,
            securityPolicy: .basic256Sha256,
            username: "u",
            password: Secret("p")
        )
        #expect(probe.target == .endpoint(settings))
        let stored = try Decode.test(
            Wire().string(1, Sample.tenant).message(2, Wire().string(1, Sample.connection)).bytes
        )
        #expect(stored.target == .stored(TestBackend.connection) && stored.timeout == .seconds(10))
    }

    @Test(arguments: [
        (Wire().string(1, Sample.tenant), "target"), (Wire().message(2, Sample.endpointTarget), "tenant_id"),
        (Wire().string(1, Sample.tenant).message(2, Wire()), "target.endpoint_url"),
        (Sample.test.message(2, Wire().string(1, "x")), "target.connection_id"),
        (Sample.test.int(3, 60_001), "timeout_ms"), (Sample.test.int(3, -1), "timeout_ms"),
        (Sample.test.message(2, Wire().string(3, "Sign")), "target.security_policy"),
        (Sample.test.message(2, Wire().string(6, "hunter2")), "target.username"),
        (Sample.test.message(2, Wire().string(5, "a\u{0}")), "target.username"),
    ])
    func testNamesTheFieldAtFault(wire: Wire, field: String) {
        Self.expect(refusal { () throws(ControlError) in try Decode.test(wire.bytes) }, field)
    }

    /// A stored password must not be sent to a server of the caller's choice.
    @Test(arguments: 2...6)
    func storedTargetsGoWithNothingElse(number: Int) {
        let target = Wire().string(1, Sample.connection).string(number, "x")
        let error = refusal { () throws(ControlError) in
            try Decode.test(Wire().string(1, Sample.tenant).message(2, target).bytes)
        }
        #expect(error?.message.hasSuffix("does not go together with target.connection_id") == true)
    }

    @Test func browseTakesEveryField() throws {
        let plain = try Decode.browse(Sample.browse.bytes)
        #expect(plain.nodeID == "i=85" && plain.maxDepth == 1 && plain.limit == 1_000 && plain.pageToken == nil)
        #expect(!plain.variablesOnly && plain.filter.isEmpty && !plain.readValues && plain.timeout == .seconds(10))
        let wire = Sample.browse.string(3, "ns=2;s=Pad").int(4, 32).int(5, 10_000).string(6, "t").bool(7, true)
            .string(8, "Press").bool(9, true).int(10, 60_000)
        let query = try Decode.browse(wire.bytes)
        #expect(query.nodeID == "ns=2;s=Pad" && query.maxDepth == 32 && query.limit == 10_000)
        #expect(query.pageToken == "t" && query.variablesOnly && query.filter == "Press" && query.readValues)
        #expect(query.timeout == .seconds(60))
    }

    @Test(arguments: [
        (Wire(), "tenant_id"), (Wire().string(1, Sample.tenant), "target"), (Sample.browse.string(3, "x"), "node_id"),
        (Sample.browse.int(4, 33), "max_depth"), (Sample.browse.int(4, -1), "max_depth"),
        (Sample.browse.int(5, 10_001), "limit"), (Sample.browse.string(6, "é"), "page_token"),
        (Sample.browse.string(8, String(repeating: "f", count: 257)), "filter"),
        (Sample.browse.int(10, 60_001), "timeout_ms"),
    ])
    func browseNamesTheFieldAtFault(wire: Wire, field: String) {
        Self.expect(refusal { () throws(ControlError) in try Decode.browse(wire.bytes) }, field)
    }

    @Test func gapsTakeEveryField() throws {
        let plain = try Decode.gaps(Sample.gaps.bytes)
        #expect(plain.tenantID == TestBackend.tenant && plain.connectionID == nil && !plain.unhealedOnly)
        #expect(plain.range == TimeRange(startMicros: nil, endMicros: nil) && plain.limit == 1_000)
        let wire = Sample.gaps.string(2, Sample.connection).int(3, 1).int(4, 9).int(5, 2_000_000).int(6, 3_000_000)
            .bool(7, true).int(8, 10).string(9, "t")
        let query = try Decode.gaps(wire.bytes)
        #expect(query.connectionID == TestBackend.connection && query.unhealedOnly && query.limit == 10)
        #expect(query.range == TimeRange(startMicros: 2_000_000, endMicros: 3_000_000) && query.pageToken == "t")
        #expect(try Decode.gaps(Sample.gaps.int(3, 1).int(4, 9).bytes).range.endMicros == 9_999_999)
    }

    @Test(arguments: [
        (Wire(), "tenant_id"), (Sample.gaps.string(2, "x"), "connection_id"),
        (Sample.gaps.int(3, 2).int(4, 1), "end_time"), (Sample.gaps.int(5, .min), "start_time_micros"),
        (Sample.gaps.int(8, 1_001), "limit"), (Sample.gaps.string(9, "a b"), "page_token"),
    ])
    func gapsNameTheFieldAtFault(wire: Wire, field: String) {
        Self.expect(refusal { () throws(ControlError) in try Decode.gaps(wire.bytes) }, field)
    }

    private static func expect(_ error: ControlError?, _ field: String) {
        #expect(error?.code == .invalidArgument)
        #expect(error?.message.hasPrefix("\(field): ") == true, "\(error?.message ?? "taken")")
    }
}
