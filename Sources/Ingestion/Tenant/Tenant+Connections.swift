import FoundationEssentials
import Journal
import Logging
import NIOCore
import OPCUAClient
import OPCUACodec
import TimescaleStore

/// What runs of a tenant's connections, and what it tells.
extension Tenant {
    func start(_ record: ConnectionRecord, _ plan: ConnectionPlan) async {
        guard let journal else { return }
        let id = record.id
        let reverse = environment.options.reverse
        let dialsIn = plan.configuration.endpointURLs.contains { EndpointURL.isReverse($0) }
        // A socket stays on the event loop that took it.
        let loop = dialsIn ? reverse?.eventLoop ?? environment.eventLoops.next() : environment.eventLoops.next()
        var logger = logger
        logger[metadataKey: "connection_id"] = "\(id.uuidString.lowercased())"
        let intake = ConnectionIntake(
            connectionID: id,
            endpointURL: record.endpointURL,
            eventLoop: loop,
            journal: journal,
            buffers: environment.journals.buffers,
            pass: grants[id]?.pass,
            durability: shared.durability(on: loop),
            events: events(of: id, logger),
            logger: logger
        )
        let takeOver = await inherit(id, plan)
        let remembered = dormant.removeValue(forKey: id) ?? TenantMemory.Connection()
        var configuration = plan.configuration
        configuration.restored = remembered.restorable(endpointURL: record.endpointURL)
        let tags = plan.tags
        do {
            configuration.items = try await loop.submit {
                intake.restore(remembered)
                let items = intake.specifications(tags)
                if let takeOver { intake.takeOver(takeOver) }
                return items
            }.get()
        } catch {
            logger.error("the connection could not be started", metadata: ["error": "\(error)"])
            return
        }
        await settleIn(id, intake)
        if isStopping { return }
        let connection = OPCUAConnection(
            configuration: configuration,
            eventLoop: loop,
            consumer: intake,
            logger: logger,
            security: environment.options.security,
            reverse: reverse,
            pace: environment.options.gathering?.pace(of: loop)
        )
        loop.execute { intake.connection = connection }
        connections[id] = ManagedConnection(
            record: record,
            plan: plan,
            intake: intake,
            connection: connection,
            recovered: TenantShared.Running.Recovered(),
            task: Task { await connection.run() },
            grant: grants[id]
        )
        publish()
        startHealer(id)
        logger.info(
            "connection started",
            metadata: ["endpoint": "\(record.endpointURL)", "tags": "\(plan.tags.count)"]
        )
    }

    func change(_ id: UUID, _ record: ConnectionRecord, _ plan: ConnectionPlan) async {
        guard let running = connections[id] else { return }
        if plan.tags != running.plan.tags {
            let intake = running.intake
            let tags = plan.tags
            guard let items = try? await intake.eventLoop.submit({ intake.specifications(tags) }).get() else { return }
            await running.connection.update(items: items)
            logger.info(
                "tags changed",
                metadata: ["connection_id": "\(id.uuidString.lowercased())", "tags": "\(plan.tags.count)"]
            )
        }
        connections[id]?.record = record
        connections[id]?.plan = plan
    }

    /// The connection is gone from the configuration, or is started anew: the server shall forget it.
    func end(_ id: UUID) async {
        guard let running = connections[id] else { return }
        await running.shutDown(keepsSubscriptions: false)
        healers[id]?.cancel()
        connections[id] = nil
        if let memory = await remember(running) { dormant[id] = memory }
        publish()
        metrics.remove(connection: id.uuidString.lowercased())
        logger.info("connection ended", metadata: ["connection_id": "\(id.uuidString.lowercased())"])
    }

    /// What a connection leaves behind: the states of its tags, no subscriptions.
    func remember(_ running: ManagedConnection) async -> TenantMemory.Connection? {
        let intake = running.intake
        return try? await intake.eventLoop.submit { intake.memory() }.get()
    }

    func events(of id: UUID, _ logger: Logger) -> IntakeEvents {
        let metrics = metrics
        let name = id.uuidString.lowercased()
        let lastError = Deduplicator()
        var events = IntakeEvents()
        events.statusChanged = { status in
            guard let error = lastError.new(status) else { return }
            metrics.connectionError(name, error)
        }
        events.gap = { [weak self] gap in
            Task { await self?.record(gap, of: id) }
        }
        if environment.leases != nil, let checks = writer?.checks {
            events.firstAfterTakeover = { [weak self] in
                checks.begin()
                Task { await self?.checkFirstValues() }
            }
        }
        events.itemStatus = { key, status in
            if status.isBad {
                logger.warning(
                    "tag has no values for now; it is tried again",
                    metadata: ["tag_node_id": "\(key.nodeID)", "status": "\(status)"]
                )
            } else {
                logger.info("tag is watched", metadata: ["tag_node_id": "\(key.nodeID)"])
            }
        }
        return events
    }
}
