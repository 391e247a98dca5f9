import Testing

@testable import ControlAPI

extension OverTheNetwork {
    /// TLS and client certificates.
    @Suite(.enabled(if: TestCertificates.isAvailable, "the openssl command is missing"))
    struct TLSTests {
        private static func options(_ certificates: TestCertificates, clientCA: Bool = false) -> TLSOptions {
            TLSOptions(
                certificateFile: certificates.file("server.pem"),
                keyFile: certificates.file("server.key"),
                clientCAFile: clientCA ? certificates.file("ca.pem") : nil
            )
        }

        private static func made() throws -> TestCertificates {
            let certificates = try TestCertificates()
            try certificates.issue("server")
            return certificates
        }

        /// Status of a HealthCheck by a client of its own, which takes over the credentials.
        private static func check(_ it: Fixture, _ credentials: OpaquePointer?) async -> StatusCode? {
            guard let client = try? TestClient(port: it.port, credentials: credentials) else {
                Issue.record("no client")
                return nil
            }
            // A client goes on trying to connect; that its time runs out is one of the answers.
            let code = await client.unary("HealthCheck", [], timeout: .seconds(5)).code
            await client.close()
            return code
        }

        @Test func serverCertificate() async throws {
            let certificates = try Self.made()
            let credentials = try certificates.client()
            try await Fixture.with(credentials: credentials, options: { $0.tls = Self.options(certificates) }) { it in
                #expect(await it.client.unary("HealthCheck", []).code == .ok)
                let credentials = try certificates.client(trusting: "stranger-ca")
                #expect(await Self.check(it, credentials) != .ok)
                #expect(await Self.check(it, nil) != .ok)
                // The call is recorded after its answer is sent.
                #expect(await eventually { !it.records.content.calls.isEmpty })
                #expect(it.records.content.calls.count == 1)
                #expect(await eventually { it.records.content.failedHandshakes > 0 })
                #expect(it.log.contains("warning audit: TLS handshake refused"))
            }
        }

        @Test func clientCertificate() async throws {
            let certificates = try Self.made()
            try certificates.issue("platform", subject: "/O=Platform/CN=management-api")
            try certificates.issue("expired", days: -1)
            try certificates.issue("stranger", by: "stranger-ca")
            let credentials = try certificates.client(showing: "platform")
            try await Fixture.with(
                credentials: credentials,
                options: { $0.tls = Self.options(certificates, clientCA: true) }
            ) { it in
                let reply = await it.client.unary("QueryReadings", Sample.query.int(6, 1).bytes)
                #expect(reply.code == .ok)
                #expect(it.backend.seen.contexts.first?.caller.identity.contains("management-api") == true)
                for client in [nil, "expired", "stranger"] {
                    let credentials = try certificates.client(showing: client)
                    #expect(
                        await Self.check(it, credentials) != .ok,
                        "\(client ?? "none")"
                    )
                }
                // The call is recorded after its answer is sent.
                #expect(await eventually { !it.records.content.calls.isEmpty })
                #expect(it.records.content.calls.count == 1)
                #expect(await eventually { it.records.content.failedHandshakes >= 3 })
            }
        }

        /// New connections get the new certificate; a broken file leaves the one in use.
        @Test func certificatesAreReadAgain() async throws {
            let certificates = try Self.made()
            try await Fixture.with(
                credentials: try certificates.client(),
                options: { $0.tls = Self.options(certificates) }
            ) { it in
                #expect(await it.client.unary("HealthCheck", []).code == .ok)
                try certificates.folder.write("server.pem", "not a certificate")
                var credentials = try certificates.client()
                #expect(await Self.check(it, credentials) == .ok)
                #expect(it.log.contains("the certificate in use stays"))
                try certificates.issue("server", by: "stranger-ca")
                credentials = try certificates.client(trusting: "stranger-ca")
                #expect(await Self.check(it, credentials) == .ok)
                credentials = try certificates.client()
                #expect(await Self.check(it, credentials) != .ok)
                #expect(it.log.contains("have changed and were read again"))
            }
        }

        @Test(arguments: ["server.pem", "server.key", "ca.pem"])
        func filesAreCheckedAtTheStart(name: String) async throws {
            let certificates = try Self.made()
            try certificates.folder.write(name, "rubbish\n")
            var options = ControlServerOptions(address: .loopback(port: 0))
            options.tls = Self.options(certificates, clientCA: true)
            #expect(
                Self.startError(options)?.description.hasPrefix("\(certificates.file(name)): does not hold") == true
            )
            options.tls?.certificateFile = "/nowhere/server.pem"
            #expect(Self.startError(options)?.description == "/nowhere/server.pem: No such file or directory")
        }

        /// Files that look right and do not belong together.
        @Test(arguments: [false, true])
        func aKeyOfAnotherCertificateIsRefused(clientCA: Bool) async throws {
            let certificates = try Self.made()
            try certificates.folder.write("server.key", try certificates.text("ca.key"))
            var options = ControlServerOptions(address: .loopback(port: 0))
            options.tls = Self.options(certificates, clientCA: clientCA)
            let error = Self.startError(options)
            #expect(error?.code == .credentials)
            #expect(error?.description.contains("are not a certificate and its private key") == true)
        }

        /// The marks of PEM around nonsense.
        @Test(arguments: ["server.pem", "server.key", "ca.pem"])
        func nonsenseInPEMIsRefused(name: String) async throws {
            let certificates = try Self.made()
            let kind = name == "server.key" ? "PRIVATE KEY" : "CERTIFICATE"
            try certificates.folder.write(name, "-----BEGIN \(kind)-----\nAAAA\n-----END \(kind)-----\n")
            var options = ControlServerOptions(address: .loopback(port: 0))
            options.tls = Self.options(certificates, clientCA: true)
            #expect(Self.startError(options)?.code == .credentials)
        }

        private static func startError(_ options: ControlServerOptions) -> ControlServerError? {
            let server = ControlServer(
                options: options,
                backend: TestBackend(),
                health: HealthState(),
                logger: LogLines().logger()
            )
            do throws(ControlServerError) {
                try server.start()
                return nil
            } catch {
                return error
            }
        }
    }
}
