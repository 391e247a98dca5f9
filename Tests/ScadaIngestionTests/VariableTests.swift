import ControlAPI
import Ingestion
import Journal
import Logging
import OPCUASecurity
import Testing
import TimescaleStore

@testable import scada_ingestion

/// One text for a variable, and what becomes of it.
struct VariableCase: Sendable, CustomTestStringConvertible {
    var name: String
    var text: String
    /// What the text must make true; nil when it must be refused.
    var check: (@Sendable (Settings) -> Bool)?

    var testDescription: String { "\(name)=\(text.prefix(40)) \(check == nil ? "refused" : "taken")" }

    static func good(_ name: String, _ text: String, _ check: @escaping @Sendable (Settings) -> Bool) -> VariableCase {
        VariableCase(name: name, text: text, check: check)
    }

    static func bad(_ name: String, _ texts: String...) -> [VariableCase] {
        texts.map { VariableCase(name: name, text: $0, check: nil) }
    }
}

let keyA = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
let keyB = "HxAdHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA="

@Suite struct VariableTests {
    static let good: [VariableCase] = [
        .good("DB_MAX_CONNECTIONS", "1") { $0.database.maxConnections == 1 },
        .good("DB_MAX_CONNECTIONS", "1000") { $0.database.maxConnections == 1_000 },
        .good("DB_COPY_STREAMS", "1") { $0.database.copyStreams == 1 },
        .good("DB_COPY_STREAMS", "16") { $0.database.copyStreams == 16 },
        .good("STORAGE_DIRECT_COMPRESS", "on") { $0.database.directCompress == .on },
        .good("STORAGE_DIRECT_COMPRESS", "OFF") { $0.database.directCompress == .off },
        .good("STORAGE_DIRECT_COMPRESS", "auto") { $0.database.directCompress == .automatic },
        .good("STORAGE_CHUNK_HOURS", "6") { $0.storage.chunkHours == 6 },
        .good("STORAGE_COMPRESS_AFTER_HOURS", "1") { $0.storage.compressAfterHours == 1 },
        .good("STORAGE_RETENTION_DAYS", "7") { $0.storage.retentionDays == 7 },
        .good("STORAGE_REFRESH_HOURLY_MINUTES", "5") { $0.storage.hourlyRefreshMinutes == 5 },
        .good("STORAGE_REFRESH_DAILY_MINUTES", "30") { $0.storage.dailyRefreshMinutes == 30 },
        .good("STORAGE_REFRESH_MONTHLY_MINUTES", "1440") { $0.storage.monthlyRefreshMinutes == 1_440 },
        .good("OPC_CONNECTION_TIMEOUT_MS", "100") { $0.opc.connectionTimeout == .milliseconds(100) },
        .good("OPC_SESSION_TIMEOUT_MS", "3600000") { $0.opc.sessionTimeout == .seconds(3_600) },
        .good("OPC_MAX_RECONNECT_ATTEMPTS", "7") { $0.opc.maxReconnectAttempts == 7 },
        .good("OPC_RECONNECT_DELAY_MS", "250") { $0.opc.reconnectDelay == .milliseconds(250) },
        .good("OPC_PKI_DIR", "/var/lib/pki") { $0.opc.pkiDirectory == "/var/lib/pki" },
        .good("OPC_ALLOW_DEPRECATED_POLICIES", "true") { $0.opc.allowDeprecatedPolicies },
        .good("OPC_ALLOW_PLAINTEXT_PASSWORD", "Yes") { $0.opc.allowPlaintextPassword },
        .good("SILENT_TAG_AFTER_MS", "60000") { $0.opc.silentTagAfter == .seconds(60) },
        .good("AGGREGATION_BUFFER_MS", "1000") { $0.aggregation.interval == .seconds(1) },
        .good("MAX_BUFFER_SIZE", "1000000") { $0.aggregation.maxReadings == 1_000_000 },
        .good("JOURNAL_DIR", "data with space") { $0.journal.directory == "data with space" },
        .good("JOURNAL_SYNC_MS", "1") { $0.journal.syncInterval == .milliseconds(1) },
        .good("JOURNAL_MAX_BYTES", "16 MiB") { $0.journal.maxBytesPerTenant == 16 << 20 },
        .good("JOURNAL_MAX_BYTES", "1048576") { $0.journal.maxBytesPerTenant == 1 << 20 },
        .good("JOURNAL_MAX_TOTAL_BYTES", "2tib") { $0.journal.maxTotalBytes == 2 << 40 },
        .good("JOURNAL_FULL_POLICY", "drop-oldest") { $0.journal.fullPolicy == .dropOldest },
        .good("JOURNAL_FULL_POLICY", "stop") { $0.journal.fullPolicy == .stopReading },
        .good("OPC_REVERSE_LISTEN", "0.0.0.0:4843") {
            $0.opc.reverseListen == Settings.ReverseAddress(host: "0.0.0.0", port: 4843)
        },
        .good("OPC_REVERSE_LISTEN", "[::]:0") { $0.opc.reverseListen?.host == "::" },
        .good("GRPC_HOST", "::1") { $0.grpc.listenAddress.host == "::1" },
        .good("GRPC_HOST", "localhost") { $0.grpc.listenAddress.host == "localhost" },
        .good("GRPC_PORT", "0") { $0.grpc.listenAddress.port == 0 },
        .good("GRPC_TLS_CERT", "/c") { $0.grpc.certificateFile == "/c" },
        .good("GRPC_TLS_KEY", "/k") { $0.grpc.keyFile == "/k" },
        .good("GRPC_TLS_CLIENT_CA", "/ca") { $0.grpc.clientCAFile == "/ca" },
        .good("GRPC_TOKENS_FILE", "/t") { $0.grpc.tokensFile == "/t" },
        .good("GRPC_ALLOW_INSECURE", "1") { $0.grpc.allowInsecure && $0.grpc.listenAddress.host == "0.0.0.0" },
        .good("METRICS_HOST", "127.0.0.1") { $0.http.host == "127.0.0.1" },
        .good("METRICS_PORT", "65535") { $0.http.port == 65_535 },
        .good("METRICS_TAG_LABELS", "well") { $0.http.tagLabels == .well },
        .good("METRICS_TAG_LABELS", "tenant") { $0.http.tagLabels == .tenant },
        .good("STATUS_PAGE", "off") { !$0.http.statusPage },
        .good("ENCRYPTION_KEY", keyA) { $0.encryption.key?.base64 == keyA },
        .good("ENCRYPTION_KEY_PREVIOUS", "\(keyA), \(keyB)") { $0.encryption.previousKeys.count == 2 },
        .good("CONFIG_POLL_MS", "500") { $0.configurationPollInterval == .milliseconds(500) },
        .good("SHUTDOWN_GRACE_MS", "0") { $0.shutdownGrace == .zero },
        .good("REPLICA_ID", "scada-0") { $0.replica.identity == "scada-0" },
        .good("LEASE_MS", "1000") { $0.replica.lease == .seconds(1) },
        .good("LOG_LEVEL", "WARNING") { $0.log.level == .warning },
        .good("LOG_LEVEL", "trace") { $0.log.level == .trace },
        .good("LOG_FORMAT", "text") { $0.log.format(isTerminal: false) == .text },
        .good("LOG_FORMAT", "json") { $0.log.format(isTerminal: true) == .json },
    ]

