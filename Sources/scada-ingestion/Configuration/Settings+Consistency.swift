import ControlAPI
import TimescaleStore

extension Settings {
    /// What is wrong between variables that are each right.
    func contradictions() -> [ConfigurationProblem] {
        var problems: [ConfigurationProblem] = []
        func problem(_ variable: String, _ text: String) {
            problems.append(ConfigurationProblem(variable: variable, "\(variable): \(text)"))
        }
        switch (grpc.certificateFile, grpc.keyFile) {
        case (.some, nil):
            problem("GRPC_TLS_KEY", "is not set but GRPC_TLS_CERT is; expected both, or neither for no TLS")
        case (nil, .some):
            problem("GRPC_TLS_CERT", "is not set but GRPC_TLS_KEY is; expected both, or neither for no TLS")
        case (nil, nil):
            if grpc.clientCAFile != nil {
                problem(
                    "GRPC_TLS_CLIENT_CA",
                    "client certificates need TLS; expected GRPC_TLS_CERT and GRPC_TLS_KEY to be set as well"
                )
            } else if !grpc.allowInsecure, !grpc.listenAddress.isLoopback {
                problem(
                    "GRPC_HOST",
                    "\(ConfigurationProblem.quoted(grpc.listenAddress.host)) is reachable by others and there is no TLS; "
                        + "expected GRPC_TLS_CERT and GRPC_TLS_KEY, or a loopback address, or GRPC_ALLOW_INSECURE=true "
                        + "where the network is trusted"
                )
            }
        case (.some, .some): break
        }
        if http.port != 0, http.port == grpc.port, sharesAddress(http.host, grpc.listenAddress.host) {
            problem("METRICS_PORT", "\(http.port) is GRPC_PORT as well; expected two different ports")
        }
        for (variable, hours) in [
            ("STORAGE_COMPRESS_AFTER_HOURS", storage.compressAfterHours), ("STORAGE_CHUNK_HOURS", storage.chunkHours),
        ] where hours >= storage.retentionDays * 24 {
            problem(
                variable,
                "\(hours) hours are not less than the \(storage.retentionDays) days of STORAGE_RETENTION_DAYS; expected a "
                    + "shorter time, or a longer retention"
            )
        }
        if encryption.key == nil, !encryption.previousKeys.isEmpty {
            problem(
                "ENCRYPTION_KEY",
                "is not set but ENCRYPTION_KEY_PREVIOUS is; expected the current key here and the former ones there"
            )
        }
        return problems
    }

    private func sharesAddress(_ left: String, _ right: String) -> Bool {
        let all: Set = ["0.0.0.0", "::"]
        return left == right || all.contains(left) || all.contains(right)
    }
}
