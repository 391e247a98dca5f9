import ControlAPI
import FoundationEssentials
import Ingestion
import OPCUAClient
import TimescaleStore

extension DaemonBackend {
    // MARK: Commands

    func addConnection(_ connection: ConnectionDefinition, context: CallContext) async throws -> CommandResult {
        let tenant = try tenant(connection.tenantID)
        let password = connection.endpoint.password
        let record = ConnectionRecord(
            id: connection.connectionID,
            name: connection.name.isEmpty ? nil : connection.name,
            endpointURL: connection.endpoint.endpointURL,
            securityMode: connection.endpoint.securityMode.rawValue,
            securityPolicy: connection.endpoint.securityPolicy.rawValue,
            username: connection.endpoint.username.isEmpty ? nil : connection.endpoint.username,
            password: password.isEmpty ? nil : try passwords.seal(password.value),
            publishingIntervalMilliseconds: connection.publishingIntervalMillis.map { Int32(clamping: $0) },
            tags: connection.tags.map(Self.record)
        )
        do throws(StoreError) {
            _ = try await TenantRegistry(pool: pool).upsert(record, in: tenant.url, timeout: Self.timeout(context))
        } catch {
            throw Self.answer(error, tenant)
        }
        await router.configurationChanged(tenant.id)
        return .done
    }

    private static func record(_ tag: TagDefinition) -> TagRecord {
        TagRecord(
            id: tag.tagID,
            wellID: tag.wellID,
            nodeID: tag.nodeID,
            dataType: tag.dataType.isEmpty ? nil : tag.dataType,
            name: tag.name.isEmpty ? nil : tag.name,
            unit: tag.unit.isEmpty ? nil : tag.unit,
            samplingIntervalMilliseconds: tag.samplingIntervalMillis,
            queueSize: tag.queueSize,
            deadbandAbsolute: tag.deadbandAbsolute,
            deadbandPercent: tag.deadbandPercent
        )
    }

    func removeConnection(connectionID: UUID, context: CallContext) async throws -> CommandResult {
        let tenants = router.tenantList.filter { context.caller.mayAccess($0.id) }
        // The one that runs it, else whoever has it stored.
        let ordered = tenants.sorted { first, second in
            (first.connectionRecord(connectionID) != nil) && (second.connectionRecord(connectionID) == nil)
        }
        var unreachable: ControlError?
        for tenant in ordered {
            do throws(StoreError) {
                let isRemoved = try await TenantRegistry(pool: pool).remove(
                    connection: connectionID,
                    from: tenant.url,
                    timeout: Self.timeout(context)
                )
                guard isRemoved else { continue }
                await router.configurationChanged(tenant.id)
                return .done
            } catch {
                unreachable = unreachable ?? Self.answer(error, tenant)
            }
        }
        if let unreachable { throw unreachable }
        if ordered.isEmpty, let reason = router.masterTrouble {
            throw ControlError.unavailable("the tenants are not known yet: \(reason)")
        }
        throw ControlError.notFound("there is no connection \(connectionID.uuidString.lowercased())")
    }

    // MARK: Lists

    func listConnections(_ query: ConnectionsQuery, context: CallContext) async throws -> ConnectionsPage {
        let tenant = try tenant(query.tenantID)
        let all = tenant.snapshot().connections.filter { query.connectionID == nil || $0.id == query.connectionID }
        var rest = all[...]
        if let token = query.pageToken {
            guard let after = UUID(uuidString: token) else {
                throw ControlError.invalid("page_token", "not a token of this list")
            }
            rest = all.drop { $0.id.uuidString <= after.uuidString }
        }
        let page = rest.prefix(query.limit)
        return ConnectionsPage(
            connections: page.map { Self.status($0, tenant.id) },
            nextPageToken: rest.count > page.count ? page.last?.id.uuidString : nil
        )
    }

    private static func status(_ snapshot: ConnectionSnapshot, _ tenant: UUID) -> ControlAPI.ConnectionStatus {
        var status = ControlAPI.ConnectionStatus(connectionID: snapshot.id, tenantID: tenant)
        status.name = snapshot.name
        status.endpointURL = snapshot.endpointURL
        status.securityMode = snapshot.securityMode
        status.securityPolicy = snapshot.securityPolicy
        status.state = snapshot.status.state.rawValue
        status.stateSinceMicros = snapshot.status.sinceUnixMicroseconds
        status.lastError = snapshot.status.lastError?.description ?? ""
        status.tagsTotal = snapshot.tags
        status.tagsBad = snapshot.badTags
        status.readingsReceived = Int64(clamping: snapshot.readings)
        status.lastReadingAtMicros = snapshot.lastReadingAt
        status.reconnects = Int64(clamping: snapshot.status.connects > 0 ? snapshot.status.connects - 1 : 0)
        status.publishingIntervalMillis = snapshot.publishingInterval
        return status
    }

    func listGaps(_ query: GapsQuery, context: CallContext) async throws -> GapsPage {
        let tenant = try tenant(query.tenantID)
        do throws(StoreError) {
            let page = try await GapLedger(pool: pool).list(
                in: tenant.url,
                connectionID: query.connectionID,
                fromMicros: query.range.startMicros ?? .min,
                toMicros: query.range.endMicros ?? .max,
                limit: query.limit,
                pageToken: query.pageToken,
                timeout: Self.timeout(context)
            )
            return GapsPage(gaps: page.gaps.map(Self.gap), nextPageToken: page.nextPageToken)
        } catch {
            throw Self.answer(error, tenant)
        }
    }

    private static func gap(_ record: GapRecord) -> Gap {
        Gap(
            gapID: record.id.uuidString.lowercased(),
            connectionID: record.connectionID,
            tagNodeID: record.tagNodeID,
            startedAtMicros: record.startedAtMicros,
            endedAtMicros: record.endedAtMicros,
            cause: record.cause,
            readingsLost: record.readingsLost,
            healedAtMicros: record.healedAtMicros,
            readingsRecovered: record.readingsRecovered ?? 0
        )
    }

    // MARK: Probes

    func testConnection(_ probe: ConnectionProbe, context: CallContext) async throws -> ConnectionTestReport {
        throw ControlError(.unimplemented, "TestConnection is not offered by this version")
    }

    func browseNodes(_ query: BrowseQuery, context: CallContext) async throws -> BrowsePage {
        throw ControlError(.unimplemented, "BrowseNodes is not offered by this version")
    }
}