    static let bad: [VariableCase] = [
        VariableCase.bad("DATABASE_URL", "localhost", "postgresql://u:p@h:99999/d", "user=x port"),
        VariableCase.bad("DB_MAX_CONNECTIONS", "0", "1001", "-1", "ten", "20.0", "99999999999999999999"),
        VariableCase.bad("DB_COPY_STREAMS", "0", "17", "-1", "two", "2.0"),
        VariableCase.bad("STORAGE_DIRECT_COMPRESS", "true", "always"),
        VariableCase.bad("STORAGE_CHUNK_HOURS", "0", "24h", "1 day"),
        VariableCase.bad("STORAGE_COMPRESS_AFTER_HOURS", "0", "7 days"),
        VariableCase.bad("STORAGE_RETENTION_DAYS", "6", "2 years", "36501"),
        VariableCase.bad("STORAGE_REFRESH_HOURLY_MINUTES", "0", "15m"),
        VariableCase.bad("STORAGE_REFRESH_DAILY_MINUTES", "-1"),
        VariableCase.bad("STORAGE_REFRESH_MONTHLY_MINUTES", "43201"),
        VariableCase.bad("OPC_CONNECTION_TIMEOUT_MS", "99", "10s", "600001"),
        VariableCase.bad("OPC_SESSION_TIMEOUT_MS", "999", "86400001"),
        VariableCase.bad("OPC_MAX_RECONNECT_ATTEMPTS", "0", "1000001"),
        VariableCase.bad("OPC_RECONNECT_DELAY_MS", "0", "60001"),
        VariableCase.bad("OPC_PKI_DIR", String(repeating: "x", count: 5_000)),
        VariableCase.bad("OPC_ALLOW_DEPRECATED_POLICIES", "maybe", "2"),
        VariableCase.bad("OPC_ALLOW_PLAINTEXT_PASSWORD", "ja"),
        VariableCase.bad("SILENT_TAG_AFTER_MS", "-1"),
        VariableCase.bad("AGGREGATION_BUFFER_MS", "9", "5 s"),
        VariableCase.bad("MAX_BUFFER_SIZE", "0", "1e4"),
        VariableCase.bad("JOURNAL_DIR", "a\u{0}b"),
        VariableCase.bad("JOURNAL_SYNC_MS", "0", "60001"),
        VariableCase.bad("JOURNAL_MAX_BYTES", "1023KiB", "1GB", "1.5GiB", "-1MiB", "9223372036854775807GiB", "MiB"),
        VariableCase.bad("JOURNAL_MAX_TOTAL_BYTES", "0", "none"),
        VariableCase.bad("JOURNAL_FULL_POLICY", "drop", "drop_oldest"),
        VariableCase.bad("OPC_REVERSE_LISTEN", "4843", "0.0.0.0", "host:", ":4843", "::1:4843", "host:65536", "*:1"),
        VariableCase.bad("GRPC_HOST", "0.0.0.0:50051/", "two words", "*"),
        VariableCase.bad("GRPC_PORT", "65536", "-1", "tcp://10.0.0.1:50051"),
        VariableCase.bad("GRPC_TLS_CERT", "a\u{0}"),
        VariableCase.bad("GRPC_TLS_KEY", "a\u{0}"),
        VariableCase.bad("GRPC_TLS_CLIENT_CA", "a\u{0}"),
        VariableCase.bad("GRPC_TOKENS_FILE", "a\u{0}"),
        VariableCase.bad("GRPC_ALLOW_INSECURE", "loopback"),
        VariableCase.bad("METRICS_HOST", "http://localhost"),
        VariableCase.bad("METRICS_PORT", "9090/tcp"),
        VariableCase.bad("METRICS_TAG_LABELS", "none"),
        VariableCase.bad("STATUS_PAGE", "json"),
        VariableCase.bad("ENCRYPTION_KEY", "not base64!", "c2hvcnQ=", keyA + keyA),
        VariableCase.bad("ENCRYPTION_KEY_PREVIOUS", "\(keyA),", "\(keyA);\(keyB)"),
        VariableCase.bad("CONFIG_POLL_MS", "99"),
        VariableCase.bad("SHUTDOWN_GRACE_MS", "-1", "600001"),
        VariableCase.bad("REPLICA_ID", "two words", "a\u{7}", String(repeating: "x", count: 201)),
        VariableCase.bad("LEASE_MS", "999"),
        VariableCase.bad("LOG_LEVEL", "verbose"),
        VariableCase.bad("LOG_FORMAT", "logfmt"),
    ].flatMap(\.self)

