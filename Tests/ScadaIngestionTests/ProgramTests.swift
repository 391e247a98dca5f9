import OPCUASecurity
import Testing

@testable import scada_ingestion

/// The program itself: exit codes, what goes where, and that no secret gets out.
@Suite struct ProgramTests {
    /// Nothing listens on port 1 of loopback.
    static let deadURL = "postgresql://scada:hunter2secret@127.0.0.1:1/master"

    @Test func itNamesItsVersion() throws {
        for arguments in [["version"], ["--version"]] {
            let outcome = try Program.run(arguments)
            #expect(outcome.exitCode == 0)
            #expect(outcome.output.hasPrefix("scada-ingestion \(BuildInformation.version) "))
            #expect(outcome.error.isEmpty)
        }
    }

    @Test(arguments: [["serve"], ["migrate"], ["tenant", "list"], []])
    func withoutConfigurationItEndsWith78(_ arguments: [String]) throws {
        let outcome = try Program.run(arguments)
        #expect(outcome.exitCode == 78)
        #expect(outcome.output.isEmpty)
        #expect(outcome.complaints.count == 1)
        #expect(outcome.error.hasPrefix("scada-ingestion: DATABASE_URL is not set: "))
    }

    @Test func eachBadVariableIsALine() throws {
        let outcome = try Program.run(
            ["migrate"],
            environment: [
                "DATABASE_URL": "postgresql://u:hunter2secret@h:0/d", "LOG_LEVEL": "loud",
                "ENCRYPTION_KEY": "aHVudGVyMg==",
            ]
        )
        #expect(outcome.exitCode == 78)
        #expect(outcome.complaints.count == 3)
        for name in ["DATABASE_URL", "LOG_LEVEL", "ENCRYPTION_KEY"] {
            #expect(outcome.complaints.contains { $0.hasPrefix("scada-ingestion: \(name)") && $0.contains("expected") })
        }
        #expect(!outcome.error.contains("hunter2secret"))
        #expect(!outcome.error.contains("aHVudGVyMg"))
    }

    @Test(arguments: [["migrate"], ["migrate", "--all-tenants"], ["migrate", "--dry-run"], ["tenant", "list"]])
    func aDatabaseThatIsAwayIs69(_ arguments: [String]) throws {
        let outcome = try Program.run(arguments, environment: ["DATABASE_URL": Self.deadURL])
        #expect(outcome.exitCode == 69)
        #expect(outcome.complaints.count == 1)
        #expect(outcome.error.contains("127.0.0.1:1/master"))
        #expect(outcome.error.contains("check that the server runs"))
        #expect(!outcome.error.contains("hunter2secret"))
    }

    @Test func encryptSecretPrintsWhatTheCipherOpens() throws {
        let outcome = try Program.run(["encrypt-secret"], environment: ["ENCRYPTION_KEY": keyA], input: "pümp 7\n")
        #expect(outcome.exitCode == 0)
        #expect(outcome.error.isEmpty)
        #expect(outcome.output.hasPrefix("enc:v1:"))
        let opened = try SecretCipher(key: keyA).open(String(outcome.output.dropLast()))
        #expect(opened.plaintext == "pümp 7")
    }

    @Test func encryptSecretWithoutAKeyOrASecret() throws {
        let noKey = try Program.run(["encrypt-secret"], input: "x")
        #expect(noKey.exitCode == 78)
        #expect(noKey.error.contains("ENCRYPTION_KEY is not set"))
        let noSecret = try Program.run(["encrypt-secret"], environment: ["ENCRYPTION_KEY": keyA], input: "\n")
        #expect(noSecret.exitCode == 64)
        #expect(noSecret.error.contains("no secret was given"))
    }

    @Test func reencryptWithoutAKeyIs78() throws {
        let outcome = try Program.run(["migrate", "--reencrypt"], environment: ["DATABASE_URL": Self.deadURL])
        #expect(outcome.exitCode == 78)
        #expect(outcome.error.hasPrefix("scada-ingestion: ENCRYPTION_KEY is not set"))
    }

    @Test(arguments: ["bash", "zsh", "fish"]) func completionScripts(_ shell: String) throws {
        let outcome = try Program.run(["--generate-completion-script", shell])
        #expect(outcome.exitCode == 0)
        #expect(outcome.output.contains("reencrypt"))
    }

    @Test func aNewKeyIsAKey() throws {
        let outcome = try Program.run(["encrypt-secret", "--new-key"])
        #expect(outcome.exitCode == 0)
        let key = String(outcome.output.dropLast())
        #expect(try EncryptionKey(base64: key).base64 == key)
        #expect(try Program.run(["encrypt-secret", "--new-key"]).output != outcome.output)
    }

    @Test func theExampleIsPrinted() throws {
        #expect(try Program.run(["environment", "--example"]).output == Variable.exampleFile)
        #expect(try Program.run(["environment"]).output == Variable.helpText + "\n")
    }

    @Test func checkSaysEverythingItCannotUse() throws {
        let folder = try TemporaryFolder()
        let file = try folder.write("file", "x")
        let outcome = try Program.run(
            ["check"],
            environment: [
                "DATABASE_URL": Self.deadURL, "JOURNAL_DIR": file, "OPC_PKI_DIR": "\(file)/pki",
                "GRPC_TLS_CERT": "/nonexistent.crt", "GRPC_TLS_KEY": file, "GRPC_TOKENS_FILE": file, "GRPC_PORT": "0",
                "METRICS_PORT": "0",
            ]
        )
        #expect(outcome.exitCode == 78)
        #expect(outcome.error.isEmpty)
        let failures = outcome.output.split(separator: "\n").filter { $0.hasPrefix("FAIL") }
        for subject in ["master database", "journal", "certificates", "gRPC TLS", "gRPC tokens"] {
            #expect(failures.count { $0.hasPrefix("FAIL  \(subject)") && $0.contains(" → ") } == 1, "\(subject)")
        }
        #expect(failures.count == 5)
        #expect(!outcome.output.contains("hunter2secret"))
    }

    @Test func checkWithOnlyTheDatabaseAwayIs69AndChangesNothing() throws {
        let folder = try TemporaryFolder()
        let outcome = try Program.run(
            ["check", "--json"],
            environment: [
                "DATABASE_URL": Self.deadURL, "JOURNAL_DIR": "\(folder.path)/journal",
                "OPC_PKI_DIR": "\(folder.path)/pki",
                "GRPC_PORT": "0", "METRICS_PORT": "0",
            ]
        )
        #expect(outcome.exitCode == 69)
        #expect(outcome.output.hasPrefix("{"))
        #expect(try Program.run(["check"]).exitCode == 78)
        #expect(folder.names.isEmpty)
    }
}
