import Testing

@testable import ControlAPI

struct AuthenticatorTests {
    private static func line(_ token: String, _ tenant: String) -> String {
        "sha256:\(hex(testHash(Array(token.utf8)))) \(tenant)\n"
    }

    /// Looks at the file for every call.
    private static func make(
        _ file: String,
        _ report: @escaping @Sendable (String, Bool) -> Void = { _, _ in }
    ) throws -> Authenticator {
        try Authenticator(tokensFile: file, sha256: testHash, checkInterval: .zero, report: report)
    }

    private static func caller(_ authenticator: Authenticator, _ values: [String]) -> Result<
        Caller, Authenticator.Refusal
    > {
        do {
            return .success(try authenticator.caller(authorization: values))
        } catch {
            return .failure(error)
        }
    }

    @Test func knowsTokens() throws {
        let folder = try TemporaryFolder()
        let file = try folder.write("tokens", Self.line("all", "*") + Self.line("north", Sample.tenant))
        let authenticator = try Self.make(file)
        let all = try Self.caller(authenticator, ["Bearer all"]).get()
        #expect(all.tenants == .all)
        #expect(all.identity == "token \(hex(testHash(Array("all".utf8))).prefix(8))")
        let north = try Self.caller(authenticator, ["bEARER  north"]).get()
        #expect(north.mayAccess(TestBackend.tenant) && !north.mayAccess(TestBackend.otherTenant))
    }

    @Test(
        arguments: [
            ([], "a bearer token is required"), (["all"], "not of the form"), (["Basic YWxs"], "not of the form"),
            (["Bearer"], "not of the form"), (["Bearer "], "not of the form"), (["Bearer wrong"], "not known"),
            (["Bearer all "], "not known"), (["Bearer ALL"], "not known"),
            (["Bearer all", "Bearer all"], "more than one"),
            ([""], "not of the form"),
        ] as [([String], String)]
    )
    func refuses(values: [String], problem: String) throws {
        let folder = try TemporaryFolder()
        let authenticator = try Self.make(try folder.write("tokens", Self.line("all", "*")))
        guard case .failure(let refusal) = Self.caller(authenticator, values) else {
            Issue.record("let in")
            return
        }
        #expect(refusal.problem.contains(problem), "\(refusal.problem)")
        #expect(!refusal.identity.contains("wrong") && !refusal.problem.contains("wrong"))
    }

    @Test func readsTheFileAgainWhenItChanges() throws {
        let folder = try TemporaryFolder()
        let lines = LogLines()
        let file = try folder.write("tokens", Self.line("old", "*"))
        let authenticator = try Self.make(file) { line, isError in
            lines.add("\(isError ? "error" : "notice") \(line)")
        }
        #expect(try Self.caller(authenticator, ["Bearer old"]).get().tenants == .all)
        try folder.write("tokens", Self.line("new", "*") + Self.line("other", "*"))
        #expect(try Self.caller(authenticator, ["Bearer new"]).get().tenants == .all)
        #expect(throws: Authenticator.Refusal.self) { try Self.caller(authenticator, ["Bearer old"]).get() }
        #expect(lines.all.count == 1 && lines.contains("notice \(file) has changed and was read again: 2 tokens"))
    }

