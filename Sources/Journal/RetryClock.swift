/// When a failed write is tried again: delays double. Belongs to the journal thread.
final class RetryClock: @unchecked Sendable {
    private let first: UInt64
    private let longest: UInt64
    private var delay: UInt64 = 0
    /// Monotonic nanoseconds; nil while nothing failed.
    private(set) var time: UInt64?

    init(configuration: JournalConfiguration) {
        first = max(1, configuration.retryDelay.clampedNanoseconds)
        longest = max(first, configuration.maximumRetryDelay.clampedNanoseconds)
    }

    func failed() {
        delay = delay == 0 ? first : min(delay * 2, longest)
        time = monotonicNanoseconds() + delay
    }

    /// Something changed that may let the next attempt succeed.
    func hurry() {
        if time != nil { time = monotonicNanoseconds() }
    }

    func succeeded() {
        delay = 0
        time = nil
    }
}
