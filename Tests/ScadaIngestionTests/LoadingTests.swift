import ControlAPI
import Logging
import TimescaleStore
import Testing

@testable import scada_ingestion

/// Where values come from, and what is said when they are wrong.
@Suite struct LoadingTests {
    static let url = "postgresql://scada:hunter2secret@db.example:5433/master"

    private func problems(_ environment: [String: String], _ file: String? = nil) -> [String] {
        do throws(ConfigurationProblems) {
            _ = try DaemonConfiguration.load(environment: environment, file: file)
            return []
        } catch {
            return error.problems.map(\.description)
        }
    }

    @Test func defaultsNeedTheDatabaseOnly() throws {
        let configuration = try DaemonConfiguration.load(environment: ["DATABASE_URL": Self.url])
        #expect(configuration.settings == Settings())
        #expect(configuration.databaseURL.displayName == "db.example:5433/master")
        #expect(configuration.warnings.isEmpty)
    }

    @Test func theEnvironmentWinsOverTheFile() throws {
        let folder = try TemporaryFolder()
        let file = try folder.write(
            "scada.env",
            "DATABASE_URL=\(Self.url)\nDB_MAX_CONNECTIONS=7\nMAX_BUFFER_SIZE=5\nLOG_LEVEL=\n"
        )
        let configuration = try DaemonConfiguration.load(
            environment: ["DB_MAX_CONNECTIONS": "9", "MAX_BUFFER_SIZE": ""],
            file: file
        )
        #expect(configuration.database.maxConnections == 9)
        // Empty counts as not set, in the environment and in the file.
        #expect(configuration.aggregation.maxReadings == 5)
        #expect(configuration.log.level == .info)
    }

    @Test func aBadValueInTheFileDoesNotMatterWhenTheEnvironmentHasIt() throws {
        let folder = try TemporaryFolder()
        let file = try folder.write("scada.env", "DB_MAX_CONNECTIONS=many\nDATABASE_URL_FILE=/nonexistent\n")
        let environment = ["DATABASE_URL": Self.url, "DB_MAX_CONNECTIONS": "3"]
        #expect(try DaemonConfiguration.load(environment: environment, file: file).database.maxConnections == 3)
    }

    @Test func secretsComeFromFiles() throws {
        let folder = try TemporaryFolder()
        let url = try folder.write("url", "\(Self.url)\n")
        let key = try folder.write("key", "\n \(keyA)\r\n\n")
        let file = try folder.write("scada.env", "ENCRYPTION_KEY_FILE='\(key)'\nDATABASE_URL=postgresql://other/x")
        let configuration = try DaemonConfiguration.load(environment: ["DATABASE_URL_FILE": url], file: file)
        #expect(configuration.databaseURL.displayName == "db.example:5433/master")
        #expect(configuration.encryption.key?.base64 == keyA)
    }

