import ArgumentParser
import FoundationEssentials
import Ingestion
import OPCUASecurity
import Testing

@testable import TimescaleStore
@testable import scada_ingestion

@Suite struct CheckTests {
    // MARK: Reports

    @Test func lines() {
        #expect(Finding.ok("journal x", "it is there").line == "ok    journal x: it is there")
        #expect(Finding.warn("a", "b\n\tc", cure: "d").line == "warn  a: b; c → d")
        #expect(Finding.fail("a", "b", .service).line == "FAIL  a: b")
    }

    @Test(
        arguments: [
            ([], ExitCode.success), ([.ok("a", "b"), .warn("a", "b")], .success),
            ([.fail("a", "b", .service)], .unavailable),
            ([.fail("a", "b", .service), .fail("a", "b", .configuration)], .configuration),
        ] as [([Finding], ExitCode)]
    )
    func exitCodes(_ findings: [Finding], _ code: ExitCode) {
        #expect(CheckReport(findings: findings).exitCode == code)
    }

    @Test func json() throws {
        struct Decoded: Decodable {
            struct Finding: Decodable { var level, subject, message: String; var cure: String? }
            var status: String
            var exit_code: Int32
            var version: String
            var findings: [Finding]
        }
        let report = CheckReport(findings: [.ok("a", "b"), .fail("c", "d", cure: "e", .service), .warn("f", "g")])
        let decoded = try JSONDecoder().decode(Decoded.self, from: JSONEncoder().encode(report))
        #expect(decoded.status == "fail")
        #expect(decoded.exit_code == 69)
        #expect(decoded.version == BuildInformation.version)
        #expect(decoded.findings.map(\.level) == ["ok", "fail", "warn"])
        #expect(decoded.findings.map(\.cure) == [nil, "e", nil])
        #expect(report.summary == "1 failed, 1 warning, 1 ok")
    }

    // MARK: Databases

