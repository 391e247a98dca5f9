import Metrics
import TimescaleStore

/// A tenant's instruments, looked up once.
struct TenantMetrics: Sendable {
    private let metrics: ScadaMetrics
    private let tenant: String
    private let writeDuration: Histogram
    private let batchSize: Histogram
    private let readingsStored: Counter
    private let ingestDelay: Histogram
    private let directCompressed: Counter

    init(_ metrics: ScadaMetrics, tenant: String) {
        self.metrics = metrics
        self.tenant = tenant
        writeDuration = metrics.writeDuration.with(tenant)
        batchSize = metrics.batchSize.with(tenant)
        readingsStored = metrics.readingsStored.with(tenant)
        ingestDelay = metrics.ingestDelay.with(tenant)
        directCompressed = metrics.directCompressed.with(tenant)
        // There from the beginning, at 0: the first gap of a series that begins with it would be no increase.
        for cause in IntakeGap.Cause.allCases { _ = metrics.gaps.with(tenant, cause.rawValue) }
        _ = metrics.rejectedReadings.with(tenant, Self.otherReason)
        _ = metrics.parallelFlushes.with(tenant)
    }

    /// Refusals beyond those that the store names one by one.
    private static let otherReason = "other"

    /// - Parameters:
    ///   - isChecked: it left out what another replica had stored.
    ///   - isParallel: another flush was made at the same time, before it in order.
    func stored(
        _ stored: ReadingsWriter.Stored,
        isChecked: Bool,
        isParallel: Bool,
        duration: Duration,
        delays: [(seconds: Double, rows: Int)]
    ) {
        writeDuration.observe(duration.inSeconds)
        batchSize.observe(Double(stored.rows))
        readingsStored.add(Int(stored.rows))
        if isParallel { metrics.parallelFlushes.with(tenant).add() }
        if isChecked { metrics.checkedFlushes.with(tenant).add() }
        if stored.directCompress { directCompressed.add(Int(stored.rows)) }
        for (seconds, rows) in delays { ingestDelay.observe(seconds, times: rows) }
        guard stored.rejectedCount > 0 else { return }
        let named = Dictionary(grouping: stored.rejected) { String($0.reason.prefix { $0 != ":" }) }
        var counted = 0
        for (reason, rejections) in named {
            metrics.rejectedReadings.with(tenant, reason).add(rejections.count)
            counted += rejections.count
        }
        let rest = Int(stored.rejectedCount) - counted
        if rest > 0 { metrics.rejectedReadings.with(tenant, Self.otherReason).add(rest) }
    }

    func gap(_ cause: String) { metrics.gaps.with(tenant, cause).add() }
    func journalDamaged() { metrics.gaps.with(tenant, IntakeGap.Cause.journalDamaged.rawValue).add() }

    func connectionError(_ connection: String, _ kind: String) {
        metrics.connectionErrors.with(tenant, connection, kind).add()
    }

    /// Forgets the series of a connection that is gone.
    func remove(connection: String) {
        let tenant = tenant
        metrics.connectionErrors.remove { $0.first == tenant && $0.dropFirst().first == connection }
    }

    /// Forgets the tenant's series.
    func remove() {
        metrics.connectionErrors.remove(first: tenant)
        metrics.writeDuration.remove(first: tenant)
        metrics.batchSize.remove(first: tenant)
        metrics.readingsStored.remove(first: tenant)
        metrics.ingestDelay.remove(first: tenant)
        metrics.directCompressed.remove(first: tenant)
        metrics.checkedFlushes.remove(first: tenant)
        metrics.parallelFlushes.remove(first: tenant)
        metrics.gaps.remove(first: tenant)
        metrics.rejectedReadings.remove(first: tenant)
    }
}