    @Test(arguments: good) func takes(_ input: VariableCase) throws {
        let variable = try #require(Variable.named(input.name))
        var draft = Variable.Draft()
        try variable.apply(input.text, &draft)
        #expect(input.check?(draft.settings) == true)
    }

    @Test(arguments: bad) func refuses(_ input: VariableCase) throws {
        let variable = try #require(Variable.named(input.name))
        var draft = Variable.Draft()
        #expect(throws: Unacceptable.self) { try variable.apply(input.text, &draft) }
        #expect(draft.settings == Settings())
    }

    @Test func everyVariableIsTried() {
        #expect(Set(Self.bad.map(\.name)) == Set(Variable.all.map(\.name)))
        #expect(Set(Self.good.map(\.name)).union(["DATABASE_URL"]) == Set(Variable.all.map(\.name)))
    }

    @Test func noNameTwice() {
        #expect(Set(Variable.knownNames).count == Variable.knownNames.count)
    }

    @Test(arguments: Variable.all.map(\.name)) func aDefaultInWordsIsTheDefault(_ name: String) throws {
        let variable = try #require(Variable.named(name))
        guard case .value(let text) = variable.fallback else { return }
        // A word other than the default first, so that applying the default has something to undo.
        for other in Self.good where other.name == name {
            var draft = Variable.Draft()
            try variable.apply(other.text, &draft)
            try variable.apply(text, &draft)
            #expect(draft.settings == Settings(), "\(name): the default is not \(text)")
        }
    }

