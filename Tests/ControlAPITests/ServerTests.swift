import FoundationEssentials
import Testing

@testable import ControlAPI

extension OverTheNetwork {
    /// All methods over the network, with a client of the same C core.
    struct ServerTests {
        @Test func queryReadings() async throws {
            try await Fixture.with { it in
                let reply = await it.client.unary("QueryReadings", Sample.query.int(6, 20).bytes)
                #expect(reply.code == .ok)
                let answer = try Unwired(try #require(reply.message))
                let readings = try answer.messages(1)
                #expect(readings.count == 20)
                #expect(answer.string(2) == "20")
                #expect(readings[3].string(1) == Sample.well)
                #expect(readings[3].string(2) == "ns=2;s=Well.Tag3")
                #expect(readings[3].string(7) == "text 3 é")
                #expect(!readings[3].bool(12))
                #expect(readings[4].double(4) == 2)
                #expect(readings[4].string(5) == "Bad")
                #expect(readings[4].int(8) == 0x8000_0000)
                #expect(readings[4].int(6) == 1_700_000_000_004_000)
                #expect(readings[4].int(3) == 1_700_000_000)
                #expect(it.backend.seen.queries.count == 1)
                #expect(it.backend.seen.contexts.first?.caller == Caller(tenants: .all, identity: "anonymous"))
                #expect(it.backend.seen.contexts.first?.deadline != nil)
                // Recorded after the client has its answer.
                #expect(await eventually { it.records.content.calls.count == 1 })
                let record = try #require(it.records.content.calls.first)
                #expect(record.method == "QueryReadings" && record.code == .ok)
                #expect(record.requestBytes == Sample.query.int(6, 20).bytes.count)
                #expect(record.responseBytes == reply.message?.count)
            }
        }

        @Test func pagesFollowEachOther() async throws {
            try await Fixture.with { it in
                var token = ""
                var counts: [Int] = []
                repeat {
                    let reply = await it.client.unary("QueryReadings", Sample.query.string(7, token).bytes)
                    let answer = try Unwired(try #require(reply.message))
                    counts.append(answer.data(1).count)
                    token = answer.string(2)
                } while !token.isEmpty
                #expect(counts == [10_000, 10_000, 5_000])
            }
        }

        @Test func theOtherMethods() async throws {
            try await Fixture.with { it in
                let stats = await it.client.unary("GetAggregatorStats", Wire().string(1, Sample.tenant).bytes)
                var answer = try Unwired(try #require(stats.message))
                #expect(answer.string(1) == Sample.tenant && answer.int(2) == 42 && answer.int(3) == 1_500)
                #expect(answer.int(4) == 4_096 && answer.int(5) == 7 && answer.int(6) == 3_000)

                let added = await it.client.unary("AddConnection", Sample.addConnection.message(8, Sample.tag()).bytes)
                answer = try Unwired(try #require(added.message))
                #expect(answer.bool(1) && answer.string(2).isEmpty)
                #expect(it.backend.seen.added.first?.tags.count == 1)

                let removed = await it.client.unary("RemoveConnection", Wire().string(1, Sample.connection).bytes)
                answer = try Unwired(try #require(removed.message))
                #expect(answer.bool(1))
                #expect(it.backend.seen.removed == [TestBackend.connection])

                let health = await it.client.unary("HealthCheck", [])
                answer = try Unwired(try #require(health.message))
                #expect(answer.string(1) == "degraded" && answer.int(2) == 2 && answer.int(3) == 1)
                #expect(answer.string(4) == "1.2.3")
                #expect(try answer.messages(5).first?.string(1) == Sample.tenant)

                let list = await it.client.unary("ListConnections", Sample.list.bytes)
                answer = try Unwired(try #require(list.message))
                #expect(try answer.messages(1).first?.string(7) == "connected")
                #expect(answer.string(2) == "next")

                let test = await it.client.unary("TestConnection", Sample.test.bytes)
                answer = try Unwired(try #require(test.message))
                #expect(answer.bool(1) && answer.double(4) == 12.5)
                #expect(try answer.messages(5).first?.strings(4) == ["Anonymous", "UserName"])
                #expect(try answer.messages(11).first?.int(2) == 1_000)

                let browse = await it.client.unary("BrowseNodes", Sample.browse.bytes)
                answer = try Unwired(try #require(browse.message))
                let nodes = try answer.messages(1)
                #expect(nodes.map { $0.string(1) } == ["i=85", "nsu=urn:field;s=Pressure"])
                #expect(try nodes[0].messages(12).isEmpty)
                let mapping = try #require(try nodes[1].messages(12).first)
                #expect(mapping.string(3) == nodes[1].string(1) && mapping.string(10) == "bar")

                let gaps = await it.client.unary("ListGaps", Sample.gaps.bytes)
                answer = try Unwired(try #require(gaps.message))
                let gap = try #require(try answer.messages(1).first)
                #expect(gap.string(6) == "server restarted" && !gap.bool(8) && gap.int(5) == 0)
            }
        }

        @Test func streamReadings() async throws {
            try await Fixture.with { it in
                let call = it.client.call("StreamReadings")
                await call.send(Sample.query.bytes)
                await call.halfClose()
                var counts: [Int] = []
                var tokens: [String] = []
                while let message = await call.receive() {
                    let page = try Unwired(message)
                    counts.append(page.data(1).count)
                    tokens.append(page.string(2))
                    #expect(message.count <= CallDispatcher.streamMessageBytes)
                }
                #expect(await call.status().code == .ok)
                #expect(counts == [5_000, 5_000, 5_000, 5_000, 5_000])
                #expect(tokens == ["5000", "10000", "15000", "20000", ""])
            }
        }

        /// The backend is held back while nobody reads: it writes only what flow control has room for.
        @Test func slowReadersSlowTheBackend() async throws {
            try await Fixture.with(backend: TestBackend(readings: 200_000)) { it in
                let call = it.client.call("StreamReadings", timeout: .seconds(120))
                await call.send(Sample.query.bytes)
                await call.halfClose()
                #expect(await call.receive() != nil)
                // 200,000 readings are 40 pages of about half a megabyte; the core's windows hold some.
                var last = -1
                _ = await eventually {
                    let written = it.backend.seen.pagesWritten
                    defer { last = written }
                    try? await Task.sleep(for: .milliseconds(200))
                    return written == last
                }
                #expect(it.backend.seen.pagesWritten < 30)
                var pages = 1
                while await call.receive() != nil { pages += 1 }
                #expect(pages == 40)
                #expect(await call.status().code == .ok)
            }
        }

        // MARK: - What goes wrong

        @Test(arguments: [
            ("QueryReadings", Wire().string(1, "x"), StatusCode.invalidArgument, "tenant_id: "),
            ("QueryReadings", Sample.query.string(1, "22222222-2222-4222-8222-222222222222"), .notFound, "no tenant"),
            (
                "QueryReadings", Sample.query.string(2, "deadbeef-0000-4000-8000-000000000003"), .unavailable,
                "the database"
            ),
            ("QueryReadings", Sample.query.string(7, "nonsense"), .invalidArgument, "page_token: "),
            (
                "QueryReadings", Sample.query.string(2, "deadbeef-0000-4000-8000-000000000002"), .internalError,
                "an internal"
            ),
            (
                "StreamReadings", Sample.query.string(2, "deadbeef-0000-4000-8000-000000000002"), .internalError,
                "an internal"
            ),
            ("RemoveConnection", Wire().string(1, Sample.tag), .notFound, "no connection"),
            ("RemoveConnection", Wire(), .invalidArgument, "connection_id: "),
            ("GetAggregatorStats", Wire().int(1, 1), .invalidArgument, "the request's bytes"),
            ("Nothing", Wire(), .unimplemented, "this server has no method"),
            ("/other.Service/Method", Wire(), .unimplemented, "this server has no method"),
            ("/", Wire(), .unimplemented, "this server has no method"),
        ])
        func statusCodes(method: String, request: Wire, code: StatusCode, text: String) async throws {
            try await Fixture.with { it in
                let reply = await it.client.unary(method, request.bytes)
                #expect(reply.code == code)
                #expect(reply.text.hasPrefix(text), "\(reply.text)")
                #expect(reply.message == nil)
                // What a foreign error says stays in the log.
                #expect(!reply.text.contains("hunter2"))
                #expect(it.log.contains("hunter2") == (code == .internalError))
                #expect(await eventually { it.records.content.calls.map(\.code) == [code] })
            }
        }

        @Test func callWithoutRequest() async throws {
            try await Fixture.with { it in
                let call = it.client.call("HealthCheck")
                await call.halfClose()
                #expect(await call.status() == (.invalidArgument, "the call ended without a request"))
            }
        }

        @Test func requestAboveTheBound() async throws {
            try await Fixture.with { it in
                let reply = await it.client.unary(
                    "HealthCheck",
                    Wire().data(9, [UInt8](repeating: 1, count: 4_194_304)).bytes
                )
                #expect(reply.code == .resourceExhausted)
                let fitting = await it.client.unary(
                    "HealthCheck",
                    Wire().data(9, [UInt8](repeating: 1, count: 4_190_000)).bytes
                )
                #expect(fitting.code == .ok)
            }
        }

        /// What a message becomes when it is decompressed has no bound: compressed ones are not taken.
        @Test func compressedRequestsAreRefused() async throws {
            try await Fixture.with { it in
                let client = try TestClient(port: it.port, compressing: true)
                let reply = await client.unary(
                    "HealthCheck",
                    Wire().data(9, [UInt8](repeating: 0, count: 100_000)).bytes
                )
                await client.close()
                #expect(reply.code == .unimplemented)
            }
        }

        @Test func deadlineStopsTheBackend() async throws {
            try await Fixture.with { it in
                let request = Sample.query.string(2, "deadbeef-0000-4000-8000-000000000001")
                // On a busy machine the deadline may pass before the server has seen the call.
                repeat {
                    let reply = await it.client.unary("QueryReadings", request.bytes, timeout: .milliseconds(500))
                    #expect(reply.code == .deadlineExceeded)
                } while it.backend.seen.hanging == 0
                #expect(await eventually { it.backend.seen.cancelled > 0 && it.server.activeCalls == 0 })
                #expect(it.backend.seen.cancelled == it.backend.seen.hanging)
                #expect(await eventually { !it.records.content.calls.isEmpty })
                #expect([.deadlineExceeded, .cancelled].contains(it.records.content.calls.first?.code))
            }
        }

        @Test(arguments: ["QueryReadings", "StreamReadings"])
        func cancellationStopsTheBackend(method: String) async throws {
            try await Fixture.with { it in
                let call = it.client.call(method)
                await call.send(Sample.query.string(2, "deadbeef-0000-4000-8000-000000000001").bytes)
                await call.halfClose()
                #expect(await eventually { it.backend.seen.hanging == 1 })
                call.cancel()
                #expect(await call.status().code == .cancelled)
                #expect(await eventually { it.backend.seen.cancelled == 1 && it.server.activeCalls == 0 })
                #expect(await eventually { it.records.content.calls.map(\.code) == [.cancelled] })
            }
        }

        /// The client goes in the middle of a stream: the backend's next write fails.
        @Test func cancellationInMidStream() async throws {
            try await Fixture.with(backend: TestBackend(readings: 1_000_000)) { it in
                let call = it.client.call("StreamReadings")
                await call.send(Sample.query.bytes)
                await call.halfClose()
                #expect(await call.receive() != nil)
                call.cancel()
                #expect(await eventually { it.backend.seen.cancelled == 1 && it.server.activeCalls == 0 })
                #expect(it.backend.seen.pagesWritten < 200)
            }
        }

        /// Calls beyond the bound are refused at once; those within it are answered.
        @Test func callsAreBounded() async throws {
            try await Fixture.with(options: { $0.maxConcurrentCalls = 4 }) { it in
                let hanging = Sample.query.string(2, "deadbeef-0000-4000-8000-000000000001").bytes
                var calls: [TestCall] = []
                for _ in 0..<4 {
                    let call = it.client.call("QueryReadings")
                    await call.send(hanging)
                    await call.halfClose()
                    calls.append(call)
                }
                #expect(await eventually { it.backend.seen.hanging == 4 })
                let fifth = await it.client.unary("QueryReadings", Sample.query.bytes)
                #expect(fifth.code == .resourceExhausted)
                // Probes have a share of their own.
                let probe = await it.client.unary("/grpc.health.v1.Health/Check", [])
                #expect(probe.code == .ok)
                for call in calls { call.cancel() }
                #expect(await eventually { it.server.activeCalls == 0 })
                let again = await it.client.unary("QueryReadings", Sample.query.int(6, 1).bytes)
                #expect(again.code == .ok)
            }
        }

        @Test func stalledClientsAreBrokenOff() async throws {
            try await Fixture.with(backend: TestBackend(readings: 1_000_000)) { it in
                // Sends no request.
                let silent = it.client.call("QueryReadings")
                // Does not read its answer.
                let slow = it.client.call("StreamReadings")
                await slow.send(Sample.query.bytes)
                await slow.halfClose()
                #expect(await eventually { it.server.activeCalls == 2 })
                // As the service's loop does once a second, but at once.
                #expect(
                    await eventually {
                        it.server.breakOffCalls(stalledFor: .zero)
                        return it.server.activeCalls == 0
                    }
                )
                #expect(await silent.status().code == .deadlineExceeded)
                // The status comes after the messages that were under way.
                while await slow.receive() != nil {}
                #expect(await slow.status().text.contains("neither sent nor read"))
            }
        }
    }
}
