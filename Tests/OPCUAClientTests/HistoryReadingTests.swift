import OPCUACodec
import Testing

@testable import OPCUAClient

@Suite("Reading history")
struct HistoryReadingTests {
    /// A server in miniature with `stored` values of each node, `perAnswer` in one answer, that gives at most
    /// `points` continuation points.
    static func run(
        _ reading: inout HistoryReading,
        stored: [Int],
        points: Int = .max,
        calls limit: Int = 1000
    ) -> (calls: Int, delivered: [Int], released: Int, mostOpen: Int) {
        var delivered = stored.map { _ in 0 }
        var calls = 0
        var released = 0
        var mostOpen = 0
        while calls < limit {
            let queries = reading.next()
            if queries.isEmpty { break }
            calls += 1
            var given = 0
            for query in queries {
                let left = stored[query.index] - delivered[query.index]
                let values = min(left, reading.valuesPerAnswer)
                var status = StatusCode.good
                if left > values {
                    given += 1
                    if given > points { status = .badNoContinuationPoints }
                }
                let step = reading.answered(
                    query,
                    status: status,
                    continuationPoint: left > values && status.isGood
                        ? [UInt8(query.index), UInt8(truncatingIfNeeded: calls)] : nil,
                    values: status.isGood ? values : 0,
                    last: DateTime(ticks: Int64(delivered[query.index] + values))
                )
                if step == .deliver { delivered[query.index] += values }
            }
            mostOpen = max(mostOpen, reading.openContinuationPoints.count)
            released += reading.takeReleases().count
        }
        return (calls, delivered, released, mostOpen)
    }

    @Test func readsManyNodesInFewCalls() {
        var reading = HistoryReading(nodes: 25, nodesPerCall: 10, maximumValues: 10_000)
        let end = Self.run(&reading, stored: Array(repeating: 3, count: 25))
        #expect(end.calls == 3)
        #expect(reading.outcomes.allSatisfy { $0 == .complete(values: 3) })
    }

    @Test func followsContinuationPoints() {
        var reading = HistoryReading(nodes: 3, nodesPerCall: 2, maximumValues: 10_000)
        let end = Self.run(&reading, stored: [2500, 0, 1001])
        #expect(end.delivered == [2500, 0, 1001])
        #expect(reading.outcomes == [.complete(values: 2500), .complete(values: 0), .complete(values: 1001)])
        #expect(end.mostOpen <= 2)
        #expect(reading.openContinuationPoints.isEmpty)
    }

    @Test func stopsAtTheMaximumAndReleases() {
        var reading = HistoryReading(nodes: 2, nodesPerCall: 10, maximumValues: 2000)
        let end = Self.run(&reading, stored: [5000, 10])
        #expect(reading.outcomes == [.truncated(values: 2000, last: DateTime(ticks: 2000)), .complete(values: 10)])
        #expect(end.released == 1)
    }

    @Test func asksForFewerNodesWhereContinuationPointsAreFew() {
        var reading = HistoryReading(nodes: 8, nodesPerCall: 8, maximumValues: 10_000)
        let end = Self.run(&reading, stored: Array(repeating: 1500, count: 8), points: 2)
        #expect(end.delivered == Array(repeating: 1500, count: 8))
        #expect(reading.outcomes.allSatisfy { $0 == .complete(values: 1500) })
    }

    @Test(arguments: [StatusCode.badHistoryOperationUnsupported, .badServiceUnsupported, .badUserAccessDenied])
    func aServerWithoutHistoryIsAnOutcome(status: StatusCode) {
        var reading = HistoryReading(nodes: 2, nodesPerCall: 1, maximumValues: 10)
        let first = reading.next()
        #expect(
            reading.answered(first[0], status: status, continuationPoint: nil, values: 0, last: nil) == .refused
        )
        reading.refused(reading.next(), status)
        #expect(reading.outcomes == [.refused(status, values: 0), .refused(status, values: 0)])
        #expect(reading.next().isEmpty)
    }

    @Test func halvesTooLargeCallsAndEndsAtOne() {
        var reading = HistoryReading(nodes: 8, nodesPerCall: 8, maximumValues: 10)
        var sizes: [Int] = []
        while case let queries = reading.next(), !queries.isEmpty, sizes.count < 100 {
            sizes.append(queries.count)
            reading.refused(queries, .badTooManyOperations)
        }
        #expect(sizes.prefix(4) == [8, 4, 2, 1])
        #expect(reading.outcomes.allSatisfy { $0 == .refused(.badTooManyOperations, values: 0) })
    }

    @Test func goesOnBehindTheLastValueWhereThereAreNoContinuationPoints() {
        var reading = HistoryReading(nodes: 1, nodesPerCall: 1, maximumValues: 2500)
        var starts: [Int64] = []
        while let query = reading.next().first, starts.count < 100 {
            let first = query.start?.ticks ?? 1
            starts.append(first)
            _ = reading.answered(
                query,
                status: .good,
                continuationPoint: nil,
                values: 1000,
                last: DateTime(ticks: first + 999)
            )
        }
        #expect(starts == [1, 1000, 1999])
        #expect(reading.outcomes == [.truncated(values: 3000, last: DateTime(ticks: 2998))])
        var stuck = HistoryReading(nodes: 1, nodesPerCall: 1, maximumValues: 1_000_000)
        var calls = 0
        while let query = stuck.next().first, calls < 100 {
            calls += 1
            _ = stuck.answered(query, status: .good, continuationPoint: nil, values: 1000, last: DateTime(ticks: 5))
        }
        #expect(calls == 2, "a thousand values with one timestamp end it")
    }

    @Test func aServerThatAlwaysSaysThereIsMoreDoesNotKeepUs() {
        var reading = HistoryReading(nodes: 1, nodesPerCall: 1, maximumValues: 10)
        var calls = 0
        while let query = reading.next().first, calls < 100 {
            calls += 1
            _ = reading.answered(query, status: .good, continuationPoint: [1], values: 0, last: nil)
        }
        #expect(calls == 2)
        #expect(reading.outcomes == [.refused(.badContinuationPointInvalid, values: 0)])
    }
}
