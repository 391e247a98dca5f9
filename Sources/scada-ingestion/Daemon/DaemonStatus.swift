import FoundationEssentials
import Ingestion
import Metrics
import OPCUAClient
import OPCUACodec
import OPCUASecurity
import Observability
import TimescaleStore

/// What the HTTP endpoint tells of the daemon.
struct DaemonStatus: StatusSource {
    let router: TenantRouter
    let metrics: ScadaMetrics
    let configuration: DaemonConfiguration
    let certificates: CertificateWatch
    /// Microseconds since 1970.
    let startedAt: Int64

    /// Bad tags, silent tags and gaps shown at most.
    private static let shown = 100

    func notReadyReasons() -> [String] { router.notReadyReasons }

    func totals() -> StatusTotals {
        var received: UInt64 = 0
        var backlog: Int64 = 0
        for tenant in router.tenantList {
            let figures = tenant.totals()
            received &+= figures.received
            backlog += Int64(figures.backlog)
        }
        return StatusTotals(metrics: metrics, received: received, backlog: backlog)
    }

    func statusReport() async -> StatusReport {
        var report = StatusReport(startedAt: startedAt)
        report.version = BuildInformation.version
        report.replica = configuration.replica.identity
        report.sharing = router.leases.map { leases in
            let figures = leases.figures
            return StatusReport.Sharing(replicas: figures.live, held: figures.held, trouble: figures.trouble)
        }
        report.notReadyReasons = router.notReadyReasons
        let stored = Dictionary(metrics.readingsStored.all.map { ($0.values.first ?? "", $0.instrument.current) }) {
            $1
        }
        // By tenant and reason.
        let rejected = Dictionary(
            metrics.rejectedReadings.all.map { ($0.values.first ?? "", $0.instrument.current) },
            uniquingKeysWith: &+
        )
        for shared in router.tenantList {
            let snapshot = shared.snapshot()
            var tenant = tenant(snapshot)
            tenant.readingsStored = stored[snapshot.id.uuidString.lowercased()] ?? 0
            tenant.readingsRejected = rejected[snapshot.id.uuidString.lowercased()] ?? 0
            report.tenants.append(tenant)
            report.readingsStored &+= tenant.readingsStored
            for connection in snapshot.connections {
                report.connections.append(Self.connection(connection, snapshot.name))
                report.readingsReceived &+= connection.readings
                report.badTagsTotal += connection.badTags
                report.silentTagsTotal += connection.silentTags
            }
            let names = Dictionary(snapshot.connections.map { ($0.id, $0.name.isEmpty ? $0.id.uuidString : $0.name) }) {
                $1
            }
            if report.badTags.count < Self.shown {
                for (connection, bad) in shared.badTags(atMost: Self.shown - report.badTags.count) {
                    var tag = StatusReport.BadTag(
                        tenant: snapshot.name,
                        connection: names[connection] ?? "",
                        nodeID: bad.key.nodeID,
                        reason: "\(bad.status)"
                    )
                    tag.since = bad.since
                    report.badTags.append(tag)
                }
            }
            for silent in shared.silentTags() {
                report.silentTags.append(
                    StatusReport.SilentTag(
                        tenant: snapshot.name,
                        connection: names[silent.connectionID] ?? "",
                        nodeID: silent.nodeID,
                        quietMicroseconds: silent.quiet.milliseconds * 1000,
                        longestBeforeMicroseconds: silent.longestBefore.milliseconds * 1000
                    )
                )
            }
            report.gaps += shared.recentGaps().map { Self.gap($0, snapshot.name, names[$0.connectionID] ?? "") }
        }
        report.silentTags.sort { $0.quietMicroseconds > $1.quietMicroseconds }
        report.silentTags = Array(report.silentTags.prefix(Self.shown))
        report.certificates = certificates.entries.map {
            StatusReport.Certificate(role: $0.role, subject: $0.subject, expiresAt: $0.notAfter * 1_000_000)
        }
        report.gaps.sort { ($0.endedAt ?? .max, $0.startedAt) > ($1.endedAt ?? .max, $1.startedAt) }
        report.gaps = Array(report.gaps.prefix(Self.shown))
        return report
    }