    @Test func aSecretTwiceIsAnError() throws {
        #expect(
            problems(["DATABASE_URL": Self.url, "DATABASE_URL_FILE": "/etc/hostname"]) == [
                "DATABASE_URL (environment) and DATABASE_URL_FILE (environment) are both set: expected one of them"
            ]
        )
    }

    @Test func aSecretsFileThatCannotBeUsed() throws {
        let folder = try TemporaryFolder()
        let empty = try folder.write("empty", " \n")
        #expect(
            problems(["DATABASE_URL_FILE": empty]) == [
                "DATABASE_URL_FILE=\"\(empty)\" (environment): it is empty; expected a readable file that holds DATABASE_URL"
            ]
        )
        #expect(
            problems(["DATABASE_URL_FILE": "/nonexistent/url"]) == [
                "DATABASE_URL_FILE=\"/nonexistent/url\" (environment): No such file or directory; "
                    + "expected a readable file that holds DATABASE_URL"
            ]
        )
        let large = try folder.write("large", String(repeating: "x", count: 70_000))
        #expect(problems(["DATABASE_URL_FILE": large]).first?.contains("larger than 64KiB") == true)
    }

    @Test func onlySecretsHaveFiles() throws {
        // GRPC_PORT_FILE is not a variable: in the environment it is somebody else's business.
        let configuration = try DaemonConfiguration.load(
            environment: ["DATABASE_URL": Self.url, "GRPC_PORT_FILE": "/nonexistent"]
        )
        #expect(configuration.grpc.port == 50_051)
    }

    @Test func everythingWrongIsSaidAtOnce() {
        let said = problems(["DB_MAX_CONNECTIONS": "abc", "LOG_LEVEL": "loud\n\u{1B}[2J", "ENCRYPTION_KEY": "c2VjcmV0"])
        #expect(said.count == 4)
        #expect(said.contains("DB_MAX_CONNECTIONS=\"abc\" (environment): expected a whole number from 1 to 1000"))
        #expect(said.contains { $0.hasPrefix("DATABASE_URL is not set: expected the master database") })
        #expect(said.contains { $0.hasPrefix(#"LOG_LEVEL="loud\n\u{1b}[2J" (environment): expected trace, "#) })
        #expect(said.allSatisfy { !$0.contains("\n") && !$0.contains("c2VjcmV0") })
    }

    @Test func aValueInTheFileIsFoundByItsLine() throws {
        let folder = try TemporaryFolder()
        let file = try folder.write("scada.env", "# first\nDATABASE_URL=\(Self.url)\n\nJOURNAL_SYNC_MS=0\n")
        #expect(
            problems([:], file) == [
                "JOURNAL_SYNC_MS=\"0\" (\(file) line 4): expected milliseconds, a whole number from 1 to 60000"
            ]
        )
    }

    @Test func unknownVariablesInTheFileAreErrors() throws {
        let folder = try TemporaryFolder()
        let file = try folder.write(
            "scada.env",
            "DATABASE_URL=\(Self.url)\nDB_MAX_CONECTIONS=3\nFOO=1\ndb_max_connections=3"
        )
        #expect(
            problems([:], file) == [
                "\(file) line 2: unknown variable DB_MAX_CONECTIONS: did you mean DB_MAX_CONNECTIONS?",
                "\(file) line 3: unknown variable FOO: see scada-ingestion environment",
                "\(file) line 4: unknown variable db_max_connections: did you mean DB_MAX_CONNECTIONS?",
            ]
        )
    }

    @Test func aNearMissInTheEnvironmentIsAWarning() throws {
        let configuration = try DaemonConfiguration.load(
            environment: ["DATABASE_URL": Self.url, "JOURNAL_MAX_BYTE": "1", "PATH": "/bin", "HOSTNAME": "x"]
        )
        #expect(
            configuration.warnings == [
                "the environment has JOURNAL_MAX_BYTE, which means nothing here: did you mean JOURNAL_MAX_BYTES?"
            ]
        )
    }

    @Test func aMissingFileIsNotAMissingVariable() {
        #expect(
            problems([:], "/nonexistent.env") == [
                "--config /nonexistent.env: No such file or directory; "
                    + "expected a file of NAME=value lines that this user may read"
            ]
        )
        #expect(problems([:], "/tmp").first?.hasPrefix("--config /tmp: Is a directory") == true)
    }

    @Test(arguments: [
        (["STORAGE_COMPRESS_AFTER_HOURS": "240", "STORAGE_RETENTION_DAYS": "10"], "STORAGE_COMPRESS_AFTER_HOURS"),
        (["STORAGE_CHUNK_HOURS": "240", "STORAGE_RETENTION_DAYS": "10"], "STORAGE_CHUNK_HOURS"),
        (["GRPC_TLS_CERT": "/c"], "GRPC_TLS_KEY"),
        (["GRPC_TLS_KEY": "/k"], "GRPC_TLS_CERT"),
        (["GRPC_TLS_CLIENT_CA": "/ca"], "GRPC_TLS_CLIENT_CA"),
        (["GRPC_HOST": "0.0.0.0"], "GRPC_HOST"),
        (["GRPC_HOST": "scada.example"], "GRPC_HOST"),
        (["GRPC_PORT": "9090"], "METRICS_PORT"),
        (["ENCRYPTION_KEY_PREVIOUS": keyA], "ENCRYPTION_KEY"),
    ])
    func contradictions(_ environment: [String: String], _ variable: String) {
        let error = #expect(throws: ConfigurationProblems.self) {
            try DaemonConfiguration.load(environment: environment.merging(["DATABASE_URL": Self.url]) { $1 })
        }
        #expect(error?.problems.map(\.variable) == [variable])
        #expect(error?.problems.allSatisfy { $0.description.contains("expected") } == true)
    }

    @Test(arguments: [
        (["GRPC_TLS_CERT": "/c", "GRPC_TLS_KEY": "/k"], "0.0.0.0:50051"),
        (["GRPC_ALLOW_INSECURE": "true"], "0.0.0.0:50051"),
        (["GRPC_ALLOW_INSECURE": "true", "GRPC_HOST": "10.0.0.1"], "10.0.0.1:50051"),
        (["GRPC_HOST": "::1"], "[::1]:50051"),
        (["GRPC_PORT": "0", "METRICS_PORT": "0"], "127.0.0.1:0"),
        (["GRPC_PORT": "9090", "METRICS_HOST": "10.0.0.1"], "127.0.0.1:9090"),
    ])
    func listens(_ environment: [String: String], _ address: String) throws {
        let configuration = try DaemonConfiguration.load(
            environment: environment.merging(["DATABASE_URL": Self.url]) { $1 }
        )
        #expect(configuration.grpc.listenAddress.description == address)
    }

    @Test func someVariablesAlone() throws {
        let settings = try DaemonConfiguration.loadSettings(
            only: ["ENCRYPTION_KEY"],
            environment: ["ENCRYPTION_KEY": keyA, "DB_MAX_CONNECTIONS": "wrong", "DATABASE_URL_FILE": "/nonexistent"]
        )
        #expect(settings.encryption.key?.base64 == keyA)
    }

    @Test func noSecretIsEverPrinted() throws {
        let environment = ["DATABASE_URL": Self.url, "ENCRYPTION_KEY": keyA, "ENCRYPTION_KEY_PREVIOUS": keyB]
        let configuration = try DaemonConfiguration.load(environment: environment)
        var dumped = "\(configuration) \(String(reflecting: configuration)) "
        dump(configuration, to: &dumped)
        for secret in ["hunter2secret", keyA, keyB] { #expect(!dumped.contains(secret)) }

        let input = SecretInput(revealed: "hunter2secret")
        var shown = "\(input) \(String(reflecting: input)) "
        dump(input, to: &shown)
        #expect(!shown.contains("hunter2secret"))
    }

    @Test(arguments: ["DATABASE_URL", "ENCRYPTION_KEY", "ENCRYPTION_KEY_PREVIOUS"])
    func aWrongSecretIsNotRepeated(_ name: String) throws {
        let folder = try TemporaryFolder()
        let file = try folder.write("scada.env", "\(name)=hunter2secret")
        var environment = ["DATABASE_URL": Self.url]
        environment[name] = nil
        let said = problems(environment, file)
        #expect(said.count == 1)
        #expect(said.first?.hasPrefix("\(name) (\(file) line 1): ") == true)
        #expect(said.first?.contains("hunter2secret") == false)
    }
}
