import CScadaProto
import Testing

@testable import ControlAPI

extension OverTheNetwork {
    /// grpc.health.v1 and grpc.reflection.
    struct HealthTests {
        @Test func stateGoesToEveryWatcher() async {
            let health = HealthState()
            #expect(health.status == .notServing)
            var first = health.updates().makeAsyncIterator()
            var second = health.updates().makeAsyncIterator()
            #expect(await first.next() == .notServing)
            #expect(await second.next() == .notServing)
            health.set(.serving)
            #expect(await first.next() == .serving)
            #expect(await second.next() == .serving)
        }

        @Test func slowWatchersMissOnlyWhatIsOver() async {
            let health = HealthState()
            var watcher = health.updates().makeAsyncIterator()
            for _ in 0..<10 {
                health.set(.serving)
                health.set(.notServing)
            }
            health.set(.serving)
            #expect(await watcher.next() == .serving)
        }

        @Test func shutdownIsTheEnd() async {
            let health = HealthState()
            health.set(.serving)
            var watcher = health.updates().makeAsyncIterator()
            #expect(await watcher.next() == .serving)
            health.shutDown()
            health.set(.serving)
            #expect(health.status == .notServing)
            #expect(await watcher.next() == .notServing)
            #expect(await watcher.next() == nil)
            var late = health.updates().makeAsyncIterator()
            #expect(await late.next() == .notServing)
            #expect(await late.next() == nil)
        }

        @Test func cancelledWatchersAreForgotten() async {
            let health = HealthState()
            let task = Task { for await _ in health.updates() {} }
            task.cancel()
            await task.value
            health.set(.serving)
            #expect(health.status == .serving)
        }

        /// The status in an answer; nil when there is none.
        private static func status(_ message: [UInt8]?) -> Int64? {
            message.flatMap { try? Unwired($0).int(1) }
        }

        @Test func check() async throws {
            try await Fixture.with { it in
                let method = "/grpc.health.v1.Health/Check"
                #expect(await Self.status(it.client.unary(method, []).message) == 2)
                it.health.set(.serving)
                #expect(await Self.status(it.client.unary(method, []).message) == 1)
                let named = Wire().string(1, "scada.ScadaService").bytes
                #expect(await Self.status(it.client.unary(method, named).message) == 1)
                let unknown = await it.client.unary(method, Wire().string(1, "other.Service").bytes)
                #expect(unknown.code == .notFound)
                #expect(await it.client.unary(method, Wire().data(1, [0xFF]).bytes).code == .invalidArgument)
            }
        }

        @Test func watch() async throws {
            try await Fixture.with { it in
                let call = it.client.call("/grpc.health.v1.Health/Watch")
                await call.send([])
                await call.halfClose()
                #expect(await Self.status(call.receive()) == 2)
                it.health.set(.serving)
                #expect(await Self.status(call.receive()) == 1)
                it.health.set(.notServing)
                #expect(await Self.status(call.receive()) == 2)
                let unknown = it.client.call("/grpc.health.v1.Health/Watch")
                await unknown.send(Wire().string(1, "other.Service").bytes)
                await unknown.halfClose()
                #expect(await Self.status(unknown.receive()) == 3)
                #expect(it.server.activeCalls == 2)
                call.cancel()
                unknown.cancel()
                #expect(await eventually { it.server.activeCalls == 0 })
            }
        }
    }
}

extension OverTheNetwork {
    struct ReflectionTests {
        static let services = [
            "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
            "scada.ScadaService",
        ]

        @Test func indexHoldsEverySymbol() throws {
            let index = try #require(ReflectionIndex.shared)
            #expect(index.services == Self.services)
            for method in APIMethod.allCases {
                let symbol = String(method.rawValue.dropFirst()).replacing("/", with: ".")
                #expect(index.symbols[symbol] != nil, "\(symbol)")
            }
            for symbol in [
                "scada.Reading", "scada.Reading.value", "scada.Resolution", "scada.HOURLY",
                "grpc.health.v1.HealthCheckResponse.ServingStatus", "grpc.health.v1.HealthCheckResponse.SERVING",
            ] {
                #expect(index.symbols[symbol] != nil, "\(symbol)")
            }
            #expect(index.symbols["scada.Resolution.HOURLY"] == nil)
            #expect(index.filesNeeded(for: "scada.proto").map(\.name) == ["scada.proto"])
            #expect(index.filesNeeded(for: "nothing.proto").isEmpty)
        }

