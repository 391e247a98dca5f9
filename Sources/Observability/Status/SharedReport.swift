/// One report for all who ask at about the same time: however many look at the status page, the daemon is asked at most twice
/// a second.
actor SharedReport {
    private let source: any StatusSource
    private let validity: Duration
    private var made: (at: ContinuousClock.Instant, report: StatusReport)?
    private var pending: Task<StatusReport, Never>?

    init(source: any StatusSource, validity: Duration = .milliseconds(500)) {
        self.source = source
        self.validity = validity
    }

    /// A report at most `validity` old when it is asked for.
    func current() async -> StatusReport {
        if let made, ContinuousClock.now - made.at < validity { return made.report }
        if let pending { return await pending.value }
        let task = Task { [source] in await source.statusReport() }
        pending = task
        let report = await task.value
        // Nobody else has changed `pending` meanwhile: who came in between waits for this task.
        pending = nil
        made = (.now, report)
        return report
    }
}
