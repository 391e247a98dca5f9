package import FoundationEssentials

/// The daemon behind the API. Requests arrive checked (syntax, ranges, bounds) and, where they name a tenant, with the
/// caller's right to that tenant checked too.
///
/// Every method runs in a task of its own that is cancelled when the client cancels, its deadline passes or it
/// disappears: stop the work then and throw. Errors thrown as `ControlError` reach the client as they are; any other
/// error becomes `INTERNAL` with a general message, and its description goes to the log only.
package protocol ControlBackend: Sendable {
    /// Errors: `NOT_FOUND` (tenant), `UNAVAILABLE` (database), `INVALID_ARGUMENT` (page_token).
    func queryReadings(_ query: ReadingsQuery, context: CallContext) async throws -> ReadingsPage

    /// Writes every page of the range to `writer`, one after the other; returning ends the stream. `query.limit` is the
    /// page size. Errors as `queryReadings`.
    func streamReadings(_ query: ReadingsQuery, to writer: ReadingsWriter, context: CallContext) async throws

    func aggregatorStats(tenantID: UUID, context: CallContext) async throws -> AggregatorStats

    /// Stores and schedules; does not wait for the OPC UA server. Idempotent.
    func addConnection(_ connection: ConnectionDefinition, context: CallContext) async throws -> CommandResult

    /// The request names no tenant: find the connection's tenant and call `context.caller.requireAccess(to:)` before
    /// anything else happens.
    func removeConnection(connectionID: UUID, context: CallContext) async throws -> CommandResult

    /// `tenants` holds those the caller may access, no others.
    func healthCheck(context: CallContext) async throws -> DaemonHealth

    func listConnections(_ query: ConnectionsQuery, context: CallContext) async throws -> ConnectionsPage

    /// A server that cannot be reached is a report with `success` false, not an error.
    func testConnection(_ probe: ConnectionProbe, context: CallContext) async throws -> ConnectionTestReport

    func browseNodes(_ query: BrowseQuery, context: CallContext) async throws -> BrowsePage

    func listGaps(_ query: GapsQuery, context: CallContext) async throws -> GapsPage
}
