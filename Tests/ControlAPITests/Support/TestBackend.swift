import ControlAPI
import FoundationEssentials
import Synchronization

/// A backend whose answers the test chooses. What it was asked is recorded.
final class TestBackend: ControlBackend {
    static let tenant = UUID(uuidString: "11111111-1111-4111-8111-111111111111") ?? UUID()
    static let otherTenant = UUID(uuidString: "22222222-2222-4222-8222-222222222222") ?? UUID()
    static let well = UUID(uuidString: "33333333-3333-4333-8333-333333333333") ?? UUID()
    static let connection = UUID(uuidString: "44444444-4444-4444-8444-444444444444") ?? UUID()

    /// Well ids that make `queryReadings` and `streamReadings` behave in some way.
    static let hangingWell = UUID(uuidString: "deadbeef-0000-4000-8000-000000000001") ?? UUID()
    static let failingWell = UUID(uuidString: "deadbeef-0000-4000-8000-000000000002") ?? UUID()
    static let unavailableWell = UUID(uuidString: "deadbeef-0000-4000-8000-000000000003") ?? UUID()
    static let slowWell = UUID(uuidString: "deadbeef-0000-4000-8000-000000000004") ?? UUID()

    struct Plain: Error, CustomStringConvertible {
        var description: String { "password=hunter2" }
    }

    struct Seen: Sendable {
        var queries: [ReadingsQuery] = []
        var added: [ConnectionDefinition] = []
        var removed: [UUID] = []
        var probes: [ConnectionProbe] = []
        var browses: [BrowseQuery] = []
        var gaps: [GapsQuery] = []
        var lists: [ConnectionsQuery] = []
        var contexts: [CallContext] = []
        var cancelled = 0
        var hanging = 0
        var pagesWritten = 0
    }

    private let state = Mutex(Seen())
    /// Readings in store for every well.
    let readings: Int

    /// The answer to AddConnection.
    let commandResult: CommandResult

    init(readings: Int = 25_000, commandResult: CommandResult = .done) {
        self.readings = readings
        self.commandResult = commandResult
    }

    var seen: Seen { state.withLock { $0 } }
    private func record(_ body: (inout Seen) -> Void) { state.withLock { body(&$0) } }

    static func reading(_ index: Int, well: UUID) -> Reading {
        Reading(
            wellID: well,
            tagNodeID: "ns=2;s=Well.Tag\(index % 10)",
            timestampMicros: 1_700_000_000_000_000 + Int64(index) * 1_000,
            value: index % 7 == 3 ? nil : Double(index) * 0.5,
            quality: index % 5 == 4 ? .bad : .good,
            statusCode: index % 5 == 4 ? 0x8000_0000 : 0,
            valueText: index % 7 == 3 ? "text \(index) é" : ""
        )
    }

    private func page(_ query: ReadingsQuery) throws -> ReadingsPage {
        var start = 0
        if let token = query.pageToken {
            guard let offset = Int(token), offset >= 0 else {
                throw ControlError.invalid("page_token", "is not a token of this server; start again without one")
            }
            start = offset
        }
        let end = min(readings, start + query.limit)
        let list = start < end ? (start..<end).map { Self.reading($0, well: query.wellID) } : []
        return ReadingsPage(readings: list, nextPageToken: end < readings ? "\(end)" : nil)
    }

    private func behave(_ query: ReadingsQuery) async throws {
        switch query.wellID {
        case Self.hangingWell:
            record { $0.hanging += 1 }
            do {
                try await Task.sleep(for: .seconds(3_600))
            } catch {
                record { $0.cancelled += 1 }
                throw error
            }
        case Self.slowWell: try await Task.sleep(for: .milliseconds(200))
        case Self.failingWell: throw Plain()
        case Self.unavailableWell: throw ControlError.unavailable("the database of the tenant cannot be reached")
        default: break
        }
        if query.tenantID == Self.otherTenant { throw ControlError.notFound("no tenant \(query.tenantID)") }
    }

    func queryReadings(_ query: ReadingsQuery, context: CallContext) async throws -> ReadingsPage {
        record {
            $0.queries.append(query)
            $0.contexts.append(context)
        }
        try await behave(query)
        return try page(query)
    }

