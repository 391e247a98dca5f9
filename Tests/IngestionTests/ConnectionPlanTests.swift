import FoundationEssentials
import OPCUAClient
import Synchronization
import Testing
import TimescaleStore

@testable import Ingestion

@Suite struct ConnectionPlanTests {
    private func record(_ change: (inout ConnectionRecord) -> Void = { _ in }) -> ConnectionRecord {
        var record = ConnectionRecord(id: UUID(), endpointURL: "opc.tcp://plc:4840")
        change(&record)
        return record
    }

    private func plan(_ record: ConnectionRecord) throws(RowProblem) -> ConnectionPlan {
        try ConnectionPlan(record, defaults: ConnectionDefaults()) { stored in
            if stored == "broken" { throw RowProblem(table: "", row: "", problem: "wrong key") }
            return stored + "!"
        }
    }

    @Test(arguments: [
        ("endpoint_url", "http://plc", "None", "None"), ("endpoint_url", ",", "None", "None"),
        ("security_mode", "opc.tcp://plc", "Maybe", "None"), ("security_policy", "opc.tcp://plc", "Sign", "Basic1"),
        ("security_policy", "opc.tcp://plc", "Sign", "None"),
        ("security_policy", "opc.tcp://plc", "None", "Basic256Sha256"),
    ]) func whatIsWrongIsNamed(field: String, url: String, mode: String, policy: String) {
        let record = record {
            $0.endpointURL = url
            $0.securityMode = mode
            $0.securityPolicy = policy
        }
        do throws(RowProblem) {
            _ = try plan(record)
            Issue.record("accepted")
        } catch {
            #expect(error.row == record.id.uuidString.lowercased())
            #expect(error.problem.contains(field) || error.problem.contains(url), "\(error)")
        }
    }

    @Test func namesOfPoliciesAndTheirURIsAreOne() throws {
        let short = try plan(
            record {
                $0.securityMode = "SignAndEncrypt"
                $0.securityPolicy = "Basic256Sha256"
            }
        )
        let long = try plan(
            record {
                $0.securityMode = "SignAndEncrypt"
                $0.securityPolicy = "http://opcfoundation.org/UA/SecurityPolicy#Basic256Sha256"
            }
        )
        #expect(short.configuration.securityPolicyURI == long.configuration.securityPolicyURI)
    }

    @Test func usersMayComeWithACertificate() throws {
        let plan = try plan(record { $0.username = "x509:pump-7.north_2" })
        #expect(
            plan.configuration.identity
                == .x509(certificatePath: "users/pump-7.north_2.pem", privateKeyPath: "users/pump-7.north_2.key")
        )
    }

    @Test(arguments: ["", "../own/private/key", ".hidden", "a/b", "ä", String(repeating: "a", count: 129)])
    func namesOfCertificatesAreNoPaths(_ name: String) {
        #expect(throws: RowProblem.self) { try plan(record { $0.username = "x509:" + name }) }
    }

    @Test func passwordsAreOpenedAndNeverQuoted() throws {
        let good = try plan(
            record {
                $0.username = "op"
                $0.password = "secret"
            }
        )
        #expect(good.configuration.identity == .userName("op", password: Secret("secret!")))
        do throws(RowProblem) {
            _ = try plan(
                record {
                    $0.username = "op"
                    $0.password = "broken"
                }
            )
            Issue.record("accepted")
        } catch {
            #expect(error.problem.contains("wrong key") && !error.problem.contains("broken"))
        }
    }

    @Test func oneMalformedTagCostsOnlyItself() throws {
        let well = UUID()
        func tag(_ node: String, _ change: (inout TagRecord) -> Void = { _ in }) -> TagRecord {
            var tag = TagRecord(id: UUID(), wellID: well, nodeID: node)
            change(&tag)
            return tag
        }
        let planned = try plan(
            record {
                $0.tags = [
                    tag("ns=2;s=good"), tag("ns=two;s=bad"), tag("ns=2;s=good"),
                    tag("i=1") { $0.deadbandAbsolute = -1 }, tag("i=2") { $0.deadbandPercent = 101 },
                    tag("i=3") { $0.samplingIntervalMilliseconds = .nan }, tag("i=4") { $0.deadbandPercent = 5 },
                ]
            }
        )
        #expect(planned.tags.map(\.key.nodeID) == ["ns=2;s=good", "i=4"])
        #expect(planned.tags.last?.deadband == .percent(5))
        #expect(planned.problems.count == 4)
        #expect(planned.problems.first?.problem.contains("ns=two;s=bad") == true)
    }

    @Test func severalEndpointsAreOneConnection() throws {
        let planned = try plan(record { $0.endpointURL = "opc.tcp://a:4840 , opc.tcp://b:4840" })
        #expect(planned.configuration.endpointURLs == ["opc.tcp://a:4840", "opc.tcp://b:4840"])
    }

    @Test func onlyWhatMattersRestarts() throws {
        let base = record { $0.tags = [TagRecord(id: UUID(), wellID: UUID(), nodeID: "i=1")] }
        let first = try plan(base)
        var renamed = base
        renamed.name = "other"
        renamed.tags = []
        #expect(!(try plan(renamed)).needsRestart(from: first))
        var moved = base
        moved.publishingIntervalMilliseconds = 100
        #expect((try plan(moved)).needsRestart(from: first))
    }

    /// A password is opened each time its row is planned.
    @Test func onlyRowsThatChangedArePlannedAgain() {
        let opened = Mutex(0)
        func plans(_ records: [ConnectionRecord], last: ConnectionPlans) -> ConnectionPlans {
            ConnectionPlans(
                TenantConfiguration(connections: records),
                last: last,
                defaults: ConnectionDefaults()
            ) { stored in
                opened.withLock { $0 += 1 }
                return stored
            }
        }
        func take() -> Int {
            opened.withLock { count in
                defer { count = 0 }
                return count
            }
        }
        var records = (0..<3).map { number in
            record {
                $0.username = "op"
                $0.password = "secret"
                $0.tags = [TagRecord(id: UUID(), wellID: UUID(), nodeID: number == 1 ? "wrong" : "i=1")]
            }
        }
        let first = plans(records, last: ConnectionPlans())
        #expect(take() == 3)
        let second = plans(records, last: first)
        #expect(take() == 0)
        #expect(Set(second.usable.keys) == Set(records.map(\.id)))
        #expect(second.problems == first.problems && first.problems.count == 1)
        records[2].tags[0].nodeID = "i=2"
        let gone = records.removeFirst()
        let third = plans(records, last: second)
        #expect(take() == 1)
        #expect(third.usable[records[1].id]?.plan.tags.first?.key.nodeID == "i=2")
        #expect(third.usable[gone.id] == nil && third.usable.count == 2)
        // What is broken is looked at every time: its key may come.
        records[0].securityMode = "Maybe"
        let fourth = plans(records, last: third)
        #expect(take() == 0 && fourth.usable[records[0].id] == nil && fourth.problems.count == 1)
        records[0].securityMode = "None"
        #expect(plans(records, last: fourth).usable.count == 2)
        #expect(take() == 1)
    }
}