        @Test func importsComeAlongOnce() throws {
            func file(_ name: String, _ imports: [String]) -> Wire {
                imports.reduce(Wire().string(1, name)) { $0.string(3, $1) }
            }
            let set = Wire().message(1, file("a", ["b", "c"])).message(1, file("b", ["c", "a"])).message(
                1,
                file("c", ["gone"])
            )
            let index = try set.bytes.withUnsafeBytes { try ReflectionIndex($0) }
            let names = index.filesNeeded(for: "a").map(\.name)
            #expect(names.first == "a" && names.sorted() == ["a", "b", "c"])
        }

        @Test func brokenDescriptorsAreRefused() {
            #expect(throws: WireReader.Malformed.self) {
                try [UInt8]([0x0A, 0x05, 0x01]).withUnsafeBytes { try ReflectionIndex($0) }
            }
        }

        @Test(arguments: ["v1", "v1alpha"])
        func overTheNetwork(version: String) async throws {
            try await Fixture.with { it in
                let call = it.client.call("/grpc.reflection.\(version).ServerReflection/ServerReflectionInfo")
                func ask(_ request: Wire) async throws -> Unwired {
                    await call.send(request.bytes)
                    return try Unwired(try #require(await call.receive()))
                }
                let list = try await ask(Wire().string(1, "host").string(7, "*"))
                #expect(list.string(1) == "host")
                #expect(try list.messages(2).first?.string(7) == "*")
                #expect(try list.messages(6).first?.messages(1).map { $0.string(1) } == Self.services)

                let byName = try await ask(Wire().string(3, "scada.proto"))
                let files = try #require(try byName.messages(4).first).data(1)
                #expect(files.count == 1)
                #expect(try files.first.map { try Unwired($0).string(1) } == "scada.proto")

                let bySymbol = try await ask(Wire().string(4, "scada.ScadaService.QueryReadings"))
                #expect(try bySymbol.messages(4).first?.data(1) == files)

                // NOT_FOUND inside the answer: the stream goes on.
                for question in [
                    Wire().string(3, "x"), Wire().string(4, "x"), Wire().string(6, "x"),
                    Wire().message(5, Wire().string(1, "scada.Reading").int(2, 100)),
                ] {
                    #expect(try await ask(question).messages(7).first?.int(1) == 5)
                }
                #expect(try await ask(Wire()).messages(7).first?.int(1) == 3)
                #expect(
                    try await ask(Wire().string(6, "scada.Reading")).messages(5).first?.string(1) == "scada.Reading"
                )
                await call.halfClose()
                #expect(await call.receive() == nil)
                #expect(await call.status().code == .ok)
            }
        }
    }
}

struct MethodTests {
    @Test func pathsAndNames() {
        for method in APIMethod.allCases { #expect(APIMethod(path: method.rawValue) == method) }
        for path in [
            "", "/", "scada.ScadaService/QueryReadings", "/scada.ScadaService/QueryReadings/",
            "/scada.ScadaService/queryreadings",
        ] {
            #expect(APIMethod(path: path) == nil)
        }
        #expect(APIMethod.queryReadings.shortName == "QueryReadings")
        #expect(APIMethod.healthServiceCheck.shortName == "Health/Check")
        #expect(Set(APIMethod.allCases.map(\.shortName)).count == APIMethod.allCases.count - 1)
        #expect(APIMethod.allCases.filter(\.isAudited) == [.addConnection, .removeConnection])
        #expect(APIMethod.allCases.filter(\.isProbe).allSatisfy { $0.rawValue.hasPrefix("/grpc.") })
    }
}
