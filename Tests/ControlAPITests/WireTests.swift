import CScadaProto
import Testing

@testable import ControlAPI

/// Bytes from anywhere: refused with a reason or taken, and never a trap or a read beyond the end.
struct WireTests {
    /// Every request with every field set: the seeds of mutation.
    static let requests: [(name: String, bytes: [UInt8], decode: @Sendable ([UInt8]) -> ControlError?)] = [
        (
            "QueryReadings",
            Sample.query.int(3, 1).int(4, 2).string(5, "i=1").string(5, "ns=2;s=é").int(6, 7).string(7, "token").int(
                8,
                1
            )
            .int(9, 1_000_000).int(10, 2_000_000).bool(11, true).bytes,
            { bytes in refusal { () throws(ControlError) in try Decode.query(bytes) } }
        ),
        (
            "AddConnection",
            Sample.addConnection.string(4, "Sign").string(5, "Basic256Sha256").string(6, "u").string(7, "p")
                .message(
                    8,
                    Sample.tag().string(4, "Double").double(5, 1).int(6, 1).double(7, 1).string(9, "n").string(10, "u")
                )
                .message(8, Sample.tag(Sample.otherTag)).string(9, "n").int(10, 1_000).bytes,
            { bytes in refusal { () throws(ControlError) in try Decode.connection(bytes) } }
        ),
        (
            "ListConnections", Sample.list.string(2, Sample.connection).int(3, 5).string(4, "t").bytes,
            { bytes in refusal { () throws(ControlError) in try Decode.list(bytes) } }
        ),
        (
            "TestConnection", Sample.test.int(3, 100).bytes,
            { bytes in refusal { () throws(ControlError) in try Decode.test(bytes) } }
        ),
        (
            "BrowseNodes",
            Sample.browse.string(3, "i=1").int(4, 2).int(5, 3).string(6, "t").bool(7, true).string(8, "f").bool(9, true)
                .int(10, 100).bytes,
            { bytes in refusal { () throws(ControlError) in try Decode.browse(bytes) } }
        ),
        (
            "ListGaps",
            Sample.gaps.string(2, Sample.connection).int(3, 1).int(4, 2).bool(7, true).int(8, 10).string(9, "t").bytes,
            { bytes in refusal { () throws(ControlError) in try Decode.gaps(bytes) } }
        ),
    ]

    @Test(arguments: requests.indices)
    func seedsAreWellFormed(index: Int) {
        #expect(Self.requests[index].decode(Self.requests[index].bytes) == nil)
    }

    /// Cut anywhere: the inspector and protobuf-c say no, or the rest is a message of its own.
    @Test(arguments: requests.indices)
    func truncated(index: Int) {
        let (name, bytes, decode) = Self.requests[index]
        for length in 0..<bytes.count {
            let error = decode(Array(bytes.prefix(length)))
            #expect(error == nil || error?.code == .invalidArgument, "\(name) \(length)")
        }
    }

    /// One byte changed: every bit of it, and to the values that mean something to protobuf.
    @Test(arguments: requests.indices)
    func everyByteChanged(index: Int) async {
        let (name, bytes, decode) = Self.requests[index]
        for place in bytes.indices {
            var mutated = bytes
            for value in [0, 1, 2, 7, 0x0A, 0x12, 0x42, 0x7F, 0x80, 0xC3, 0xFF]
                + (0..<8).map({ bytes[place] ^ 1 << $0 })
            {
                mutated[place] = value
                let error = decode(mutated)
                if let error, error.code != .invalidArgument { Issue.record("\(name) \(place) \(value): \(error)") }
            }
            await Task.yield()
        }
    }

