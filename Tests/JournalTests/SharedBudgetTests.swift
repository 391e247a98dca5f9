import Testing

@testable import Journal

@Suite struct SharedBudgetTests {
    @Test func oneTenantCannotTakeTheOthersShare() {
        let budget = SharedBudget(limit: 1000)
        let accounts = (0..<5).map { _ in budget.open() }
        // A share of 100 each, and 500 for whoever comes first.
        var taken = 0
        while budget.reserve(10, for: accounts[0]) { taken += 10 }
        #expect(taken == 600)
        for account in accounts[1...] {
            #expect(budget.reserve(100, for: account))
            #expect(!budget.reserve(1, for: account))
        }
        #expect(budget.total == 1000)
        budget.release(1, for: accounts[0])
        #expect(budget.reserve(1, for: accounts[4]))
        #expect(!budget.reserve(1, for: accounts[0]))
    }

    /// Bytes that exist already count, but at nobody else's expense.
    @Test func forcedBytesLeaveTheOthersTheirShare() {
        let budget = SharedBudget(limit: 1000)
        let hog = budget.open()
        let other = budget.open()
        budget.force(5000, for: hog)
        #expect(!budget.reserve(1, for: hog))
        #expect(budget.reserve(250, for: other))
        #expect(!budget.reserve(1, for: other))
    }

    @Test func anEmptyAccountMayExceedTheBoundOnce() {
        let budget = SharedBudget(limit: 100)
        let account = budget.open()
        #expect(!budget.reserve(5000, for: account))
        #expect(budget.reserve(5000, for: account, whenEmpty: true))
        #expect(!budget.reserve(1, for: account, whenEmpty: true))
        budget.release(5000, for: account)
        #expect(budget.total == 0)
        #expect(budget.reserve(100, for: account))
    }

    @Test func withoutABoundEverythingFits() {
        let budget = SharedBudget(limit: nil)
        let account = budget.open()
        #expect(budget.reserve(1 << 50, for: account))
        #expect(budget.total == 1 << 50)
        budget.release(1 << 50, for: account)
        budget.close(account)
        #expect(budget.total == 0)
    }

    @Test func aBoundOfNothingStillCounts() {
        let budget = SharedBudget(limit: -5)
        let account = budget.open()
        #expect(!budget.reserve(1, for: account))
        budget.force(7, for: account)
        #expect(budget.total == 7)
    }

    /// Against the rule written out: a reservation fits if what all use beyond their shares stays within the other half.
    @Test(arguments: 1...20) func agreesWithTheNaiveModel(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let limit = Int.random(in: 0...2000, using: &random)
        let budget = SharedBudget(limit: limit)
        var accounts: [(account: SharedBudget.Account, used: Int)] = []
        for step in 0..<1000 {
            switch Int.random(in: 0..<20, using: &random) {
            case 0 where accounts.count < 12:
                accounts.append((budget.open(), 0))
            case 1 where !accounts.isEmpty:
                budget.close(accounts.remove(at: .random(in: 0..<accounts.count, using: &random)).account)
            case 2..<6:
                guard let place = accounts.indices.randomElement(using: &random) else { continue }
                let bytes = Int.random(in: 0...accounts[place].used, using: &random)
                budget.release(bytes, for: accounts[place].account)
                accounts[place].used -= bytes
            case 6:
                guard let place = accounts.indices.randomElement(using: &random) else { continue }
                budget.force(30, for: accounts[place].account)
                accounts[place].used += 30
            default:
                guard let place = accounts.indices.randomElement(using: &random) else { continue }
                let bytes = Int.random(in: 0...300, using: &random)
                let whenEmpty = Bool.random(using: &random)
                let share = limit / 2 / accounts.count
                let excess = accounts.reduce(0) { $0 + max(0, $1.used - share) }
                let more = max(0, accounts[place].used + bytes - share) - max(0, accounts[place].used - share)
                let fits =
                    more == 0 || excess + more <= limit - share * accounts.count
                    || (whenEmpty && accounts[place].used == 0)
                #expect(
                    budget.reserve(bytes, for: accounts[place].account, whenEmpty: whenEmpty) == fits,
                    "seed \(seed), step \(step)"
                )
                if fits { accounts[place].used += bytes }
            }
            #expect(budget.total == accounts.reduce(0) { $0 + $1.used }, "seed \(seed), step \(step)")
        }
    }

    @Test func retryDelaysDoubleUpToTheLongest() {
        var configuration = JournalConfiguration(path: "unused")
        configuration.retryDelay = .seconds(1000)
        configuration.maximumRetryDelay = .seconds(3000)
        let clock = RetryClock(configuration: configuration)
        #expect(clock.time == nil)
        clock.hurry()
        #expect(clock.time == nil)
        for seconds: UInt64 in [1000, 2000, 3000, 3000] {
            let before = monotonicNanoseconds()
            clock.failed()
            let after = monotonicNanoseconds()
            let delay = seconds * 1_000_000_000
            #expect(clock.time.map { ($0 - delay) >= before && ($0 - delay) <= after } == true)
        }
        clock.hurry()
        #expect(clock.time.map { $0 <= monotonicNanoseconds() } == true)
        clock.succeeded()
        #expect(clock.time == nil)
        let before = monotonicNanoseconds()
        clock.failed()
        #expect(clock.time.map { $0 - before < 2_000_000_000_000 } == true)
    }

    @Test(
        arguments: [
            (Duration.zero, 0), (.milliseconds(-3), 0), (.nanoseconds(7), 7), (.milliseconds(50), 50_000_000),
        ] as [(Duration, UInt64)]
    )
    func durations(_ duration: Duration, _ nanoseconds: UInt64) {
        #expect(duration.clampedNanoseconds == nanoseconds)
    }

    @Test func anAbsurdDurationDoesNotOverflow() {
        #expect(Duration.seconds(Int64.max).clampedNanoseconds > 1 << 60)
    }
}
