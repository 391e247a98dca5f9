import OPCUACodec
import Testing

@testable import scada_simulator

@Suite struct HistoryTests {
    @Test(arguments: [1, 2, 3, 7, 100])
    func `the newest samples are kept, sorted by time`(capacity: Int) {
        var generator = SeededGenerator(seed: UInt64(capacity))
        var history = History(tags: 2, capacity: capacity)
        var model: [Int64] = []
        for number in 1...200 {
            // Mostly forward, sometimes back.
            let time = Int64(number * 10) - (number % 7 == 0 ? Int64.random(in: 0...60, using: &generator) : 0)
            let sample = Sample(value: 0, source: time, count: UInt32(number), status: 0)
            history.append(sample, tag: 1)
            if model.count == capacity { model.removeFirst() }
            model.append(time)
            model.sort()
            let positions = history.positions(ofTag: 1)
            #expect(positions.map { history.sample(ofTag: 1, at: $0).source } == model)
            let wanted = Int64(number * 10 - 35)
            let expected = positions.lowerBound + (model.firstIndex { $0 >= wanted } ?? model.count)
            #expect(history.position(ofTag: 1, notBefore: wanted) == expected)
        }
        #expect(history.positions(ofTag: 0).isEmpty)
    }
}

@Suite struct HistoryReadTests {
    /// Counter values 1…51 of the first tag, 100 ms apart: 2 at 10 ms, then every 100 ms.
    private func recorded() throws -> TestClient {
        let server = FieldServer(
            FieldServer.Configuration(
                layout: FieldLayout(seed: 1, wells: 0..<1, counters: true),
                rate: 100,
                endpointURL: "opc.tcp://localhost:4840",
                applicationURI: "urn:test",
                epoch: TestClient.epoch,
                historyMinutes: 1
            )
        )
        let client = TestClient(server)
        try client.connect()
        client.advance(milliseconds: 5_000)
        return client
    }

    private func time(_ milliseconds: Int64) -> DateTime { DateTime(ticks: TestClient.epoch + milliseconds * 10_000) }

    private func request(
        _ start: DateTime,
        _ end: DateTime,
        maximum: UInt32 = 0,
        bounds: Bool = false,
        point: [UInt8]? = nil,
        node: NodeId = NodeId(2, TestClient.tag)
    ) -> HistoryReadRequest {
        HistoryReadRequest(
            historyReadDetails: ExtensionObject(
                ReadRawModifiedDetails(
                    startTime: start,
                    endTime: end,
                    numValuesPerNode: maximum,
                    returnBounds: bounds
                )
            ),
            timestampsToReturn: .source,
            nodesToRead: [HistoryReadValueId(nodeId: node, continuationPoint: point)]
        )
    }

    private func values(_ result: HistoryReadResult) throws -> [Double] {
        let data = try #require(try result.historyData.decoded(as: HistoryData.self))
        return data.dataValues.map { value in
            guard case .double(let number) = value.value else { return -1 }
            return number
        }
    }

    private func read(_ client: TestClient, _ request: HistoryReadRequest) throws -> [Double] {
        let result = try client.call(request).results[0]
        #expect(result.continuationPoint == nil)
        return try values(result)
    }

    @Test func `the start is included and the end is not, in both directions`() throws {
        let client = try recorded()
        #expect(try read(client, request(time(10), time(310))) == [2, 3, 4])
        #expect(try read(client, request(time(11), time(311))) == [3, 4, 5])
        #expect(try read(client, request(time(310), time(10))) == [5, 4, 3])
        #expect(try read(client, request(time(110), time(110))) == [3])
        #expect(try read(client, request(time(0), time(100_000))).count == 51)
    }

    @Test func `start or end alone go with a number`() throws {
        let client = try recorded()
        let forward = try client.call(request(time(10), .null, maximum: 3)).results[0]
        #expect(try values(forward) == [2, 3, 4])
        let backward = try client.call(request(.null, time(210), maximum: 3)).results[0]
        #expect(try values(backward) == [4, 3, 2])
        #expect(try client.call(request(time(10), .null)).results[0].statusCode == .badHistoryOperationInvalid)
    }

    @Test(arguments: [false, true])
    func `pages come one after the other without hole or repetition`(backwards: Bool) throws {
        let client = try recorded()
        let (start, end) = backwards ? (time(100_000), time(-1)) : (time(0), time(100_000))
        var result = try client.call(request(start, end, maximum: 10)).results[0]
        var all = try values(result)
        var pages = 1
        while let point = result.continuationPoint {
            #expect(try values(result).count == 10)
            result = try client.call(request(start, end, maximum: 10, point: point)).results[0]
            all += try values(result)
            pages += 1
        }
        #expect(pages == 6)
        #expect(all == (backwards ? (1...51).reversed() : Array(1...51)).map(Double.init))
        let stale = try client.call(request(start, end, point: [1, 2, 3])).results[0]
        #expect(stale.statusCode == .badContinuationPointInvalid)
    }

    @Test func `bounds are the neighbours, or say that there are none`() throws {
        let client = try recorded()
        #expect(try read(client, request(time(60), time(260), bounds: true)) == [2, 3, 4, 5])
        #expect(try read(client, request(time(110), time(310), bounds: true)) == [3, 4, 5])
        #expect(try read(client, request(time(260), time(60), bounds: true)) == [5, 4, 3, 2])
        // Nothing before the first value, nothing after the last one.
        #expect(try read(client, request(time(-10), time(5), bounds: true)) == [-1, 1, 2])
        #expect(try read(client, request(time(4_850), time(90_000), bounds: true)) == [50, 51, -1])
    }

    @Test func `what has no history or no values says so`() throws {
        let client = try recorded()
        #expect(try client.call(request(time(-90), time(-50))).results[0].statusCode == .goodNoData)
        let nodes = [
            (NodeId(2, "Nowhere"), StatusCode.badNodeIdUnknown), (NodeId(2258), .badHistoryOperationUnsupported),
        ]
        for (node, status) in nodes {
            #expect(try client.call(request(time(0), time(50), node: node)).results[0].statusCode == status)
        }
        let none = TestClient(TestClient.server())
        try none.connect()
        #expect(
            try none.call(request(time(0), time(50))).results[0].statusCode == .badHistoryOperationUnsupported
        )
    }
}