    /// Many bytes changed, inserted, removed and repeated.
    @Test(arguments: requests.indices)
    func mutated(index: Int) async {
        let (name, bytes, decode) = Self.requests[index]
        let seed = UInt64.random(in: .min ... .max)
        var random = SplitMix(state: seed)
        for round in 0..<1_000 {
            await Task.yield()
            var mutated = bytes
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                let place = Int.random(in: 0...mutated.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: mutated.insert(.random(in: .min ... .max, using: &random), at: place)
                case 1 where place < mutated.count: mutated.remove(at: place)
                case 2 where place < mutated.count: mutated[place] = .random(in: .min ... .max, using: &random)
                default:
                    let end = min(mutated.count, place + Int.random(in: 0...40, using: &random))
                    mutated.insert(contentsOf: mutated[place..<end], at: place)
                }
            }
            let error = decode(mutated)
            if let error, error.code != .invalidArgument {
                Issue.record("\(name), seed \(seed), round \(round): \(error)")
            }
        }
    }

    @Test func randomBytes() async {
        let seed = UInt64.random(in: .min ... .max)
        var random = SplitMix(state: seed)
        for round in 0..<1_000 {
            await Task.yield()
            let count = Int.random(in: 0...64, using: &random)
            let bytes = (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &random) }
            for (name, _, decode) in Self.requests {
                let error = decode(bytes)
                if error?.code != .invalidArgument {
                    // Without a tenant nothing is taken, and no random bytes hold one.
                    Issue.record("\(name), seed \(seed), round \(round): \(String(describing: error))")
                }
            }
        }
    }

    @Test(
        arguments: [
            ([0x0A], "a length is missing"), ([0x0A, 0x05, 0x61], "shorter than its length"),
            ([0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F], "length of 4 GiB"),
            ([0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], "length of 2^64 - 1"),
            ([0x18, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01], "varint of 11 bytes"),
            ([0x18, 0x80], "unfinished varint"), ([0x00, 0x00], "field number 0"), ([0x0B], "group"),
            ([0x0C], "end of group"),
            ([0x0E], "wire type 6"), ([0x0F], "wire type 7"), ([0x49, 1, 2, 3], "short fixed64"),
            ([0x4D, 1, 2], "short fixed32"),
            ([0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0x00], "field number above 2^29"),
        ] as [([UInt8], String)]
    )
    func malformed(bytes: [UInt8], what: String) {
        let error = refusal { () throws(ControlError) in try Decode.query(bytes) }
        #expect(
            error?.message == "the request holds bytes that are not a scada.QueryReadingsRequest message",
            "\(what)"
        )
    }

    /// A known field with the wrong wire type: protobuf-c refuses it as a whole.
    @Test(arguments: [Wire().int(1, 5), Wire().double(2, 1), Sample.query.string(6, "x"), Sample.query.double(3, 1)])
    func wrongWireType(wire: Wire) {
        #expect(refusal { () throws(ControlError) in try Decode.query(wire) }?.code == .invalidArgument)
    }

    @Test func nestingIsBounded() {
        // Descriptions of descriptions are the only recursive type around, and no request has one: the bound is reached
        // by the depth of the message types alone, which is 2.
        let wire = Sample.addConnection.message(8, Sample.tag().message(11, Wire().message(11, Wire())))
        #expect(refusal { () throws(ControlError) in try Decode.connection(wire) } == nil)
    }

    /// The inspector lets every text through that is UTF-8 without NUL, and nothing else.
    @Test(
        arguments: [
            ([0xC3, 0xA9], true), ([0xF0, 0x9F, 0x98, 0x80], true), ([0x7F], true), ([0xC0, 0x80], false),
            ([0xED, 0xA0, 0x80], false), ([0xF4, 0x90, 0x80, 0x80], false), ([0xE2, 0x82], false), ([0x80], false),
            ([0x00], false), ([0x61, 0x00], false), ([0xFF], false),
        ] as [([UInt8], Bool)]
    )
    func texts(bytes: [UInt8], isText: Bool) {
        let error = refusal { () throws(ControlError) in
            try Decode.connection(Sample.addConnection.data(9, bytes))
        }
        #expect((error == nil) == isText, "\(error?.message ?? "taken")")
        if let error { #expect(error.field == "name") }
    }

    @Test func elementsAreCounted() {
        let wire = Sample.query.string(5, "i=1").string(5, "i=2").data(5, [0xFF])
        #expect(refusal { () throws(ControlError) in try Decode.query(wire) }?.field == "tag_node_ids[2]")
    }

    /// The same message field twice is merged (protobuf's rule), as protobuf-c does it.
    @Test func messagesMerge() throws {
        let wire = Wire().string(1, Sample.tenant).message(2, Wire().string(2, "opc.tcp://a").string(5, "u"))
            .message(2, Wire().string(2, "opc.tcp://b"))
        let probe = try Decode.test(wire.bytes)
        guard case .endpoint(let settings) = probe.target else {
            Issue.record("not an endpoint")
            return
        }
        #expect(settings.endpointURL == "opc.tcp://b" && settings.username == "u")
    }
}

/// A small generator with a seed (splitmix64), so that a failure can be repeated.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