    private func tenant(_ snapshot: TenantSnapshot) -> StatusReport.Tenant {
        let now = WallTime.microseconds()
        var tenant = StatusReport.Tenant(name: snapshot.name)
        tenant.isDatabaseReachable = snapshot.isDatabaseReachable
        tenant.database = snapshot.database
        tenant.connectionsTotal = snapshot.connections.count
        tenant.connectionsActive = snapshot.activeConnections
        tenant.tagsTotal = snapshot.connections.reduce(0) { $0 + $1.tags }
        tenant.tagsBad = snapshot.connections.reduce(0) { $0 + $1.badTags }
        tenant.bufferReadings = snapshot.backlog
        tenant.backlogReadings = Int64(snapshot.backlog)
        if snapshot.backlog > 0 { tenant.oldestUnstoredAt = now - snapshot.oldestUnstoredAge.milliseconds * 1000 }
        tenant.journalBytes = Int64(snapshot.journalBytes)
        tenant.journalLimitBytes = Int64(configuration.journal.maxBytesPerTenant)
        tenant.isIntakeStopped = snapshot.state == .journalFull
        tenant.lastStoredAt = snapshot.timeSinceLastFlush.map { now - $0.milliseconds * 1000 }
        switch snapshot.state {
        case .running:
            if let problem = snapshot.problems.first {
                tenant.trouble = StatusReport.Trouble(
                    snapshot.problems.count == 1 ? problem : "\(problem), and \(snapshot.problems.count - 1) more",
                    advice: "Correct the row in the tenant's database; the change is noticed by itself"
                )
            }
        case .starting:
            tenant.trouble = StatusReport.Trouble(
                Self.words(snapshot),
                advice: Self.cure(snapshot),
                since: snapshot.failingSince
            )
        case .databaseAway:
            tenant.trouble = StatusReport.Trouble(
                Self.words(snapshot),
                advice: (Self.cure(snapshot) ?? "Get its database back") + "; what waits is then stored by itself",
                since: snapshot.failingSince
            )
        case .journalFull:
            tenant.trouble = StatusReport.Trouble(
                snapshot.reason,
                advice: "Free the disk, bring the database back, or raise JOURNAL_MAX_BYTES"
            )
        }
        return tenant
    }

    private static func words(_ snapshot: TenantSnapshot) -> String {
        guard let error = snapshot.error else { return snapshot.reason }
        return "its database cannot be used: \(error.message)" + (error.sqlState.map { " [SQLSTATE \($0)]" } ?? "")
    }

    private static func cure(_ snapshot: TenantSnapshot) -> String? {
        let cure = snapshot.error.flatMap { DatabaseCommand.cure($0, variable: "its tenants.database_url") }
        return cure.map { $0.prefix(1).uppercased() + $0.dropFirst() }
    }

    private static func connection(_ snapshot: ConnectionSnapshot, _ tenant: String) -> StatusReport.Connection {
        var connection = StatusReport.Connection(id: snapshot.id.uuidString.lowercased(), tenant: tenant)
        connection.name = snapshot.name
        connection.endpointURL = snapshot.status.endpointURL ?? snapshot.endpointURL
        connection.security = "\(snapshot.securityMode), \(snapshot.securityPolicy)"
        switch snapshot.status.state {
        case .idle: connection.state = .idle
        case .connecting: connection.state = .connecting
        case .connected: connection.state = .connected
        case .backingOff: connection.state = .backingOff
        case .down: connection.state = .down
        }
        connection.stateSince = snapshot.status.sinceUnixMicroseconds
        connection.lastError = snapshot.status.lastError.map {
            StatusReport.Trouble(
                $0.message + ($0.status.map { ": \($0)" } ?? ""),
                advice: $0.advice,
                since: snapshot.lastErrorAt
            )
        }
        connection.tagsTotal = snapshot.tags
        connection.tagsBad = snapshot.badTags
        connection.tagsSilent = snapshot.silentTags
        connection.readingsReceived = snapshot.readings
        connection.lastReadingAt = snapshot.lastReadingAt
        connection.reconnects = snapshot.status.connects > 0 ? snapshot.status.connects - 1 : 0
        return connection
    }

    private static func gap(_ record: GapRecord, _ tenant: String, _ connection: String) -> StatusReport.Gap {
        var gap = StatusReport.Gap(
            tenant: tenant,
            connection: connection,
            startedAt: record.startedAtMicros,
            cause: record.cause
        )
        gap.nodeID = record.tagNodeID
        gap.endedAt = record.endedAtMicros
        gap.readingsLost = record.readingsLost
        gap.healedAt = record.healedAtMicros
        return gap
    }
}
