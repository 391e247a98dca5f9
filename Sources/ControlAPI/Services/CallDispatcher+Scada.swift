import CScadaProto
import FoundationEssentials

extension CallDispatcher {
    /// scada.ScadaService: decode, check, ask the backend, encode.
    func handleScada(
        _ call: ServerCall,
        _ method: APIMethod,
        _ context: CallContext,
        _ notes: CallNotes
    ) async throws -> GRPCMessage? {
        let message = try await request(call, notes)
        let caller = context.caller
        switch method {
        case .queryReadings:
            let query = try decode(message, Scada__QueryReadingsRequest.self) { raw throws(ControlError) in
                try ReadingsQuery(raw, streamed: false)
            }
            notes.set(subject: Self.subject(tenant: query.tenantID))
            try caller.requireAccess(to: query.tenantID)
            return try await backend.queryReadings(query, context: context).encoded()

        case .streamReadings:
            let query = try decode(message, Scada__QueryReadingsRequest.self) { raw throws(ControlError) in
                try ReadingsQuery(raw, streamed: true)
            }
            notes.set(subject: Self.subject(tenant: query.tenantID))
            try caller.requireAccess(to: query.tenantID)
            let writer = ReadingsWriter { page in
                for part in page.encodedParts(maxBytes: Self.streamMessageBytes) {
                    try await call.send(part)
                    notes.sent(part.byteCount)
                }
            }
            try await backend.streamReadings(query, to: writer, context: context)
            return nil

        case .getAggregatorStats:
            let tenantID = try decode(message, Scada__GetAggregatorStatsRequest.self) { raw throws(ControlError) in
                try Validate.uuid("tenant_id", text(raw.tenant_id))
            }
            notes.set(subject: Self.subject(tenant: tenantID))
            try caller.requireAccess(to: tenantID)
            return try await backend.aggregatorStats(tenantID: tenantID, context: context).encoded(tenantID: tenantID)

        case .addConnection:
            let connection = try decode(message, Scada__AddConnectionRequest.self) { raw throws(ControlError) in
                try ConnectionDefinition(raw)
            }
            notes.set(subject: [
                "tenant_id": connection.tenantID.uuidString.lowercased(),
                "connection_id": connection.connectionID.uuidString.lowercased(),
                "endpoint_url": connection.endpoint.endpointURL,
                "tags": "\(connection.tags.count)",
            ])
            try caller.requireAccess(to: connection.tenantID)
            let result = try await backend.addConnection(connection, context: context)
            notes.set(result)
            return result.encodedAdd()

        case .removeConnection:
            let connectionID = try decode(message, Scada__RemoveConnectionRequest.self) { raw throws(ControlError) in
                try Validate.uuid("connection_id", text(raw.connection_id))
            }
            notes.set(subject: ["connection_id": connectionID.uuidString.lowercased()])
            let result = try await backend.removeConnection(connectionID: connectionID, context: context)
            notes.set(result)
            return result.encodedRemove()

        case .healthCheck:
            try decode(message, Scada__HealthCheckRequest.self) { _ throws(ControlError) in }
            return try await backend.healthCheck(context: context).encoded()

        case .listConnections:
            let query = try decode(message, Scada__ListConnectionsRequest.self) { raw throws(ControlError) in
                try ConnectionsQuery(raw)
            }
            notes.set(subject: Self.subject(tenant: query.tenantID))
            try caller.requireAccess(to: query.tenantID)
            return try await backend.listConnections(query, context: context).encoded()

        case .testConnection:
            let probe = try decode(message, Scada__TestConnectionRequest.self) { raw throws(ControlError) in
                try ConnectionProbe(raw)
            }
            notes.set(subject: Self.subject(tenant: probe.tenantID))
            try caller.requireAccess(to: probe.tenantID)
            return try await backend.testConnection(probe, context: context).encoded()

        case .browseNodes:
            let query = try decode(message, Scada__BrowseNodesRequest.self) { raw throws(ControlError) in
                try BrowseQuery(raw)
            }
            notes.set(subject: Self.subject(tenant: query.tenantID))
            try caller.requireAccess(to: query.tenantID)
            return try await backend.browseNodes(query, context: context).encoded()

        case .listGaps:
            let query = try decode(message, Scada__ListGapsRequest.self) { raw throws(ControlError) in
                try GapsQuery(raw)
            }
            notes.set(subject: Self.subject(tenant: query.tenantID))
            try caller.requireAccess(to: query.tenantID)
            return try await backend.listGaps(query, context: context).encoded()

        case .healthServiceCheck, .healthServiceWatch, .reflection, .reflectionAlpha:
            throw ControlError(.unimplemented, "not a method of \(APIMethod.scadaService)")
        }
    }

    private static func subject(tenant: UUID) -> [String: String] {
        ["tenant_id": tenant.uuidString.lowercased()]
    }

    func decode<Message: ProtobufMessage, Result>(
        _ message: GRPCMessage,
        _ type: Message.Type,
        _ body: (Message) throws(ControlError) -> Result
    ) throws(ControlError) -> Result {
        try message.withBytes { bytes throws(ControlError) in try Message.withUnpacked(bytes, body) }
    }
}