    @Test func aBadFileLeavesTheTokensKnownBefore() throws {
        let folder = try TemporaryFolder()
        let lines = LogLines()
        let file = try folder.write("tokens", Self.line("old", "*"))
        let authenticator = try Self.make(file) { line, isError in
            lines.add("\(isError ? "error" : "notice") \(line)")
        }
        try folder.write("tokens", "the-token-itself *\n")
        for _ in 0..<3 { #expect(try Self.caller(authenticator, ["Bearer old"]).get().tenants == .all) }
        #expect(lines.all.count == 1)
        #expect(lines.contains("error \(file): line 1: ") && !lines.contains("the-token-itself"))
        // Good again.
        try folder.write("tokens", Self.line("new", "*"))
        #expect(try Self.caller(authenticator, ["Bearer new"]).get().tenants == .all)
    }

    @Test func looksAtTheFileOnlySoOften() throws {
        let folder = try TemporaryFolder()
        let file = try folder.write("tokens", Self.line("old", "*"))
        let authenticator = try Authenticator(tokensFile: file, sha256: testHash, checkInterval: .seconds(3_600))
        try folder.write("tokens", Self.line("new", "*"))
        #expect(try Self.caller(authenticator, ["Bearer old"]).get().tenants == .all)
    }

    @Test(arguments: [("", "holds no token"), ("# nobody\n", "holds no token"), ("x *\n", "line 1: ")])
    func namesWhatIsWrongAtTheStart(text: String, problem: String) throws {
        let folder = try TemporaryFolder()
        let file = try folder.write("tokens", text)
        let error = #expect(throws: ControlServerError.self) { try Self.make(file) }
        #expect(error?.code == .file)
        #expect(error?.description.hasPrefix("\(file): \(problem)") == true)
    }

    @Test func namesTheMissingFile() {
        let error = #expect(throws: ControlServerError.self) { try Self.make("/nowhere/tokens") }
        #expect(error?.description == "/nowhere/tokens: No such file or directory")
    }
}

extension OverTheNetwork {
    /// Tokens over the network.
    struct AccessTests {
        private static func withTokens(_ body: (Fixture) async throws -> Void) async throws {
            let folder = try TemporaryFolder()
            let file = try folder.write(
                "tokens",
                "\(hex(testHash(Array("all".utf8)))) *\n\(hex(testHash(Array("north".utf8)))) \(Sample.tenant)\n"
            )
            let authenticator = try Authenticator(tokensFile: file, sha256: testHash)
            try await Fixture.with(authenticator: authenticator, body)
        }

        @Test func whoMayWhat() async throws {
            try await Self.withTokens { it in
                let other = Sample.query.string(1, "22222222-2222-4222-8222-222222222222").bytes
                let cases: [(String, [UInt8], [String], StatusCode)] = [
                    ("QueryReadings", Sample.query.bytes, [], .unauthenticated),
                    ("QueryReadings", Sample.query.bytes, ["Bearer wrong"], .unauthenticated),
                    ("QueryReadings", Sample.query.bytes, ["Bearer all"], .ok),
                    ("QueryReadings", Sample.query.bytes, ["Bearer north"], .ok),
                    ("QueryReadings", other, ["Bearer all"], .notFound),
                    ("QueryReadings", other, ["Bearer north"], .permissionDenied),
                    ("StreamReadings", other, ["Bearer north"], .permissionDenied),
                    ("GetAggregatorStats", other, ["Bearer north"], .permissionDenied),
                    ("ListConnections", other, ["Bearer north"], .permissionDenied),
                    (
                        "ListGaps", Wire().string(1, "22222222-2222-4222-8222-222222222222").bytes, ["Bearer north"],
                        .permissionDenied
                    ),
                    (
                        "AddConnection", Sample.addConnection.string(2, "22222222-2222-4222-8222-222222222222").bytes,
                        ["Bearer north"], .permissionDenied
                    ),
                    (
                        "TestConnection", Sample.test.string(1, "22222222-2222-4222-8222-222222222222").bytes,
                        ["Bearer north"], .permissionDenied
                    ),
                    (
                        "BrowseNodes", Sample.browse.string(1, "22222222-2222-4222-8222-222222222222").bytes,
                        ["Bearer north"], .permissionDenied
                    ),
                    ("HealthCheck", [], [], .unauthenticated),
                    ("HealthCheck", [], ["Bearer north"], .ok),
                    // Probes and methods that do not exist need no token.
                    ("/grpc.health.v1.Health/Check", [], [], .ok),
                    ("Nothing", [], [], .unimplemented),
                ]
                for (method, request, authorization, code) in cases {
                    let reply = await it.client.unary(method, request, authorization: authorization)
                    #expect(reply.code == code, "\(method) \(authorization): \(reply.text)")
                }
                #expect(
                    it.backend.seen.added.isEmpty && it.backend.seen.probes.isEmpty && it.backend.seen.browses.isEmpty
                )
                #expect(it.backend.seen.queries.count == 3)
            }
        }

