import FoundationEssentials
import Journal
import Logging
import NIOCore
import OPCUAClient
import TimescaleStore

/// A tenant whose connections are shared with other replicas: only those run for which this replica has a lease.
extension Tenant: LeaseHolder {
    /// How long after its start a connection's first values are compared with what is stored.
    private static let firstValues = Duration.seconds(20)
    /// How much earlier than the last sign of a lost replica a hole begins: readings are on their way for a while. Not a
    /// round number, because timestamps often are.
    private static let slack: Int64 = 5_000_003

    // MARK: Changes

    /// Changes to what runs are made one after the other: by the configuration and by the leases.
    func serially<R: Sendable>(_ change: @escaping @Sendable (isolated Tenant) async -> R) async -> R {
        let previous = changes
        let task = Task {
            await previous?.value
            return await change(self)
        }
        changes = Task { _ = await task.value }
        return await task.value
    }

    /// The configuration was read.
    func applyWithLeases() async {
        guard let leases = environment.leases, let journal, !isStopping else { return }
        // What is not configured any more stops before its lease goes.
        let configured = plans
        await run(connections.mapValues { ($0.record, $0.plan) }.filter { configured[$0.key] != nil })
        await leases.want(plans.mapValues { $0.plan.tags.count }, of: shared.id, journal: journal.journalID)
        await applyLeases()
    }

    func leasesChanged() async { await serially { await $0.applyLeases() } }

    private func applyLeases() async {
        guard let leases = environment.leases, !isStopping else { return }
        let granted = await leases.grants(of: shared.id)
        for (id, running) in connections where granted[id]?.epoch != running.epoch { await suspend(id) }
        grants = granted
        await run(plans.filter { granted[$0.key] != nil })
    }

    /// Stops a connection whose lease could not be renewed. Nobody may take it: then it goes on where it stopped, with the
    /// subscriptions that the server still has.
    private func suspend(_ id: UUID) async {
        guard let memory = await stopKeeping(id, { $0.memoryWithSubscriptions() }) else { return }
        dormant[id] = memory
    }

    private func stopKeeping<R: Sendable>(
        _ id: UUID,
        _ remember: @escaping @Sendable (ConnectionIntake) -> R
    ) async -> R? {
        guard let running = connections[id] else { return nil }
        await running.shutDown(keepsSubscriptions: true)
        healers[id]?.cancel()
        connections[id] = nil
        takeovers[id] = nil
        publish()
        metrics.remove(connection: id.uuidString.lowercased())
        logger.info("connection stopped here", metadata: ["connection_id": "\(id.uuidString.lowercased())"])
        let intake = running.intake
        return try? await intake.eventLoop.submit { remember(intake) }.get()
    }

    func forget(_ connections: [UUID]) async {
        await serially { tenant in
            for id in connections {
                await tenant.suspend(id)
                tenant.dormant[id] = nil
                tenant.healings[id] = nil
            }
        }
    }

    func handOver(_ connection: UUID) async -> [UInt8]? {
        await serially { await $0.stopForHandover(connection) }
    }

    private func stopForHandover(_ id: UUID) async -> [UInt8]? {
        guard !isStopping, let journal,
            let (handover, memory) = await stopKeeping(id, { ($0.handover(), $0.memoryWithSubscriptions()) })
        else { return nil }
        // Should it fail, the connection goes on here.
        dormant[id] = memory
        return await seal(handover, of: id, journal)
    }

    /// A handover is good when everything it stands for is on this replica's disk.
    private func seal(_ handover: ConnectionHandover, of id: UUID, _ journal: TenantJournal) async -> [UInt8]? {
        let end = journal.endPosition
        await environment.journals.syncNow()
        guard journal.durablePosition >= end else { return nil }
        var handover = handover
        for healing in healings[id] ?? [] { handover.add(.healing, HealingRecord.encoded(healing)) }
        return handover.bytes
    }

    /// At the end: the connections have stopped, the journal is on the disk.
    func giveUpLeases() async {
        guard let leases = environment.leases, let journal else { return }
        for (id, running) in connections {
            let intake = running.intake
            guard let handover = try? await intake.eventLoop.submit({ intake.handover() }).get(),
                let memory = await seal(handover, of: id, journal)
            else { continue }
            // What cannot be given up now expires.
            guard await leases.release(id, memory: memory) else { break }
        }
        await leases.part(shared.id)
    }

