import ControlAPI
import OPCUASecurity

extension CheckRun {
    /// TLS files and tokens of the gRPC API.
    mutating func checkAPIFiles() {
        if let tls = configuration.grpc.tls {
            for finding in Self.checkTLS(tls, now: Validity.now) { add(finding) }
        }
        if let path = configuration.grpc.tokensFile {
            do throws(ControlServerError) {
                // Hashes are compared later, by the server: here only the file counts.
                _ = try Authenticator(tokensFile: path, sha256: { _ in [] })
                add(.ok("gRPC tokens", "\(path) can be read"))
            } catch {
                add(.fail("gRPC tokens", "\(error)", cure: "correct the file, or GRPC_TOKENS_FILE", .configuration))
            }
        }
    }

    static func checkTLS(_ tls: TLSOptions, now: Int64) -> [Finding] {
        let subject = "gRPC TLS"
        let cure = "correct GRPC_TLS_CERT, GRPC_TLS_KEY or GRPC_TLS_CLIENT_CA"
        do throws(ControlServerError) {
            try tls.check()
        } catch {
            return [.fail(subject, "\(error)", cure: cure, .configuration)]
        }
        do {
            let pair = try TLSKeyPair(
                certificate: try SmallTextFile.readBytes(tls.certificateFile),
                key: try SmallTextFile.readBytes(tls.keyFile)
            )
            return [
                Validity.finding(
                    subject,
                    "the certificate \"\(pair.name)\" in \(tls.certificateFile)",
                    notBefore: pair.notBefore,
                    notAfter: pair.notAfter,
                    now: now,
                    cure: "replace it; the running daemon notices"
                )
            ]
        } catch {
            let reason = (error as? SecurityError)?.message ?? (error as? Unacceptable)?.reason ?? "\(error)"
            return [
                .fail(subject, "\(tls.certificateFile) with \(tls.keyFile): \(reason)", cure: cure, .configuration)
            ]
        }
    }

    /// Whether both ports can be listened on.
    mutating func checkPorts() {
        let http = configuration.http
        checkPort("gRPC port", configuration.grpc.listenAddress, "GRPC_PORT")
        checkPort("metrics port", ListenAddress(host: http.host, port: http.port), "METRICS_PORT")
    }

    private mutating func checkPort(_ subject: String, _ address: ListenAddress, _ variable: String) {
        guard let problem = address.bindProblem(variable: variable) else {
            return add(.ok(subject, "\(address) is free"))
        }
        if isDaemonRunning {
            add(.warn(subject, "\(address): \(problem); probably the running daemon listens there"))
        } else {
            add(.fail(subject, "\(address): \(problem)", .configuration))
        }
    }
}