    @Test func theContractsDefaults() throws {
        let defaults = Dictionary(uniqueKeysWithValues: Variable.all.map { ($0.name, $0.fallback) })
        let contract = [
            "DB_MAX_CONNECTIONS": "20", "OPC_CONNECTION_TIMEOUT_MS": "10000", "OPC_SESSION_TIMEOUT_MS": "60000",
            "OPC_MAX_RECONNECT_ATTEMPTS": "5", "OPC_RECONNECT_DELAY_MS": "5000", "AGGREGATION_BUFFER_MS": "5000",
            "MAX_BUFFER_SIZE": "10000", "METRICS_PORT": "9090", "GRPC_PORT": "50051", "JOURNAL_DIR": "./data/journal",
            "JOURNAL_SYNC_MS": "50", "JOURNAL_MAX_BYTES": "1GiB", "OPC_PKI_DIR": "./data/pki",
            "METRICS_TAG_LABELS": "tag", "CONFIG_POLL_MS": "30000", "SHUTDOWN_GRACE_MS": "25000", "LEASE_MS": "10000",
            "LOG_LEVEL": "info", "JOURNAL_FULL_POLICY": "stop", "STORAGE_DIRECT_COMPRESS": "auto",
            "METRICS_HOST": "0.0.0.0", "STATUS_PAGE": "true", "STORAGE_CHUNK_HOURS": "24",
            "STORAGE_COMPRESS_AFTER_HOURS": "168", "STORAGE_RETENTION_DAYS": "731",
        ]
        for (name, value) in contract { #expect(defaults[name] == .value(value), "\(name)") }
        #expect(defaults["DATABASE_URL"] == .required)
        #expect(Settings().grpc.listenAddress.description == "127.0.0.1:50051")
        #expect(Settings().replica.identity == HostName.current)
        #expect(Settings().log.format(isTerminal: true) == .text)
        #expect(Settings().log.format(isTerminal: false) == .json)
    }

    @Test func theKeysMakeACipher() throws {
        var settings = Settings()
        #expect(try settings.encryption.makeCipher() == nil)
        settings.encryption.key = try EncryptionKey(base64: keyA)
        let old = try #require(try settings.encryption.makeCipher()).encrypt("pump")
        settings.encryption.key = try EncryptionKey(base64: keyB)
        settings.encryption.previousKeys = [try EncryptionKey(base64: keyA)]
        let opened = try #require(try settings.encryption.makeCipher()).open(old)
        #expect(opened.plaintext == "pump")
        #expect(opened.form == .previousKey)
    }
}
