import FoundationEssentials
import Ingestion
import OPCUAClient
import OPCUASecurity
import Observability
import Metrics
import Synchronization
import TimescaleStore

/// The metrics that are computed when somebody asks.
struct DaemonMetrics: Sendable {
    let router: TenantRouter
    let pool: ConnectionPool
    let configuration: DaemonConfiguration
    let certificates: CertificateWatch

    func register(in metrics: ScadaMetrics) {
        let registry = metrics.registry
        registerReadings(registry)
        registerTenants(registry)
        registerConnections(registry)
        registerReplicas(registry)
        registerPool(registry)
        let limit = configuration.journal.maxBytesPerTenant
        registry.collector(ScadaMetrics.Collected.journalLimit, .gauge) { $0.sample([], UInt64(limit)) }
        let router = router
        registry.collector(ScadaMetrics.Collected.ready, .gauge) {
            $0.sample([], UInt64(router.notReadyReasons.isEmpty ? 1 : 0))
        }
        registry.collector(ScadaMetrics.Collected.logLinesDropped, .counter) {
            $0.sample([], UInt64(LoggingSetup.dropped))
        }
        let certificates = certificates
        registry.collector(ScadaMetrics.Collected.certificateExpiry, .gauge) {
            let now = Double(WallTime.microseconds()) / 1e6
            for entry in certificates.entries { $0.sample([entry.label], Double(entry.notAfter) - now) }
        }
        registry.collector(ScadaMetrics.Collected.buildInfo, .info) {
            $0.sample([BuildInformation.version, BuildInformation.compiler], UInt64(1))
        }
    }

    private func registerPool(_ registry: Registry) {
        let pool = pool
        registry.collector(ScadaMetrics.Collected.databaseConnections, .gauge) { writer in
            let figures = pool.statistics
            writer.sample(["busy"], UInt64(figures.busy))
            writer.sample(["idle"], UInt64(figures.idle))
        }
        registry.collector(ScadaMetrics.Collected.databaseConnects, .counter) {
            $0.sample([], pool.statistics.connects)
        }
        registry.collector(ScadaMetrics.Collected.databaseWaiting, .gauge) {
            $0.sample([], UInt64(pool.statistics.waiting))
        }
        registry.collector(ScadaMetrics.Collected.databaseJobs, .counter) { $0.sample([], pool.statistics.jobs) }
        registry.collector(ScadaMetrics.Collected.databaseWait, .counter) {
            $0.sample([], pool.statistics.waited / .seconds(1))
        }
    }

    private func registerReplicas(_ registry: Registry) {
        guard let leases = router.leases else { return }
        registry.collector(ScadaMetrics.Collected.leasesHeld, .gauge) {
            $0.sample([], UInt64(leases.figures.held))
        }
        registry.collector(ScadaMetrics.Collected.replicasLive, .gauge) {
            $0.sample([], UInt64(leases.figures.live.count))
        }
        registry.collector(ScadaMetrics.Collected.takeovers, .counter) { $0.sample([], leases.figures.takeovers) }
        registry.collector(ScadaMetrics.Collected.fencings, .counter) { $0.sample([], leases.figures.fencings) }
        registry.collector(ScadaMetrics.Collected.handovers, .counter) {
            let figures = leases.figures
            $0.sample(["in"], figures.handedIn)
            $0.sample(["out"], figures.handedOut)
        }
    }

    private func registerReadings(_ registry: Registry) {
        let router = router
        switch configuration.http.tagLabels {
        case .tag:
            let name = ScadaMetrics.Collected.readingsIngested(labels: ["tenant_id", "well_id", "tag_node_id"])
            let labels = SeriesLabels(names: name.labels)
            registry.collector(name, .counter) { writer in
                for tenant in router.tenantList {
                    for series in tenant.tagCounts() { labels.write(series, tenant.id, &writer) }
                }
            }
        case .well:
            let name = ScadaMetrics.Collected.readingsIngested(labels: ["tenant_id", "well_id"])
            registry.collector(name, .counter) { writer in
                for tenant in router.tenantList {
                    var wells: [UUID: UInt64] = [:]
                    for series in tenant.tagCounts() {
                        for (index, key) in series.keys.enumerated() {
                            if let key { wells[key.wellID, default: 0] &+= series.value(index) }
                        }
                    }
                    let id = tenant.id.uuidString.lowercased()
                    for (well, count) in wells.sorted(by: { $0.key < $1.key }) {
                        writer.sample([id, well.uuidString.lowercased()], count)
                    }
                }
            }
        case .tenant:
            let name = ScadaMetrics.Collected.readingsIngested(labels: ["tenant_id"])
            registry.collector(name, .counter) { writer in
                for tenant in router.tenantList {
                    var count: UInt64 = 0
                    for series in tenant.tagCounts() {
                        for index in series.keys.indices { count &+= series.value(index) }
                    }
                    writer.sample([tenant.id.uuidString.lowercased()], count)
                }
            }
        }
    }

