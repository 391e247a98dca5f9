import Testing

@testable import ControlAPI

extension OverTheNetwork {
    /// Start, stop and the addresses in between.
    struct LifecycleTests {
        private static func server(_ options: ControlServerOptions, backend: TestBackend = TestBackend())
            -> ControlServer
        {
            ControlServer(options: options, backend: backend, health: HealthState(), logger: LogLines().logger())
        }

        private static func startError(_ options: ControlServerOptions) async -> ControlServerError? {
            let server = server(options)
            do throws(ControlServerError) {
                try server.start()
            } catch {
                return error
            }
            await server.stop(grace: .zero)
            return nil
        }

        @Test func startsOnceAndStopsOnce() async throws {
            let server = Self.server(ControlServerOptions(address: .loopback(port: 0)))
            #expect(server.port == nil)
            let port = try server.start()
            #expect(port > 0 && server.port == port)
            #expect(try server.start() == port)
            await server.stop(grace: .zero)
            await server.stop(grace: .zero)
            #expect(server.port == nil)
            #expect(throws: ControlServerError.self) { try server.start() }
        }

        @Test func aPortInUseIsNamed() async throws {
            try await Fixture.with { it in
                let error = await Self.startError(ControlServerOptions(address: .loopback(port: UInt16(it.port))))
                #expect(error?.code == .address)
                #expect(
                    error?.description.contains("port \(it.port) is in use") == true,
                    "\(error?.description ?? "started")"
                )
            }
        }

        @Test(arguments: ["0.0.0.0", "::", "192.0.2.1", "example.invalid"])
        func withoutTLSOnlyLoopback(host: String) async {
            let error = await Self.startError(ControlServerOptions(address: ListenAddress(host: host, port: 0)))
            #expect(error?.code == .insecure)
            #expect(error?.description.contains("GRPC_ALLOW_INSECURE") == true)
        }

        @Test func unlessAllowed() async {
            var options = ControlServerOptions(address: ListenAddress(host: "0.0.0.0", port: 0))
            options.allowInsecure = true
            #expect(await Self.startError(options) == nil)
        }

        @Test func anAddressOfAnotherMachineIsNamed() async {
            var options = ControlServerOptions(address: ListenAddress(host: "192.0.2.1", port: 0))
            options.allowInsecure = true
            let error = await Self.startError(options)
            #expect(error?.description.contains("this machine does not have the address") == true)
        }

        @Test(arguments: [
            ("127.0.0.1", true), ("127.255.255.254", true), ("localhost", true), ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("128.0.0.1", false), ("0.0.0.0", false), ("::", false), ("::2", false), ("::ffff:10.0.0.1", false),
            ("localhost.example", false), ("", false),
        ])
        func loopback(host: String, isLoopback: Bool) {
            #expect(ListenAddress(host: host, port: 1).isLoopback == isLoopback)
        }

        @Test func addressesAreWrittenAsTheCoreReadsThem() {
            #expect(ListenAddress(host: "::1", port: 5).description == "[::1]:5")
            #expect(ListenAddress.loopback(port: 5).description == "127.0.0.1:5")
        }

        /// Calls in progress end within the grace; nothing new is let in.
        @Test func gracefulShutdownLetsCallsEnd() async throws {
            try await Fixture.with { it in
                let slow = Sample.query.string(2, "deadbeef-0000-4000-8000-000000000004").int(6, 1).bytes
                async let reply = it.client.unary("QueryReadings", slow)
                #expect(await eventually { it.backend.seen.queries.count == 1 })
                await it.server.stop(grace: .seconds(20))
                #expect(await reply.code == .ok)
                #expect(await it.client.unary("HealthCheck", [], timeout: .seconds(2)).code != .ok)
            }
        }

        @Test func shutdownCancelsWhatDoesNotEnd() async throws {
            try await Fixture.with(backend: TestBackend(readings: 1_000_000)) { it in
                it.health.set(.serving)
                let hanging = it.client.call("QueryReadings")
                await hanging.send(Sample.query.string(2, "deadbeef-0000-4000-8000-000000000001").bytes)
                await hanging.halfClose()
                let stream = it.client.call("StreamReadings")
                await stream.send(Sample.query.bytes)
                await stream.halfClose()
                #expect(await stream.receive() != nil)
                let halfOpen = it.client.call("AddConnection")
                let watch = it.client.call("/grpc.health.v1.Health/Watch")
                await watch.send([])
                #expect(await watch.receive() != nil)
                #expect(await eventually { it.backend.seen.hanging == 1 && it.server.activeCalls == 4 })
                await it.server.stop(grace: .milliseconds(100))
                #expect(it.server.activeCalls == 0)
                #expect(await hanging.status().code == .unavailable)
                #expect(await halfOpen.status().code == .unavailable)
                // Watchers are told before the end.
                let last = try #require(await watch.receive())
                #expect(try Unwired(last).int(1) == 2)
                #expect(await watch.status().code == .unavailable)
                while await stream.receive() != nil {}
                #expect(await stream.status().code == .unavailable)
                #expect(it.backend.seen.cancelled == 2)
            }
        }

        @Test func withoutCallsItIsIdleAtOnce() async {
            let active = ActiveCalls(maxCalls: 1, maxProbes: 1)
            #expect(await !active.waitUntilIdle(atMost: .milliseconds(1)))
            active.beginShutdown()
            #expect(await active.waitUntilIdle(atMost: .seconds(20)))
            #expect(active.abandonAll().isEmpty)
        }

        @Test func oneShot() async {
            let event = OneShot()
            #expect(await !event.wait(atMost: .milliseconds(1)))
            async let waited: Void = event.waitUncancelled()
            async let bounded = event.wait(atMost: .seconds(20))
            event.fire()
            event.fire()
            await waited
            #expect(await bounded)
            #expect(event.hasFired)
            await event.wait()
        }
    }
}