    @Test func factsOfAServer() {
        func levels(_ facts: DatabaseFacts, _ wanted: Int = 20) -> [Finding.Level] {
            facts.findings("db", wanted: wanted).map(\.level)
        }
        let good = DatabaseFacts(version: 150_008, isStandby: false, freeConnections: 90, isExposed: false)
        #expect(levels(good) == [.ok])
        #expect(good.findings("db", wanted: 20).first?.message == "PostgreSQL 15.8 answers")
        // The connection that asks is one of those wanted.
        #expect(levels(good, 91) == [.ok])
        #expect(levels(good, 92) == [.ok, .warn])
        #expect(levels(DatabaseFacts(version: 1, isStandby: true, freeConnections: 90, isExposed: false)) == [.fail])
        #expect(
            levels(DatabaseFacts(version: 1, isStandby: false, freeConnections: 90, isExposed: true)) == [.ok, .warn]
        )
    }

    @Test func tenantsThatShareADatabase() throws {
        func tenant(_ slug: String, _ url: String) throws -> TenantRecord {
            TenantRecord(id: UUID(), slug: slug, url: try DatabaseURL(url))
        }
        let tenants = [
            try tenant("a", "postgresql://u1:p@h/x"), try tenant("b", "postgresql://h/y"),
            try tenant("c", "postgresql://u2:q@h:5432/x"),
        ]
        let findings = CheckRun.sharedDatabases(tenants)
        #expect(findings.map(\.subject) == ["database h:5432/x"])
        #expect(findings.first?.message.contains("a and c") == true)
    }

    private func record(_ endpoint: String, password: String? = nil, node: String = "ns=2;s=x") -> ConnectionRecord {
        ConnectionRecord(
            id: UUID(),
            endpointURL: endpoint,
            username: password.map { _ in "u" },
            password: password,
            tags: [TagRecord(id: UUID(), wellID: UUID(), nodeID: node)]
        )
    }

    @Test func rowsOfATenant() throws {
        let old = try SecretCipher(key: keyA)
        let cipher = try SecretCipher(key: keyB, previousKeys: [keyA])
        let rows = TenantConfiguration(
            connections: [
                record("opc.tcp://h", password: try cipher.encrypt("a")),
                record("opc.tcp://h", password: try old.encrypt("hunter2secret")),
                record("opc.tcp://h", password: "hunter2secret"),
                record("http://h"),
                record("opc.tcp://h", node: "hunter"),
                record("opc.tcp://h", password: "enc:v1:AAAA"),
            ],
            problems: [RowProblem(table: "tag_mappings", row: "7", problem: "well_id is not a UUID")]
        )
        var check = TenantCheck(subject: "tenant")
        check.take(rows, cipher, ConnectionDefaults())
        #expect(check.connections == 4)
        #expect(check.tags == 3)
        #expect(check.findings.map(\.level) == [.ok, .warn, .warn, .fail, .fail, .fail, .fail])
        #expect(check.findings.first?.message == "4 connections with 3 tags can be run")
        #expect(check.findings.allSatisfy { !$0.line.contains("hunter2secret") })
    }

    @Test func aMissingKeyIsSaid() throws {
        let stored = try SecretCipher(key: keyA).encrypt("x")
        var check = TenantCheck(subject: "tenant")
        check.take(
            TenantConfiguration(connections: [record("opc.tcp://h", password: stored)]),
            nil,
            ConnectionDefaults()
        )
        let failure = try #require(check.findings.last)
        #expect(failure.level == .fail)
        #expect(failure.message.contains("ENCRYPTION_KEY is not set"))
        #expect(failure.cure?.contains("ENCRYPTION_KEY") == true)
    }

    @Test func manyBadRowsAreCounted() {
        let problems = (0..<50).map {
            RowProblem(table: "tag_mappings", row: "\($0)", problem: "well_id is not a UUID")
        }
        var check = TenantCheck(subject: "tenant")
        check.take(TenantConfiguration(problems: problems), nil, ConnectionDefaults())
        #expect(check.findings.count(where: { $0.level == .fail }) == 21)
        #expect(check.findings.last?.message == "unusable beside these: 30 rows")
    }

    // MARK: Folders

    @Test func mounts() throws {
        let table = MountTable(
            parsing: #"""
                22 28 0:20 / /proc rw,nosuid shared:5 - proc proc rw
                28 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
                90 28 0:50 / /mnt/my\040disk rw - nfs4 server:/x rw
                91 28 0:51 / /mnt/a rw shared:7 master:2 - tmpfs tmpfs rw
                92 91 0:52 / /mnt/a rw - xfs /dev/sdb rw
                nonsense
                1 2 3 4 5 6
                """#
        )
        #expect(table.mounts.count == 5)
        #expect(table.mount(of: "/home/x")?.type == "ext4")
        #expect(table.mount(of: "/mnt/my disk/journal")?.type == "nfs4")
        #expect(table.mount(of: "/mnt/a")?.type == "xfs")
        #expect(table.mount(of: "/mnt/ab")?.type == "ext4")
        #expect(MountTable(parsing: "").mount(of: "/") == nil)
        // The kernel's own list is understood.
        #expect(MountTable(parsing: try SmallTextFile.read("/proc/self/mountinfo")).mount(of: "/") != nil)
    }

    @Test(arguments: [
        ("nfs4", true), ("tmpfs", true), ("overlay", true), ("ext4", false), ("xfs", false), ("btrfs", false),
    ])
    func fileSystems(_ type: String, _ isWorthAWord: Bool) {
        #expect((CheckRun.judge(type, "journal") != nil) == isWorthAWord)
    }

    @Test(arguments: [("/a/b", "/a"), ("/a", "/"), ("/", "/"), ("a/b/", "a"), ("./a", "."), ("a", ".")])
    func parents(_ path: String, _ parent: String) {
        #expect(CheckRun.parent(of: path) == parent)
    }

    @Test(arguments: [
        (0, "0 bytes"), (1_023, "1023 bytes"), (1_536, "1.5 KiB"), (10 << 20, "10 MiB"), (1 << 62, "4194304 TiB"),
    ])
    func roundedSizes(_ bytes: Int, _ text: String) {
        #expect(ByteSize.rounded(bytes) == text)
    }
}
