import Testing

@testable import TimescaleStore

@Suite struct ConnectionPoolTests {
    /// The housekeeper sleeps between its rounds: it once woke itself up and used a whole processor.
    @Test func housekeepingIsRare() async throws {
        let tenant = try await TestTenant(.plain)
        let jobs = 200
        for _ in 0..<jobs { _ = try await tenant.ask("SELECT 1") }
        let figures = tenant.pool.statistics
        // A ring when a job comes and one when it has ended.
        #expect(figures.housekeepingRounds <= 4 * figures.jobs + 50, "\(figures)")
        await tenant.pool.close()
    }
}