    private func registerTenants(_ registry: Registry) {
        tenants(registry, ScadaMetrics.Collected.activeConnections) { UInt64($0.activeConnections) }
        tenants(registry, ScadaMetrics.Collected.bufferSize) { UInt64($0.backlog) }
        tenants(registry, ScadaMetrics.Collected.backlog) { UInt64($0.backlog) }
        tenants(registry, ScadaMetrics.Collected.journalBytes) { UInt64($0.journalBytes) }
        tenants(registry, ScadaMetrics.Collected.tenantUp) { $0.state == .running ? 1 : 0 }
        let router = router
        registry.collector(ScadaMetrics.Collected.oldestUnstored, .gauge) { writer in
            for tenant in router.tenantList {
                writer.sample(
                    [tenant.id.uuidString.lowercased()],
                    tenant.snapshot(withConnections: false).oldestUnstoredAge.inSeconds
                )
            }
        }
        registry.collector(ScadaMetrics.Collected.connections, .gauge) { writer in
            for tenant in router.tenantList {
                let counts = Dictionary(grouping: tenant.snapshot().connections) { $0.status.state.rawValue }
                for (state, connections) in counts.sorted(by: { $0.key < $1.key }) {
                    writer.sample([tenant.id.uuidString.lowercased(), state], UInt64(connections.count))
                }
            }
        }
    }

    private func tenants(
        _ registry: Registry,
        _ name: MetricName,
        _ value: @escaping @Sendable (TenantSnapshot) -> UInt64
    ) {
        let router = router
        registry.collector(name, .gauge) { writer in
            for tenant in router.tenantList {
                writer.sample([tenant.id.uuidString.lowercased()], value(tenant.snapshot()))
            }
        }
    }

    private func registerConnections(_ registry: Registry) {
        connections(registry, ScadaMetrics.Collected.connectionUp, .gauge) { $0.status.state == .connected ? 1 : 0 }
        connections(registry, ScadaMetrics.Collected.badTags, .gauge) { UInt64($0.badTags) }
        connections(registry, ScadaMetrics.Collected.silentTags, .gauge) { UInt64($0.silentTags) }
        connections(registry, ScadaMetrics.Collected.reconnects, .counter) {
            $0.status.connects > 0 ? $0.status.connects - 1 : 0
        }
        connections(registry, ScadaMetrics.Collected.republished, .counter) { $0.republished }
        connections(registry, ScadaMetrics.Collected.queueOverflows, .counter) { $0.overflows }
        connections(registry, ScadaMetrics.Collected.duplicates, .counter) { $0.duplicates }
        connections(registry, ScadaMetrics.Collected.receiveTimestamps, .counter) { $0.receiveTimestamps }
        connections(registry, ScadaMetrics.Collected.recovered, .counter) { $0.recovered }
    }

    private func connections(
        _ registry: Registry,
        _ name: MetricName,
        _ type: MetricType,
        _ value: @escaping @Sendable (ConnectionSnapshot) -> UInt64
    ) {
        let router = router
        registry.collector(name, type) { writer in
            for tenant in router.tenantList {
                for connection in tenant.snapshot().connections {
                    writer.sample(
                        [tenant.id.uuidString.lowercased(), connection.id.uuidString.lowercased()],
                        value(connection)
                    )
                }
            }
        }
    }
}

/// Labels of very many series, rendered once.
private final class SeriesLabels: Sendable {
    private let names: [String]
    private let rendered = Mutex<[ObjectIdentifier: Rendered]>([:])

    /// One text after the other in one piece of memory: a hundred thousand arrays would take as much again.
    private struct Rendered {
        var text: [UInt8] = []
        /// Where each ends.
        var ends: [Int] = []
    }

    init(names: [String]) { self.names = names }

    func write(_ series: TagCounts, _ tenant: UUID, _ writer: inout SampleWriter) {
        let labels = rendered.withLock { rendered -> Rendered in
            if let known = rendered[series.id], known.ends.count == series.keys.count { return known }
            let made = render(series.keys, tenant.uuidString.lowercased())
            if rendered.count > 4096 { rendered = [:] }
            rendered[series.id] = made
            return made
        }
        var start = 0
        for (index, end) in labels.ends.enumerated() {
            if end > start { writer.sample(renderedLabels: labels.text[start..<end], series.value(index)) }
            start = end
        }
    }

    private func render(_ keys: [TagKey?], _ tenant: String) -> Rendered {
        var made = Rendered()
        made.ends.reserveCapacity(keys.count)
        for (index, key) in keys.enumerated() {
            if let key {
                let labels = [tenant, key.wellID.uuidString.lowercased(), key.nodeID]
                let text = SampleWriter.renderLabels(names, labels)
                // The others are about as long.
                if index == 0 { made.text.reserveCapacity((text.count + 4) * keys.count) }
                made.text += text
            }
            made.ends.append(made.text.count)
        }
        return made
    }
}