    nonisolated var reports: [UUID: LeaseStore.Report] {
        Dictionary(
            shared.snapshot().connections.map { connection in
                var report = LeaseStore.Report()
                report.state = connection.status.state.words
                report.stateSinceMicros = connection.status.sinceUnixMicroseconds
                report.lastError = connection.status.lastError?.description ?? ""
                report.tags = connection.tags
                report.tagsBad = connection.badTags
                report.readingsReceived = Int64(clamping: connection.readings)
                report.lastReadingAtMicros = connection.lastReadingAt
                report.reconnects = Int64(clamping: connection.status.connects > 0 ? connection.status.connects - 1 : 0)
                report.publishingIntervalMillis =
                    connection.status.state == .connected ? connection.publishingInterval : 0
                return (connection.id, report)
            }
        ) { $1 }
    }

    // MARK: Beginning where another replica ended

    /// Takes over what there is of a connection that is about to start.
    /// - Returns: for a connection whose last owner was lost: from when on readings may be missing.
    func inherit(_ id: UUID, _ plan: ConnectionPlan) async -> Int64? {
        guard environment.leases != nil, let writer, let grant = grants[id] else { return nil }
        switch grant.origin {
        case .continued where !(dormant[id]?.states.isEmpty ?? true): return nil
        case .new, .continued: break
        case .handedOver(let memory):
            if let (remembered, unhealed) = ConnectionHandover.decoded(memory, connection: id) {
                dormant[id] = remembered
                healings[id] = unhealed
                return nil
            }
            logger.warning(
                "what another replica handed over cannot be read; its version differs",
                metadata: ["connection_id": "\(id.uuidString.lowercased())"]
            )
            return await takeOver(id, plan, lastSeen: WallTime.microseconds(), writer)
        case .lost(let lastRenewal): return await takeOver(id, plan, lastSeen: lastRenewal, writer)
        }
        checkFirstValues(writer)
        return nil
    }

    private func takeOver(
        _ id: UUID,
        _ plan: ConnectionPlan,
        lastSeen: Int64,
        _ writer: TenantWriter
    ) async -> Int64 {
        // Of an earlier time as owner: another replica has received since.
        dormant[id] = nil
        healings[id] = nil
        checkFirstValues(writer)
        let wells = Array(Set(plan.tags.map(\.key.wellID)))
        let newest = try? await registry.newestReading(ofWells: wells, in: url, timeout: .seconds(3))
        // By the server's clock where it can be had, whatever the master database's says.
        let floor = min(newest ?? lastSeen, lastSeen) - Self.slack
        let gap = GapRecord(connectionID: id, startedAtMicros: floor, cause: IntakeGap.Cause.ownerLost.rawValue)
        takeovers[id] = gap
        // Open until the first values have come; a crash of this replica must not leave the hole unrecorded.
        _ = writer.gaps.note(gap)
        await append(.gap, of: id, GapRecordFormat.encoded(gap))
        writer.doorbell.ring()
        logger.notice(
            "taking over a connection from a replica that was lost",
            metadata: ["connection_id": "\(id.uuidString.lowercased())"]
        )
        return floor
    }

    /// First values may be ones that another replica received and has stored, or will.
    private func checkFirstValues(_ writer: TenantWriter) {
        writer.checks.begin()
        Task {
            let deadline = ContinuousClock.now + .seconds(600)
            try? await Task.sleep(for: Self.firstValues)
            // A server that cannot be reached yet has sent nothing.
            while ContinuousClock.now < deadline, !self.takeovers.isEmpty, !self.isStopping {
                try? await Task.sleep(for: .seconds(1))
            }
            writer.checks.end(through: self.journal?.endPosition ?? .start)
        }
    }

    /// What was inherited goes into the own journal; then the former owner's may go.
    func settleIn(_ id: UUID) async {
        guard let leases = environment.leases, let running = connections[id], let grant = grants[id] else { return }
        if case .continued = grant.origin { return }
        if case .handedOver = grant.origin {
            let intake = running.intake
            _ = try? await intake.eventLoop.submit { intake.appendSnapshot() }.get()
            for healing in healings[id] ?? [] { await append(.healing, of: id, HealingRecord.encoded(healing)) }
            await environment.journals.syncNow()
        }
        grants[id]?.origin = .continued
        await leases.adopted(id)
    }
}

extension OPCUAClient.ConnectionStatus.State {
    /// For people and the API.
    package var words: String {
        switch self {
        case .idle: "starting"
        case .connecting: "connecting"
        case .connected: "connected"
        case .backingOff: "waiting to reconnect"
        case .down: "down"
        }
    }
}
