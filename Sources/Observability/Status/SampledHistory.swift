import NIOCore
import Synchronization

/// The history of the last ten minutes, kept up by a timer on the server's event loop for as long as that runs.
final class SampledHistory: Sendable {
    private let source: any StatusSource
    private let state = Mutex(StatusHistory())
    private let origin = ContinuousClock.now

    init(source: any StatusSource) {
        self.source = source
    }

    var current: StatusHistory { state.withLock { $0 } }

    func start(on eventLoop: any EventLoop) {
        let interval = TimeAmount(StatusHistory.interval)
        eventLoop.scheduleRepeatedTask(initialDelay: .zero, delay: interval) { [self] _ in take() }
    }

    private func take() {
        let totals = source.totals()
        let (at, monotonic) = (UTCTime.nowMicroseconds(), ContinuousClock.now - origin)
        state.withLock { $0.add(totals, at: at, monotonic: monotonic) }
    }
}
