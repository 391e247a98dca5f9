package import OPCUACodec

/// What became of one node's history.
package enum HistoryOutcome: Sendable, Equatable {
    /// Everything the server has of the interval was handed out; how many values that was.
    case complete(values: Int)
    /// There is more than `maximumValues`; what was handed out ends with this source timestamp.
    case truncated(values: Int, last: DateTime?)
    /// The server has no history of this node, or does not give it: `BadHistoryOperationUnsupported`,
    /// `BadServiceUnsupported`, `BadUserAccessDenied`, `BadNodeIdUnknown`… `values` were handed out before it said so.
    case refused(StatusCode, values: Int)
}

/// Which nodes to ask for next and with which continuation points (Part 4, 5.11.3; Part 11, 6.4.3), a value without I/O.
///
/// Nodes are addressed by their index in the list given. At most `nodesPerCall` are asked for at the same time, so that
/// no more continuation points are open than that, and each answer holds at most `valuesPerAnswer` values.
struct HistoryReading {
    struct Query: Equatable {
        var index: Int
        var continuationPoint: [UInt8]?
        /// Where to begin instead of at the beginning of the interval.
        var start: DateTime?
    }

    /// What to do with one node's part of an answer.
    enum Step: Equatable {
        /// Hand these out.
        case deliver
        /// Asked for again, in a smaller call.
        case again
        case refused
    }

    private(set) var outcomes: [HistoryOutcome?]
    private var counts: [Int]
    private var open: [Query] = []
    private var waiting: ArraySlice<Int>
    private var nodesPerCall: Int
    private var hasShrunk = false
    private let maximumValues: Int
    /// Values asked for in one answer of one node.
    let valuesPerAnswer: Int

    init(nodes: Int, nodesPerCall: Int, maximumValues: Int, valuesPerAnswer: Int = 1000) {
        outcomes = Array(repeating: nil, count: nodes)
        counts = Array(repeating: 0, count: nodes)
        waiting = Array(0..<nodes)[...]
        self.nodesPerCall = max(1, nodesPerCall)
        self.maximumValues = max(1, maximumValues)
        self.valuesPerAnswer = max(1, min(valuesPerAnswer, maximumValues))
    }

    /// Continuation points that are still open at the server.
    var openContinuationPoints: [Query] { open.filter { $0.continuationPoint != nil } }

    /// The next call; empty at the end.
    mutating func next() -> [Query] {
        hasShrunk = false
        while open.count < nodesPerCall, let index = waiting.popFirst() {
            open.append(Query(index: index, continuationPoint: nil))
        }
        return Array(open.prefix(nodesPerCall))
    }

    /// A node cannot be asked for at all.
    mutating func unresolvable(_ index: Int) { close(index, .refused(.badNodeIdUnknown, values: 0)) }

    /// One node's result: what to do with its values, of which there are `values`, the last with source timestamp `last`.
    ///
    /// A continuation point that remains after the maximum is left in `openContinuationPoints` until `released`.
    mutating func answered(
        _ query: Query,
        status: StatusCode,
        continuationPoint: [UInt8]?,
        values: Int,
        last: DateTime?
    ) -> Step {
        if status.isBad {
            switch status.withoutInfoBits {
            case .badNoContinuationPoints
            where query.continuationPoint == nil && (nodesPerCall > 1 || open.count > 1):
                // More nodes at once than the server has continuation points. Several say so in one answer: once.
                if !hasShrunk { nodesPerCall = max(1, nodesPerCall / 2) }
                hasShrunk = true
                requeue(query.index)
                return .again
            default:
                close(query.index, .refused(status, values: counts[query.index]))
                return .refused
            }
        }
        counts[query.index] += values
        let point = continuationPoint.flatMap { $0.isEmpty ? nil : $0 }
        if point == nil, values >= valuesPerAnswer, let last, last > (query.start ?? .null) {
            // As many as were asked for and no continuation point: servers without them exist. What has the last
            // timestamp comes once more, so that nothing beside it is lost.
            if counts[query.index] < maximumValues {
                resume(query.index, at: last)
            } else {
                close(query.index, .truncated(values: counts[query.index], last: last))
            }
            return .deliver
        }
        if let point, counts[query.index] < maximumValues {
            // A server that answers nothing and says there is more must not keep us here for ever.
            if values == 0 && query.continuationPoint == point {
                close(query.index, .refused(.badContinuationPointInvalid, values: counts[query.index]))
                return .refused
            }
            set(query.index, point)
        } else if let point {
            set(query.index, point)
            outcomes[query.index] = .truncated(values: counts[query.index], last: last)
        } else {
            close(query.index, .complete(values: counts[query.index]))
        }
        return .deliver
    }

    /// The call as a whole was refused.
    /// - Returns: whether to go on: with smaller calls, or with the nodes that are left.
    mutating func refused(_ queries: [Query], _ status: StatusCode) {
        switch status.withoutInfoBits {
        case .badTooManyOperations, .badEncodingLimitsExceeded, .badResponseTooLarge, .badRequestTooLarge,
            .badTcpMessageTooLarge, .badNoContinuationPoints:
            if queries.count > 1 {
                nodesPerCall = max(1, queries.count / 2)
                for query in queries where query.continuationPoint == nil { requeue(query.index) }
                return
            }
        default: break
        }
        for query in queries { close(query.index, .refused(status, values: counts[query.index])) }
    }

    /// Continuation points of nodes that have all they may have: to be released, in one call.
    mutating func takeReleases() -> [Query] {
        let done = open.filter { outcomes[$0.index] != nil }
        open.removeAll { outcomes[$0.index] != nil }
        return done
    }

    private mutating func set(_ index: Int, _ point: [UInt8]) {
        guard let i = open.firstIndex(where: { $0.index == index }) else { return }
        open[i].continuationPoint = point
    }

    private mutating func resume(_ index: Int, at start: DateTime) {
        guard let i = open.firstIndex(where: { $0.index == index }) else { return }
        open[i].continuationPoint = nil
        open[i].start = start
    }

    private mutating func close(_ index: Int, _ outcome: HistoryOutcome) {
        open.removeAll { $0.index == index }
        outcomes[index] = outcome
    }

    private mutating func requeue(_ index: Int) {
        open.removeAll { $0.index == index }
        waiting = [index] + waiting
    }
}
