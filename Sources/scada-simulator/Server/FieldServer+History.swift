import OPCUACodec

/// HistoryRead of raw values (Part 4, 5.10.3; Part 11, 6.4.3).
extension FieldServer {
    func historyRead(_ request: HistoryReadRequest, _ session: Session) throws(ServiceFailure) -> HistoryReadResponse {
        guard request.timestampsToReturn.rawValue < TimestampsToReturn.neither.rawValue else {
            throw ServiceFailure(.badTimestampsToReturnInvalid)
        }
        let details: ReadRawModifiedDetails?
        do throws(DecodingError) {
            details = try request.historyReadDetails.decoded(as: ReadRawModifiedDetails.self)
        } catch {
            throw ServiceFailure(.badDecodingError)
        }
        guard let details, !details.isReadModified else { throw ServiceFailure(.badHistoryOperationUnsupported) }
        let results = try each(request.nodesToRead, limits.nodesPerCall) { node in
            do throws(ServiceFailure) {
                if let point = node.continuationPoint, !point.isEmpty {
                    guard let id = Self.continuationID(point),
                        let rest = session.historyContinuations.removeValue(forKey: id)
                    else { throw ServiceFailure(.badContinuationPointInvalid) }
                    if request.releaseContinuationPoints { return HistoryReadResult(statusCode: .good) }
                    return try page(rest, request.timestampsToReturn, session)
                }
                return try page(try query(details, node.nodeId), request.timestampsToReturn, session)
            } catch {
                return HistoryReadResult(statusCode: error.status)
            }
        }
        return HistoryReadResponse(results: results)
    }

    /// What of a tag's history is still to be read: positions from `next` towards `end`, which is not read.
    struct HistoryQuery: Equatable, Sendable {
        var tag: Int
        var next: Int
        var end: Int
        /// 1, or -1 for the newest first.
        var step: Int
        /// Values of one answer.
        var maximum: Int
        /// Bounding values: before the first page and after the last one.
        var opening: DataValue?
        var closing: DataValue?
        var isFirst = true
    }

    private func query(_ details: ReadRawModifiedDetails, _ id: NodeId) throws(ServiceFailure) -> HistoryQuery {
        guard case .tag(let tag) = try space.node(id), let history else {
            throw ServiceFailure(.badHistoryOperationUnsupported)
        }
        let start = details.startTime.ticks
        let end = details.endTime.ticks
        let asked = Int(details.numValuesPerNode)
        // Two of start, end and number are needed (Part 11, 6.4.3.2).
        guard (start > 0 ? 1 : 0) + (end > 0 ? 1 : 0) + (asked > 0 ? 1 : 0) >= 2 else {
            throw ServiceFailure(.badHistoryOperationInvalid)
        }
        let kept = history.positions(ofTag: tag)
        let maximum = asked == 0 ? limits.historyValuesPerCall : min(asked, limits.historyValuesPerCall)
        // The start is included, the end is not, in either direction (Part 11, 4.4).
        var query: HistoryQuery
        if start > 0, end == 0 || start <= end {
            let from = history.position(ofTag: tag, notBefore: start)
            let limit =
                end > 0 ? history.position(ofTag: tag, notBefore: start == end ? end + 1 : end) : kept.upperBound
            query = HistoryQuery(tag: tag, next: from, end: limit, step: 1, maximum: maximum)
        } else {
            let newest = start > 0 ? start : end
            let from = history.position(ofTag: tag, notBefore: newest + 1) - 1
            let oldest = start > 0 && end > 0 ? history.position(ofTag: tag, notBefore: end + 1) : kept.lowerBound
            query = HistoryQuery(tag: tag, next: from, end: oldest - 1, step: -1, maximum: maximum)
        }
        if details.returnBounds { addBounds(&query, start: start, end: end, history) }
        return query
    }

    /// Part 11, 6.4.3.2: the values next to the interval, or BadBoundNotFound where there is none.
    private func addBounds(_ query: inout HistoryQuery, start: Int64, end: Int64, _ history: History) {
        let kept = history.positions(ofTag: query.tag)
        func bound(_ position: Int, _ time: Int64) -> DataValue {
            guard kept.contains(position) else {
                return DataValue(.null, status: .badBoundNotFound, sourceTimestamp: DateTime(ticks: time))
            }
            return dataValue(history.sample(ofTag: query.tag, at: position))
        }
        if start > 0 {
            let isExact = kept.contains(query.next) && history.sample(ofTag: query.tag, at: query.next).source == start
            if !isExact { query.opening = bound(query.next - query.step, start) }
        }
        if end > 0, end != start { query.closing = bound(query.end, end) }
    }

    private func page(
        _ query: HistoryQuery,
        _ timestamps: TimestampsToReturn,
        _ session: Session
    ) throws(ServiceFailure) -> HistoryReadResult {
        guard let history else { throw ServiceFailure(.badHistoryOperationUnsupported) }
        var query = query
        var values: [DataValue] = []
        if query.isFirst, let opening = query.opening { values.append(opening) }
        let isFirst = query.isFirst
        query.isFirst = false
        let kept = history.positions(ofTag: query.tag)
        // What was dropped since the last page is gone.
        if query.step > 0 { query.next = max(query.next, kept.lowerBound) }
        if query.step < 0 { query.end = max(query.end, kept.lowerBound - 1) }
        while values.count < query.maximum, query.step > 0 ? query.next < query.end : query.next > query.end {
            values.append(dataValue(history.sample(ofTag: query.tag, at: query.next)))
            query.next += query.step
        }
        var point: [UInt8]?
        if query.step > 0 ? query.next < query.end : query.next > query.end {
            point = session.remember(query)
        } else if let closing = query.closing {
            values.append(closing)
        }
        for index in values.indices {
            if timestamps == .server { values[index].sourceTimestamp = nil }
            if timestamps == .source { values[index].serverTimestamp = nil }
        }
        return HistoryReadResult(
            statusCode: values.isEmpty && isFirst ? .goodNoData : .good,
            continuationPoint: point,
            historyData: ExtensionObject(HistoryData(dataValues: values))
        )
    }

    private func dataValue(_ sample: Sample) -> DataValue {
        DataValue(
            .double(sample.value),
            status: StatusCode(rawValue: sample.status),
            sourceTimestamp: DateTime(ticks: sample.source),
            serverTimestamp: DateTime(ticks: sample.source)
        )
    }
}

extension Session {
    /// Keeps a query for its next page; the oldest of too many makes room.
    func remember(_ query: FieldServer.HistoryQuery) -> [UInt8] {
        if historyContinuations.count >= Self.maximumContinuations, let oldest = historyContinuations.keys.min() {
            historyContinuations[oldest] = nil
        }
        let id = nextContinuation
        nextContinuation += 1
        historyContinuations[id] = query
        return withUnsafeBytes(of: id.littleEndian) { Array($0) }
    }
}
