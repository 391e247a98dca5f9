import Testing

@testable import Ingestion

/// Counts go in, look by look; which tags are silent comes out.
@Suite struct SilenceWatchTests {
    /// A watch that has seen one tag send at every `interval`th look, `times` times.
    private func watch(interval: Int, times: Int, period: Int = 100_000) -> (watch: SilenceWatch, count: UInt64) {
        var watch = SilenceWatch(period: period)
        var count: UInt64 = 0
        for _ in 0..<times {
            count += 3
            watch.look([count], [true])
            for _ in 1..<interval { watch.look([count], [true]) }
        }
        return (watch, count)
    }

    /// Looks without a reading until the tag counts as silent; nil when it does not within `bound`.
    private func looksUntilSilent(_ start: SilenceWatch, _ count: UInt64, bound: Int = 10_000) -> Int? {
        var watch = start
        return (1...bound).first { _ in
            watch.look([count], [true])
            return watch.silentCount == 1
        }
    }

    @Test(arguments: [1, 2, 7, 60])
    func quietFiveTimesLongerThanEverIsSilent(interval: Int) {
        let (watch, count) = watch(interval: interval, times: 10)
        // The last `interval - 1` looks were quiet already.
        #expect(looksUntilSilent(watch, count) == SilenceWatch.factor * interval - (interval - 1))
    }

    /// It once copied the entries of all tags for each of them: milliseconds now, minutes then.
    @Test(.timeLimit(.minutes(1))) func aLookAtManyTagsIsNoMoreThanOneAtEach() {
        let counts = [UInt64](repeating: 1, count: 200_000)
        let judged = [Bool](repeating: true, count: counts.count)
        var watch = SilenceWatch(period: 10)
        for _ in 0..<3 { watch.look(counts, judged) }
        #expect(watch.silentCount == 0)
    }

    @Test func theLongestIntervalCounts() {
        var (watch, count) = watch(interval: 1, times: 50)
        for _ in 0..<4 { watch.look([count], [true]) }
        #expect(watch.silentCount == 0)
        count += 1
        watch.look([count], [true])
        #expect(looksUntilSilent(watch, count) == 25)
    }

    @Test func aTagWithoutHistoryIsNeverSilent() {
        var never = SilenceWatch(period: 1000)
        for _ in 0..<500 { never.look([0], [true]) }
        #expect(never.silentCount == 0)
        // The intervals between six readings are five.
        let (young, count) = watch(interval: 1, times: SilenceWatch.leastIntervals)
        #expect(looksUntilSilent(young, count, bound: 500) == nil)
        let (known, later) = watch(interval: 1, times: SilenceWatch.leastIntervals + 1)
        #expect(looksUntilSilent(known, later) == SilenceWatch.factor)
    }

    @Test func aReadingEndsTheSilence() {
        var (watch, count) = watch(interval: 1, times: 10)
        for _ in 0..<20 { watch.look([count], [true]) }
        #expect(watch.silent(atMost: 10) == [SilenceWatch.Silent(handle: 0, quiet: 20, longest: 1)])
        count += 1
        watch.look([count], [true])
        #expect(watch.silentCount == 0 && watch.silent(atMost: 10).isEmpty)
    }

    /// A break is forgotten after two periods: else one long outage would blunt the watch for ever.
    @Test func historyIsForgottenAfterTwoPeriods() {
        let period = 1000
        var (watch, count) = watch(interval: 1, times: 10, period: period)
        for _ in 0..<300 { watch.look([count], [true]) }
        for _ in 0..<(2 * period) {
            count += 1
            watch.look([count], [true])
        }
        #expect(looksUntilSilent(watch, count) == SilenceWatch.factor)
    }

    @Test func tagsThatAreRefusedOrGoneAreNotJudged() {
        var (watch, count) = watch(interval: 1, times: 10)
        for _ in 0..<20 { watch.look([count], [true]) }
        watch.look([count], [false])
        #expect(watch.silentCount == 0)
        watch.look([count], [])
        #expect(watch.silentCount == 0)
        // Back again: its silence counts from its next reading.
        #expect(looksUntilSilent(watch, count, bound: 100) == nil)
        count += 1
        watch.look([count], [true])
        #expect(looksUntilSilent(watch, count) == SilenceWatch.factor)
    }

    /// Only the low half of a count is kept.
    @Test func countsBeyond32BitsAreCompared() {
        var watch = SilenceWatch(period: 1000)
        var count = UInt64(UInt32.max) - 4
        for _ in 0..<10 {
            count += 1
            watch.look([count], [true])
        }
        #expect(watch.silentCount == 0)
        #expect(looksUntilSilent(watch, count) == SilenceWatch.factor)
    }

    @Test func manyTagsAreToldApart() {
        var watch = SilenceWatch(period: 1000)
        var counts = [UInt64](repeating: 0, count: 1000)
        for look in 0..<60 {
            for tag in counts.indices where look < 20 || !tag.isMultiple(of: 10) { counts[tag] += 1 }
            watch.look(counts, [Bool](repeating: true, count: counts.count))
        }
        #expect(watch.silentCount == 100)
        #expect(watch.silent(atMost: 3).map(\.handle) == [0, 10, 20])
    }
}
