import Metrics
import Testing

@testable import Observability

@Suite("Ten minutes of samples")
struct StatusHistoryTests {
    let bounds = [1.0, 2, 4]

    func totals(_ received: UInt64, _ stored: UInt64 = 0, delay: [UInt64] = []) -> StatusTotals {
        StatusTotals(
            received: received,
            stored: stored,
            backlog: Int64(received) - Int64(stored),
            delay: Histogram.Snapshot(counts: delay, sum: 0),
            delayBounds: bounds
        )
    }

    @Test func ratesAreCountedFromTheFirstTotals() throws {
        var history = StatusHistory()
        history.add(totals(1000, 900), at: 10, monotonic: .seconds(5))
        #expect(history.samples.isEmpty && history.rates() == nil)
        history.add(totals(1300, 1000), at: 20, monotonic: .seconds(7))
        let sample = try #require(history.latest)
        #expect(sample.at == 20 && sample.receivedPerSecond == 150 && sample.storedPerSecond == 50)
        #expect(sample.backlog == 300 && sample.delayMedian == nil)
        // Twice at one time: no division by nothing.
        history.add(totals(1400), at: 20, monotonic: .seconds(7))
        #expect(history.samples.count == 1)
    }

    @Test func aTenantThatGoesMakesNoRate() throws {
        var history = StatusHistory()
        history.add(totals(1000, 1000, delay: [9, 0, 0, 0]), at: 0, monotonic: .zero)
        history.add(totals(400, 300, delay: [3, 0, 0, 0]), at: 0, monotonic: .seconds(2))
        let sample = try #require(history.latest)
        #expect(sample.receivedPerSecond == 0 && sample.storedPerSecond == 0 && sample.delayP95 == nil)
    }

    @Test func delaysAreThoseOfTheInterval() throws {
        var history = StatusHistory()
        history.add(totals(0, delay: [1000, 0, 0, 0]), at: 0, monotonic: .zero)
        history.add(totals(0, delay: [1000, 10, 0, 0]), at: 0, monotonic: .seconds(2))
        #expect(history.latest?.delayMedian == 1.5)
        history.add(totals(0, delay: [1000, 10, 0, 5]), at: 0, monotonic: .seconds(4))
        #expect(history.latest?.delayP95 == 4)
        history.add(totals(0, delay: [1000, 10, 0, 5]), at: 0, monotonic: .seconds(6))
        #expect(history.latest?.delayP95 == nil)
    }

    @Test func theRingIsBounded() {
        var history = StatusHistory()
        let count = StatusHistory.capacity
        for step in 0...(2 * count + 7) {
            history.add(totals(UInt64(step)), at: Int64(step), monotonic: .seconds(step * 2))
        }
        let last = Int64(2 * count + 7)
        #expect(history.samples.map(\.at) == Array((last - Int64(count) + 1)...last))
        #expect(history.latest?.at == last)
        #expect(history.rates()?.received == 0.5)
    }

    @Test func totalsOfTheMetrics() {
        let metrics = ScadaMetrics()
        #expect(StatusTotals(metrics: metrics, received: 1, backlog: 2) == StatusTotals(received: 1, backlog: 2))
        for tenant in ["a", "b"] {
            metrics.readingsStored.with(tenant).add(5)
            metrics.ingestDelay.with(tenant).observe(0.3, times: 16)
        }
        let totals = StatusTotals(metrics: metrics, received: 12, backlog: 2)
        #expect(totals.stored == 10 && totals.received == 12 && totals.backlog == 2)
        #expect(totals.delay.count == 32 && totals.delayBounds == metrics.ingestDelay.with("a").bounds)
    }
}