    func streamReadings(_ query: ReadingsQuery, to writer: ReadingsWriter, context: CallContext) async throws {
        record {
            $0.queries.append(query)
            $0.contexts.append(context)
        }
        try await behave(query)
        var query = query
        do {
            repeat {
                let page = try page(query)
                try await writer.write(page)
                record { $0.pagesWritten += 1 }
                query.pageToken = page.nextPageToken
            } while query.pageToken != nil
        } catch {
            record { $0.cancelled += 1 }
            throw error
        }
    }

    func aggregatorStats(tenantID: UUID, context: CallContext) async throws -> AggregatorStats {
        AggregatorStats(
            bufferSize: 42,
            timeSinceLastFlush: .milliseconds(1_500),
            journalBytes: 4_096,
            backlogReadings: 7,
            oldestUnstoredAge: .seconds(3)
        )
    }

    func addConnection(_ connection: ConnectionDefinition, context: CallContext) async throws -> CommandResult {
        record { $0.added.append(connection) }
        return commandResult
    }

    func removeConnection(connectionID: UUID, context: CallContext) async throws -> CommandResult {
        try context.caller.requireAccess(to: Self.tenant)
        guard connectionID == Self.connection else { throw ControlError.notFound("no connection \(connectionID)") }
        record { $0.removed.append(connectionID) }
        return .done
    }

    func healthCheck(context: CallContext) async throws -> DaemonHealth {
        var health = TenantHealth(tenantID: Self.tenant, name: "North Field", status: .degraded)
        health.reason = "the database cannot be reached"
        health.connectionsTotal = 3
        health.connectionsActive = 2
        let tenants = context.caller.mayAccess(Self.tenant) ? [health] : []
        return DaemonHealth(
            status: .degraded,
            activeConnections: 2,
            activeTenants: 1,
            version: "1.2.3",
            tenants: tenants
        )
    }

    func listConnections(_ query: ConnectionsQuery, context: CallContext) async throws -> ConnectionsPage {
        record { $0.lists.append(query) }
        var status = ConnectionStatus(connectionID: Self.connection, tenantID: query.tenantID)
        status.name = "Pad 7"
        status.endpointURL = "opc.tcp://10.0.0.7:4840"
        status.state = "connected"
        status.stateSinceMicros = 1_700_000_000_000_000
        status.lastError = "BadTimeout: the server did not answer"
        status.tagsTotal = 10
        status.tagsBad = 1
        return ConnectionsPage(connections: [status], nextPageToken: "next")
    }

    func testConnection(_ probe: ConnectionProbe, context: CallContext) async throws -> ConnectionTestReport {
        record { $0.probes.append(probe) }
        var report = ConnectionTestReport(success: true)
        report.connectTime = .microseconds(12_500)
        var endpoint = EndpointDetails(
            endpointURL: "opc.tcp://10.0.0.7:4840",
            securityMode: "Sign",
            securityPolicy: "Basic256Sha256"
        )
        endpoint.userTokenTypes = ["Anonymous", "UserName"]
        endpoint.certificateSHA256 = "ab12"
        report.endpoints = [endpoint]
        report.limits.maxNodesPerRead = 1_000
        return report
    }

    func browseNodes(_ query: BrowseQuery, context: CallContext) async throws -> BrowsePage {
        record { $0.browses.append(query) }
        var variable = BrowsedNode(nodeID: "nsu=urn:field;s=Pressure", nodeClass: "Variable")
        variable.displayName = "Pressure"
        variable.dataType = "Double"
        variable.unit = "bar"
        return BrowsePage(nodes: [BrowsedNode(nodeID: "i=85", nodeClass: "Object"), variable])
    }

    func listGaps(_ query: GapsQuery, context: CallContext) async throws -> GapsPage {
        record { $0.gaps.append(query) }
        let gap = Gap(
            gapID: "9",
            connectionID: Self.connection,
            tagNodeID: nil,
            startedAtMicros: 1_000_000,
            endedAtMicros: nil,
            cause: "server restarted",
            readingsLost: nil,
            healedAtMicros: nil,
            readingsRecovered: 0
        )
        return GapsPage(gaps: [gap])
    }
}