        @Test func commandsAndRefusalsAreAudited() async throws {
            try await Self.withTokens { it in
                let identity = "token \(hex(testHash(Array("north".utf8))).prefix(8))"
                let request = Sample.addConnection.string(6, "operator").string(7, "hunter2").message(8, Sample.tag())
                _ = await it.client.unary("AddConnection", request.bytes, authorization: ["Bearer north"])
                #expect(await eventually { it.records.content.audit.count == 1 })
                _ = await it.client.unary("AddConnection", Wire().bytes, authorization: ["Bearer north"])
                #expect(await eventually { it.records.content.audit.count == 2 })
                _ = await it.client.unary("AddConnection", request.bytes, authorization: ["Bearer topsecret"])
                #expect(await eventually { it.records.content.audit.count == 3 })
                _ = await it.client.unary("QueryReadings", Sample.query.bytes, authorization: ["Bearer north"])
                #expect(await eventually { it.records.content.calls.count == 4 })
                let audit = it.records.content.audit
                try #require(audit.count == 3)
                #expect(audit[0].code == .ok && audit[0].method == "AddConnection" && audit[0].message.isEmpty)
                #expect(audit[0].identity == identity)
                #expect(
                    audit[0].subject == [
                        "tenant_id": Sample.tenant, "connection_id": Sample.connection,
                        "endpoint_url": "opc.tcp://10.0.0.7:4840", "tags": "1",
                    ]
                )
                #expect(audit[1].code == .invalidArgument && audit[1].message.hasPrefix("connection_id: "))
                #expect(audit[2].code == .unauthenticated && audit[2].subject.isEmpty)
                #expect(it.log.all.filter { $0.contains("audit: ") }.count == 3)
                #expect(it.log.contains("notice audit: command ") && it.log.contains("warning audit: command failed"))
                #expect(it.log.contains("warning audit: call refused"))
                for secret in ["hunter2", "topsecret"] { #expect(!it.log.contains(secret)) }
            }
        }

        /// Success of the call is not success of the command.
        @Test func commandsNotCarriedOutAreAuditedAsFailed() async throws {
            let backend = TestBackend(commandResult: CommandResult(success: false, error: "the tenant is suspended"))
            try await Fixture.with(backend: backend) { it in
                let reply = await it.client.unary("AddConnection", Sample.addConnection.bytes)
                let answer = try Unwired(try #require(reply.message))
                #expect(!answer.bool(1) && answer.string(2) == "the tenant is suspended")
                #expect(await eventually { it.log.contains("audit: command failed") })
                #expect(it.records.content.audit.first?.message == "the tenant is suspended")
            }
        }

        /// Anybody who reaches the port can be refused as often as they like: the lines are bounded.
        @Test func refusalsDoNotFloodTheLog() async throws {
            try await Self.withTokens { it in
                for _ in 0..<100 {
                    let reply = await it.client.unary("HealthCheck", [])
                    #expect(reply.code == .unauthenticated)
                }
                // The last record may be written after its answer.
                #expect(await eventually { it.records.content.audit.count == 100 })
                // A window may have ended in between.
                #expect(it.log.all.filter { $0.contains("audit: ") }.count < 100)
            }
        }

        @Test func refusalBudget() {
            var budget = RefusalBudget()
            let start = ContinuousClock.now
            for _ in 0..<RefusalBudget.linesPerWindow { #expect(budget.take(now: start) == .write(withheld: 0)) }
            for _ in 0..<5 { #expect(budget.take(now: start + .seconds(9)) == .withhold) }
            #expect(budget.take(now: start + .seconds(10)) == .write(withheld: 5))
            #expect(budget.take(now: start + .seconds(11)) == .write(withheld: 0))
        }
    }
}
