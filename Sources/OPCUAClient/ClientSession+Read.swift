import NIOCore
import OPCUACodec

extension ClientSession {
    /// Namespaces and limits: read in every new session.
    func learn(isolation: isolated (any Actor)? = #isolation) async throws(OPCUAClientError) {
        step = .read
        try await readNamespaces()
        try await readLimits()
    }

    func readNamespaces(isolation: isolated (any Actor)? = #isolation) async throws(OPCUAClientError) {
        let values = try await read([WellKnownNodeId.serverNamespaceArray])
        guard let value = values.first, case .array(.string, let elements, _) = value.value else {
            throw OPCUAClientError(
                .protocolViolation,
                "the server's namespace table cannot be read",
                status: values.first?.status
            )
        }
        namespaces = elements.map { element in
            if case .string(let text) = element { return text ?? "" }
            return ""
        }
    }

    /// Part 5, 6.3.2 and 6.3.11. Every one of these nodes is optional.
    private func readLimits(isolation: isolated (any Actor)? = #isolation) async throws(OPCUAClientError) {
        let nodes: [(NodeId, (inout ServerLimits, Variant) -> Void)] = [
            (
                WellKnownNodeId.serverServerCapabilitiesOperationLimitsMaxNodesPerRead,
                { $0.maxNodesPerRead = $1.number }
            ),
            (
                WellKnownNodeId.serverServerCapabilitiesOperationLimitsMaxNodesPerBrowse,
                { $0.maxNodesPerBrowse = $1.number }
            ),
            (
                WellKnownNodeId.serverServerCapabilitiesOperationLimitsMaxMonitoredItemsPerCall,
                { $0.maxMonitoredItemsPerCall = $1.number }
            ),
            (
                WellKnownNodeId.serverServerCapabilitiesOperationLimitsMaxNodesPerHistoryReadData,
                { $0.maxNodesPerHistoryReadData = $1.number }
            ),
            (
                WellKnownNodeId.serverServerCapabilitiesMaxMonitoredItemsPerSubscription,
                { $0.maxMonitoredItemsPerSubscription = $1.number }
            ),
            (
                WellKnownNodeId.serverServerCapabilitiesMaxSubscriptionsPerSession,
                { $0.maxSubscriptionsPerSession = $1.number }
            ),
            (
                WellKnownNodeId.serverServerCapabilitiesMaxMonitoredItemsQueueSize,
                { $0.maxMonitoredItemsQueueSize = $1.number }
            ),
            (
                WellKnownNodeId.serverServerCapabilitiesMaxBrowseContinuationPoints,
                { $0.maxBrowseContinuationPoints = $1.number.map { UInt16(clamping: $0) } }
            ),
            (
                WellKnownNodeId.serverServerCapabilitiesMinSupportedSampleRate,
                { if case .double(let rate) = $1 { $0.minSupportedSampleRate = rate } }
            ),
        ]
        let values: [DataValue]
        do throws(OPCUAClientError) {
            values = try await read(nodes.map(\.0))
        } catch {
            // A server that refuses to tell its limits is not a reason to go without its values.
            if error.code == .serviceFault { return }
            throw error
        }
        for (node, value) in zip(nodes, values) where !value.status.isBad { node.1(&limits, value.value) }
    }

    /// Reads one attribute of each node, in calls the server bears.
    func read(
        _ nodes: [NodeId],
        attribute: UInt32 = AttributeId.value,
        timestamps: TimestampsToReturn = .both,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) -> [DataValue] {
        try await read(nodes.map { ReadValueId(nodeId: $0, attributeId: attribute) }, timestamps: timestamps)
    }

    /// Reads attributes (Part 4, 5.11.2), in calls the server bears.
    func read(
        _ attributes: [ReadValueId],
        timestamps: TimestampsToReturn = .both,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) -> [DataValue] {
        var values: [DataValue] = []
        values.reserveCapacity(attributes.count)
        var rest = attributes[...]
        while !rest.isEmpty {
            let part = rest.prefix(limits.nodesPerRead)
            rest = rest.dropFirst(part.count)
            let response = try await call(
                ReadRequest(
                    timestampsToReturn: timestamps,
                    nodesToRead: Array(part)
                )
            )
            guard response.results.count == part.count else {
                throw OPCUAClientError(
                    .protocolViolation,
                    "Read of \(part.count) nodes was answered with \(response.results.count) values"
                )
            }
            values += response.results
        }
        return values
    }
}

/// Part 6, A.1.
package enum AttributeId {
    package static let nodeClass: UInt32 = 2
    package static let browseName: UInt32 = 3
    package static let displayName: UInt32 = 4
    package static let description: UInt32 = 5
    package static let value: UInt32 = 13
    package static let dataType: UInt32 = 14
    package static let valueRank: UInt32 = 15
    package static let accessLevel: UInt32 = 17
    package static let userAccessLevel: UInt32 = 18
    package static let minimumSamplingInterval: UInt32 = 19
    package static let historizing: UInt32 = 20
    package static let dataTypeDefinition: UInt32 = 23
}

extension Variant {
    /// A limit: any unsigned integer type servers answer with.
    var number: UInt32? {
        switch self {
        case .uint32(let value): value
        case .uint16(let value): UInt32(value)
        case .byte(let value): UInt32(value)
        case .uint64(let value): UInt32(clamping: value)
        case .int32(let value): UInt32(clamping: value)
        default: nil
        }
    }
}
