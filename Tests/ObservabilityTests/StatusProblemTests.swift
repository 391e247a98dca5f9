import Testing

@testable import Observability

@Suite("What is wrong, the worst first")
struct StatusProblemTests {
    static let now = SampleReports.now
    static let second = SampleReports.second
    static let day = 86_400 * SampleReports.second

    /// A healthy report, spoiled.
    func problems(tenants: Int = 8, _ spoil: (inout StatusReport) -> Void) -> [StatusProblem] {
        var report = SampleReports.healthy(tenants: tenants)
        spoil(&report)
        return report.problems
    }

    @Test func noneWhenAllIsWell() {
        #expect(problems { _ in }.isEmpty)
        #expect(SampleReports.empty.problems.isEmpty)
    }

    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var severity: StatusProblem.Severity
        var subject: String
        var text: String
        var spoil: @Sendable (inout StatusReport) -> Void
    }

    static let cases = [
        Case(testDescription: "not ready", severity: .critical, subject: "Not ready", text: "no master") {
            $0.notReadyReasons = ["no master"]
        },
        Case(
            testDescription: "journal full",
            severity: .critical,
            subject: "Tenant Nordfeld 1",
            text: "journal is full"
        ) {
            $0.tenants[0].isIntakeStopped = true
        },
        Case(
            testDescription: "trouble",
            severity: .critical,
            subject: "Tenant Nordfeld 1",
            text: "no route. 1 reading waits"
        ) {
            $0.tenants[0].trouble = .init("no route", since: now)
            $0.tenants[0].backlogReadings = 1
        },
        Case(testDescription: "away", severity: .critical, subject: "Tenant Nordfeld 1", text: "does not answer") {
            $0.tenants[0].isDatabaseReachable = false
        },
        Case(testDescription: "down", severity: .critical, subject: "Pump station 1 (Nordfeld 1)", text: "refused") {
            $0.connections[0].state = .down
            $0.connections[0].lastError = .init("refused")
        },
        Case(
            testDescription: "expired",
            severity: .critical,
            subject: "Certificate CN=scada-ingestion",
            text: "expired"
        ) {
            $0.certificates[0].expiresAt = now
        },
        Case(testDescription: "filling", severity: .warning, subject: "Tenant Nordfeld 1", text: "80 % full") {
            $0.tenants[0].journalBytes = $0.tenants[0].journalLimitBytes / 10 * 8 + 1000
        },
        Case(testDescription: "backing off", severity: .warning, subject: "Pump station 1 (Nordfeld 1)", text: "cut") {
            $0.connections[0].state = .backingOff
            $0.connections[0].lastError = .init("cut")
        },
        Case(
            testDescription: "slow to connect",
            severity: .warning,
            subject: "Pump station 1 (Nordfeld 1)",
            text: "not connected"
        ) {
            $0.connections[0].state = .connecting
            $0.connections[0].stateSince = now - 61 * second
        },
        Case(testDescription: "lag", severity: .warning, subject: "Tenant Nordfeld 1", text: "lags behind") {
            $0.tenants[0].oldestUnstoredAt = now - 61 * second
        },
        Case(
            testDescription: "bad tags",
            severity: .warning,
            subject: "Pump station 1 (Nordfeld 1)",
            text: "3 of 200 tags"
        ) {
            $0.connections[0].tagsBad = 3
        },
        Case(
            testDescription: "rejected",
            severity: .warning,
            subject: "Tenant Nordfeld 1",
            text: "refused 1 reading since"
        ) {
            $0.tenants[0].readingsRejected = 1
        },
        Case(testDescription: "gap", severity: .warning, subject: "1 gap", text: "is not filled") {
            var gap = StatusReport.Gap(tenant: "t", connection: "c", startedAt: now - 5 * second, cause: "x")
            gap.endedAt = now
            $0.gaps = [gap]
        },
        Case(
            testDescription: "expiring",
            severity: .warning,
            subject: "Certificate CN=scada-ingestion",
            text: "expires in 29 d"
        ) {
            $0.certificates[0].expiresAt = now + 30 * day - second
        },
    ]

    @Test(arguments: cases)
    func each(problem: Case) throws {
        let all = problems(problem.spoil)
        try #require(all.count == 1)
        #expect(all[0].severity == problem.severity)
        #expect(all[0].subject == problem.subject)
        #expect(all[0].message.contains(problem.text), "\(all[0].message)")
    }

    @Test(
        arguments: [
            { @Sendable in $0.connections[0].state = .connecting },
            { @Sendable in $0.connections[0].state = .disabled },
            { @Sendable in $0.connections[0].state = .elsewhere },
            { @Sendable in $0.connections[0].lastError = .init("old", since: now - 9 * second) },
            { @Sendable in $0.certificates[0].expiresAt = now + 30 * day },
            { @Sendable in
                var gap = StatusReport.Gap(tenant: "t", connection: "c", startedAt: now - 2 * day, cause: "x")
                gap.endedAt = now - 2 * day
                $0.gaps = [gap]
            },
            { @Sendable in
                var gap = StatusReport.Gap(tenant: "t", connection: "c", startedAt: now - 9 * second, cause: "x")
                gap.endedAt = now
                gap.healedAt = now
                $0.gaps = [gap]
            },
        ] as [@Sendable (inout StatusReport) -> Void]
    )
    func notWorthAWord(spoil: @Sendable (inout StatusReport) -> Void) {
        var report = SampleReports.healthy(tenants: 2)
        report.connections[0].stateSince = Self.now - 5 * Self.second
        spoil(&report)
        #expect(report.problems.isEmpty)
    }

    @Test func urgentOnesComeFirst() {
        let all = SampleReports.trouble(tenants: 8).problems
        #expect(all.map(\.severity) == all.map(\.severity).sorted(by: >))
        #expect(all.first?.subject == "Tenant Karmøy 1" && all.first?.since == Self.now - 4300 * Self.second)
        #expect(
            all.first?.message.hasSuffix(
                "4.81 M readings wait in the journal, 68 % full; nothing is lost while it has room"
            ) == true
        )
    }

    @Test func manyOfAKindAreToldAsOne() throws {
        let all = problems(tenants: 100) { report in
            for index in 0..<7 {
                report.connections[index].state = .down
                report.connections[index].stateSince = Self.now - Int64(index) * Self.second
                report.connections[index].lastError = .init("refused by \(index)")
            }
        }
        let problem = try #require(all.first)
        #expect(all.count == 1)
        #expect(problem.subject == "7 connections" && problem.since == Self.now - 6 * Self.second)
        #expect(problem.message.hasPrefix("are down: Pump station 1 (Nordfeld 1), Pump station 2 (Nordfeld 1), "))
        #expect(problem.message.hasSuffix("and 4 more. The first: refused by 0"))
    }
}
