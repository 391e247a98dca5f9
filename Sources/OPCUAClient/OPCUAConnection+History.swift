import NIOCore
package import OPCUACodec

extension OPCUAConnection {
    /// Reads what the server keeps of an interval, oldest first: HistoryRead with ReadRawModifiedDetails (Part 11, 6.4.3).
    ///
    /// Only while connected; the session is that of the live values, whose notifications go on meanwhile.
    /// - Parameters:
    ///   - nodes: asked for several in one call, at most what the server allows.
    ///   - start: the first source timestamp wanted; inclusive.
    ///   - end: exclusive (Part 11, 6.4.3.2). Values with this very timestamp are not returned.
    ///   - maximumValues: of each node; what comes with the answer that reaches it is handed out too.
    ///   - body: takes up to 1,000 values of the node with this index in `nodes`, in the order of time. While it is
    ///     suspended nothing more is asked for: at most about 10,000 values are in memory. A throw ends the reading.
    /// - Returns: one outcome for each node, in the order of `nodes`.
    /// - Throws: `OPCUAClientError` when the connection is not there or breaks (`.stopped`, `.connectionClosed`, `.timeout`…),
    ///   with code `.consumerRefused` when `body` threw. That a server has no history is an outcome, not an error.
    package func readHistory(
        of nodes: [NodeIdText],
        from start: DateTime,
        to end: DateTime,
        maximumValues: Int,
        body: @Sendable (_ index: Int, _ values: [DataValue]) async throws -> Void
    ) async throws(OPCUAClientError) -> [HistoryOutcome] {
        guard isConnected, failure == nil else {
            throw OPCUAClientError(
                .connectionClosed,
                "history can be read only while connected",
                status: .badNotConnected
            )
        }
        var reading = HistoryReading(
            nodes: nodes.count,
            nodesPerCall: min(10, session.limits.nodesPerHistoryRead),
            maximumValues: maximumValues
        )
        var failed: OPCUAClientError?
        do throws(OPCUAClientError) {
            while true {
                let queries = reading.next()
                guard let first = queries.first else { break }
                // One interval in one call.
                let together = queries.filter { $0.start == first.start }
                try await readHistory(together, of: nodes, from: first.start ?? start, to: end, &reading, body)
                let releases = reading.takeReleases()
                if !releases.isEmpty { try await release(releases, of: nodes, from: start, to: end) }
            }
        } catch {
            failed = error
        }
        if let failed {
            // The server's continuation points are few; after a broken connection they are gone by themselves.
            let rest = reading.openContinuationPoints
            if !rest.isEmpty, isConnected, failure == nil {
                try? await release(rest, of: nodes, from: start, to: end)
            }
            throw failed
        }
        return reading.outcomes.map { $0 ?? .refused(.badUnexpectedError, values: 0) }
    }

    /// One call.
    private func readHistory(
        _ queries: [HistoryReading.Query],
        of nodes: [NodeIdText],
        from start: DateTime,
        to end: DateTime,
        _ reading: inout HistoryReading,
        _ body: @Sendable (_ index: Int, _ values: [DataValue]) async throws -> Void
    ) async throws(OPCUAClientError) {
        var asked: [HistoryReading.Query] = []
        var values: [HistoryReadValueId] = []
        for query in queries {
            guard let node = nodes[query.index].resolved(namespaces: session.namespaces) else {
                reading.unresolvable(query.index)
                continue
            }
            asked.append(query)
            values.append(HistoryReadValueId(nodeId: node, continuationPoint: query.continuationPoint))
        }
        if asked.isEmpty { return }
        let response: HistoryReadResponse
        do throws(OPCUAClientError) {
            response = try await session.call(
                request(values, from: start, to: end, valuesPerAnswer: reading.valuesPerAnswer),
                timeout: max(session.timeout, .seconds(30))
            )
        } catch {
            guard let status = error.status, error.code == .serviceFault || error.code == .identityRejected else {
                throw error
            }
            return reading.refused(asked, status)
        }
        for (position, query) in asked.enumerated() {
            guard response.results.indices.contains(position) else {
                reading.refused([query], .badUnexpectedError)
                continue
            }
            let result = response.results[position]
            let data = try Self.values(of: result)
            let step = reading.answered(
                query,
                status: result.statusCode,
                continuationPoint: result.continuationPoint,
                values: data.count,
                last: data.last.flatMap { $0.sourceTimestamp ?? $0.serverTimestamp }
            )
            guard step == .deliver, !data.isEmpty else { continue }
            do { try await body(query.index, data) } catch {
                throw OPCUAClientError(.consumerRefused, "history values could not be stored: \(error)")
            }
        }
    }

    private static func values(of result: HistoryReadResult) throws(OPCUAClientError) -> [DataValue] {
        if result.statusCode.isBad { return [] }
        do throws(DecodingError) {
            // Broken text in one value must not cost its neighbours.
            let limits = DecodingLimits(repairsUTF8: true)
            if let data = try result.historyData.decoded(as: HistoryData.self, limits: limits) {
                return data.dataValues
            }
            return []
        } catch {
            throw .decoding(error, in: "HistoryRead response")
        }
    }

    private func request(
        _ nodes: [HistoryReadValueId],
        from start: DateTime,
        to end: DateTime,
        valuesPerAnswer: Int,
        releases: Bool = false
    ) -> HistoryReadRequest {
        HistoryReadRequest(
            historyReadDetails: ExtensionObject(
                ReadRawModifiedDetails(
                    isReadModified: false,
                    startTime: start,
                    endTime: end,
                    numValuesPerNode: UInt32(clamping: valuesPerAnswer),
                    returnBounds: false
                )
            ),
            timestampsToReturn: .both,
            releaseContinuationPoints: releases,
            nodesToRead: nodes
        )
    }

    private func release(
        _ queries: [HistoryReading.Query],
        of nodes: [NodeIdText],
        from start: DateTime,
        to end: DateTime
    ) async throws(OPCUAClientError) {
        let values = queries.compactMap { query in
            nodes[query.index].resolved(namespaces: session.namespaces).map {
                HistoryReadValueId(nodeId: $0, continuationPoint: query.continuationPoint)
            }
        }
        do throws(OPCUAClientError) {
            _ = try await session.call(request(values, from: start, to: end, valuesPerAnswer: 0, releases: true))
        } catch {
            guard error.code == .serviceFault else { throw error }
        }
    }
}
