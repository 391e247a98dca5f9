import ControlAPI
import FoundationEssentials
import Ingestion
import Logging
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
            _ = try await registry.upsert(record, in: tenant.url, timeout: Self.timeout(context))
        } catch {
            // A constraint of the platform's own, most likely. PostgreSQL's detail line may show the row: it is left out.
            if error.code == .data {
                logger.warning("a connection was refused by the database", metadata: ["error": "\(error)"])
                return CommandResult(success: false, error: "the tenant's database refused it: \(error.message)")
            }
            throw Self.answer(error, tenant, context)
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
        let (mine, others) = router.tenantList.partitioned { context.caller.mayAccess($0.id) }
        guard others.allSatisfy({ $0.connectionRecord(connectionID) == nil }) else {
            throw ControlError.permissionDenied("the token is not for the tenant of this connection")
        }
        // The one that runs it, else whoever has it stored.
        let (running, stored) = mine.partitioned { $0.connectionRecord(connectionID) != nil }
        var unreachable: ControlError?
        for tenant in running + stored {
            do throws(StoreError) {
                let isRemoved = try await registry.remove(
                    connection: connectionID,
                    from: tenant.url,
                    timeout: Self.timeout(context)
                )
                guard isRemoved else { continue }
            } catch {
                if error.code == .cancelled { throw Self.answer(error, tenant, context) }
                unreachable = unreachable ?? Self.answer(error, tenant, context)
                continue
            }
            // Returns when it has stopped.
            await router.reconfigure(tenant.id)
            return CommandResult(success: true, tenantID: tenant.id)
        }
        if let unreachable { throw unreachable }
        if mine.isEmpty, let reason = router.masterTrouble {
            throw ControlError.unavailable("the tenants are not known yet: \(reason)")
        }
        throw ControlError.notFound("there is no connection \(connectionID.uuidString.lowercased())")
    }

    // MARK: Lists

    /// What is stored, with the state of what of it runs. While the database cannot be reached: what runs.
    func listConnections(_ query: ConnectionsQuery, context: CallContext) async throws -> ConnectionsPage {
        let tenant = try tenant(query.tenantID)
        let after = try query.pageToken.map { token throws(ControlError) in
            guard let after = UUID(uuidString: token) else {
                throw .invalid("page_token", "is not a token of this list: begin without one")
            }
            return after
        }
        let running = tenant.snapshot().connections
        var found: [ControlAPI.ConnectionStatus]
        do throws(StoreError) {
            let byID = Dictionary(running.map { ($0.id, $0) }) { first, _ in first }
            let stored = try await registry.storedConnections(
                of: tenant.url,
                connectionID: query.connectionID,
                after: after,
                limit: query.limit + 1,
                timeout: Self.timeout(context)
            )
            let elsewhere = await elsewhere(tenant, context)
            found = stored.map { stored in
                var status = self.status(stored, byID[stored.record.id], tenant)
                if let leases = router.leases, stored.isEnabled {
                    if byID[stored.record.id] != nil {
                        status.owner = leases.options.id
                    } else if status.state != "invalid", let holding = elsewhere[stored.record.id] {
                        Self.tell(holding, &status)
                    }
                }
                return status
            }
        } catch {
            guard error.isRetryable, !running.isEmpty else { throw Self.answer(error, tenant, context) }
            let wanted = running.filter { connection in
                (query.connectionID.map { $0 == connection.id } ?? true)
                    && (after.map { connection.id.uuidString > $0.uuidString } ?? true)
            }
            found = wanted.prefix(query.limit + 1).map { status($0, tenant.id) }
        }
        let hasMore = found.count > query.limit
        if hasMore { found.removeLast(found.count - query.limit) }
        return ConnectionsPage(
            connections: found,
            nextPageToken: hasMore ? found.last?.connectionID.uuidString.lowercased() : nil
        )
    }

    /// What other replicas last said of the connections they run; nothing while the master database cannot tell.
    private func elsewhere(_ tenant: TenantShared, _ context: CallContext) async -> [UUID: LeaseStore.Holding] {
        guard let leases = router.leases else { return [:] }
        do throws(StoreError) {
            let holdings = try await leases.holdings(
                of: tenant.id,
                timeout: Self.timeout(context, atMost: .seconds(2))
            )
            return Dictionary(holdings.map { ($0.connectionID, $0) }) { $1 }
        } catch {
            logger.warning("the replicas' leases cannot be read", metadata: ["error": "\(error)"])
            return [:]
        }
    }

    private static func tell(_ holding: LeaseStore.Holding, _ status: inout ControlAPI.ConnectionStatus) {
        guard holding.isLive else {
            // Between two owners.
            status.state = "starting"
            return
        }
        let report = holding.report
        status.owner = holding.owner
        status.state = report.state.isEmpty ? "starting" : report.state
        status.stateSinceMicros = report.stateSinceMicros
        status.lastError = report.lastError
        status.tagsBad = report.tagsBad
        status.readingsReceived = report.readingsReceived
        status.lastReadingAtMicros = report.lastReadingAtMicros
        status.reconnects = report.reconnects
        status.publishingIntervalMillis = report.publishingIntervalMillis
    }

    private func status(
        _ stored: TenantRegistry.StoredConnection,
        _ running: ConnectionSnapshot?,
        _ tenant: TenantShared
    ) -> ControlAPI.ConnectionStatus {
        if stored.isEnabled, let running { return status(running, tenant.id) }
        var status = ControlAPI.ConnectionStatus(connectionID: stored.record.id, tenantID: tenant.id)
        status.name = stored.record.name ?? ""
        status.endpointURL = stored.record.endpointURL
        status.securityMode = stored.record.securityMode
        status.securityPolicy = stored.record.securityPolicy
        status.tagsTotal = stored.tags
        status.isEnabled = stored.isEnabled
        if !stored.isEnabled {
            status.state = "disabled"
        } else if let problem = tenant.problem(ofConnection: stored.record.id) {
            status.state = "invalid"
            status.lastError = problem.text
            status.lastErrorAtMicros = problem.since
            status.stateSinceMicros = problem.since
        } else {
            status.state = "starting"
        }
        return status
    }

    private func status(_ running: ConnectionSnapshot, _ tenant: UUID) -> ControlAPI.ConnectionStatus {
        var status = ControlAPI.ConnectionStatus(connectionID: running.id, tenantID: tenant)
        status.name = running.name
        status.endpointURL = running.endpointURL
        status.securityMode = running.securityMode
        status.securityPolicy = running.securityPolicy
        status.state = running.status.state.words
        status.stateSinceMicros = running.status.sinceUnixMicroseconds
        status.owner = owner
        if let error = running.status.latestError {
            status.lastError = error.description
            status.lastErrorAtMicros = running.status.latestErrorUnixMicroseconds
        }
        status.tagsTotal = running.tags
        status.tagsBad = running.badTags
        status.readingsReceived = Int64(clamping: running.readings)
        status.lastReadingAtMicros = running.lastReadingAt
        status.reconnects = Int64(clamping: running.status.connects > 0 ? running.status.connects - 1 : 0)
        status.publishingIntervalMillis = running.status.state == .connected ? running.publishingInterval : 0
        return status
    }

    func listGaps(_ query: GapsQuery, context: CallContext) async throws -> GapsPage {
        let tenant = try tenant(query.tenantID)
        do throws(StoreError) {
            let page = try await gaps.list(
                in: tenant.url,
                connectionID: query.connectionID,
                fromMicros: query.range.startMicros ?? .min,
                toMicros: query.range.endMicros ?? .max,
                unhealedOnly: query.unhealedOnly,
                limit: query.limit,
                pageToken: query.pageToken,
                timeout: Self.timeout(context)
            )
            return GapsPage(gaps: page.gaps.map(Self.gap), nextPageToken: page.nextPageToken)
        } catch {
            throw Self.answer(error, tenant, context)
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
}

extension Array {
    /// The elements that satisfy `condition`, and the others, both in their order.
    fileprivate func partitioned(_ condition: (Element) -> Bool) -> (matching: [Element], others: [Element]) {
        var result: (matching: [Element], others: [Element]) = ([], [])
        for element in self {
            if condition(element) { result.matching.append(element) } else { result.others.append(element) }
        }
        return result
    }
}
