import FoundationEssentials
import Journal
import Logging
import NIOCore
import OPCUAClient
import TimescaleStore

/// A tenant whose connections are shared with other replicas: only those run for which this replica has a lease.
extension Tenant: LeaseHolder {
    /// How long after its start, or after its first notification, a connection's first values are compared with what is stored.
    private static let firstValues = Duration.seconds(35)
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
        let configured = plans.usable
        await run(connections.mapValues { ($0.record, $0.plan) }.filter { configured[$0.key] != nil })
        await leases.want(configured.mapValues { $0.plan.tags.count }, of: shared.id, journal: journal.journalID)
        await applyLeases()
    }

    func leasesChanged() async { await serially { await $0.applyLeases() } }

    private func applyLeases() async {
        guard let leases = environment.leases, !isStopping else { return }
        let granted = await leases.grants(of: shared.id)
        for (id, running) in connections
        where !granted.leaving.contains(id) && !Self.goesOn(running.grant, granted.running[id]) {
            await suspend(id)
        }
        grants = granted.running
        await forgetForeign(granted.foreign)
        // What is being handed over is neither started nor ended here.
        let leaving = connections.filter { granted.leaving.contains($0.key) }.mapValues { ($0.record, $0.plan) }
        await run(plans.usable.filter { granted.running[$0.key] != nil }.merging(leaving) { $1 })
    }

    /// After the leases had run out a connection is started anew even when nobody took it: the former run takes nothing more.
    private static func goesOn(_ running: LeaseGrant?, _ granted: LeaseGrant?) -> Bool {
        guard let running, let granted else { return false }
        return running.epoch == granted.epoch && running.pass == granted.pass
    }

    /// What an earlier run of this process, or an earlier time as owner, left of connections that others have now.
    private func forgetForeign(_ foreign: Set<UUID>) async {
        for id in dormant.keys where foreign.contains(id) && grants[id] == nil { await drop(id) }
        for id in healings.keys where foreign.contains(id) && grants[id] == nil { healings[id] = nil }
    }

    /// A break whose end this replica will not see is a gap all the same.
    private func drop(_ id: UUID) async {
        let open = dormant.removeValue(forKey: id)?.openGap
        healings[id] = nil
        guard let open, let writer else { return }
        let gap = GapRecord(
            id: open.id,
            connectionID: id,
            startedAtMicros: open.startedAt,
            endedAtMicros: max(open.startedAt, open.firstAt ?? WallTime.microseconds()),
            cause: open.cause.rawValue
        )
        _ = writer.gaps.note(gap, merges: false)
        await append(.gap, of: id, GapRecordFormat.encoded(gap))
        writer.doorbell.ring()
    }

    /// Stops a connection whose lease could not be renewed. Nobody may take it: then it goes on where it stopped, with the
    /// subscriptions that the server still has.
    private func suspend(_ id: UUID) async {
        // What waits for room in a full journal may come into it after the lease has ended.
        writer?.checks.begin()
        defer { if let journal { writer?.checks.end(through: journal.endPosition) } }
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
        takeovers.remove(id)
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
                await tenant.drop(id)
            }
        }
    }

    func released(_ connection: UUID) async {
        await serially { tenant in
            let open = tenant.dormant.removeValue(forKey: connection)?.openGap
            tenant.healings[connection] = nil
            await tenant.closeHere(open, of: connection)
        }
    }

    /// The next owner will see the end of the break.
    private func closeHere(_ open: OpenGapRecord?, of id: UUID) async {
        if let open { await append(.openGap, of: id, OpenGapRecord.closed(open.id)) }
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
        // The next owner may be lost before these rows are stored, and the one after it gets the same values again.
        writer?.checks.check(through: end)
        var handover = handover
        for healing in healings[id] ?? [] { handover.add(.healing, HealingRecord.encoded(healing)) }
        return handover.bytes
    }

    /// At the end: the connections have stopped, the journal is on the disk.
    func giveUpLeases() async {
        guard let leases = environment.leases, let journal else { return }
        for (id, running) in connections {
            let intake = running.intake
            guard
                let (handover, open) = try? await intake.eventLoop.submit({
                    (intake.handover(), intake.memory().openGap)
                })
                .get(), let memory = await seal(handover, of: id, journal)
            else { continue }
            // What cannot be given up now expires.
            guard await leases.release(id, memory: memory) else { break }
            await closeHere(open, of: id)
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
    /// - Returns: for a connection whose last owner was lost: the gap that its first values end.
    func inherit(_ id: UUID, _ plan: ConnectionPlan) async -> GapRecord? {
        guard environment.leases != nil, let writer, let grant = grants[id] else { return nil }
        switch grant.origin {
        case .continued where !(dormant[id]?.states.isEmpty ?? true): return nil
        case .new, .continued: break
        case .handedOver(let memory, let isResumed):
            if let (remembered, unhealed) = ConnectionHandover.decoded(memory, connection: id) {
                dormant[id] = isResumed ? dormant[id]?.laid(over: remembered) ?? remembered : remembered
                let own = isResumed ? healings[id] ?? [] : []
                healings[id] = own + unhealed.filter { each in !own.contains { $0.gap.id == each.gap.id } }
                return nil
            }
            logger.warning(
                "what another replica handed over cannot be read; its version differs",
                metadata: ["connection_id": "\(id.uuidString.lowercased())"]
            )
            return await takeOver(id, plan, lastSeen: WallTime.microseconds(), writer)
        case .lost(let lastRenewal): return await takeOver(id, plan, lastSeen: lastRenewal, writer)
        }
        writer.checks.begin()
        Task { await checkFirstValues() }
        return nil
    }

    private func takeOver(
        _ id: UUID,
        _ plan: ConnectionPlan,
        lastSeen: Int64,
        _ writer: TenantWriter
    ) async -> GapRecord? {
        // Of an earlier time as owner: another replica has received since. A break of then goes on, under its name.
        let begun = dormant.removeValue(forKey: id)?.openGap
        healings[id] = nil
        guard !plan.tags.isEmpty else { return nil }
        let wells = Array(Set(plan.tags.map(\.key.wellID)))
        let newest = try? await registry.newestReading(ofWells: wells, in: url, timeout: .seconds(3))
        // By the server's clock where it can be had, whatever the master database's says.
        let floor = min(newest ?? lastSeen, lastSeen) - Self.slack
        let gap = GapRecord(
            id: begun?.id ?? UUID(),
            connectionID: id,
            startedAtMicros: min(floor, begun?.startedAt ?? floor),
            cause: IntakeGap.Cause.ownerLost.rawValue
        )
        takeovers.insert(id)
        // Open until the first values have come; a crash of this replica must not leave the hole unrecorded.
        _ = writer.gaps.note(gap)
        await append(.gap, of: id, GapRecordFormat.encoded(gap))
        writer.doorbell.ring()
        logger.notice(
            "taking over a connection from a replica that was lost",
            metadata: ["connection_id": "\(id.uuidString.lowercased())"]
        )
        return gap
    }

    /// First values may be ones that another replica received and has stored, or will. Ends what `checks.begin` began.
    func checkFirstValues() async {
        try? await Task.sleep(for: Self.firstValues)
        writer?.checks.end(through: journal?.endPosition ?? .start)
    }

    /// What was inherited goes into the own journal, before anything that is received; then what the former owner left may go.
    func settleIn(_ id: UUID, _ intake: ConnectionIntake) async {
        guard let leases = environment.leases, let journal, let origin = grants[id]?.origin else { return }
        switch origin {
        case .continued: return
        case .new, .lost: break
        case .handedOver: _ = try? await intake.eventLoop.submit { intake.appendSnapshot() }.get()
        }
        for healing in healings[id] ?? [] { await append(.healing, of: id, HealingRecord.encoded(healing)) }
        let end = journal.endPosition
        await environment.journals.syncNow()
        grants[id]?.origin = .continued
        if journal.durablePosition >= end { await leases.adopted(id) }
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
