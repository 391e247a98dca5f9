import Ingestion
import Journal
import Logging
import TimescaleStore

extension Variable {
    /// Every variable, in the order they are documented.
    static let all: [Variable] = databases + opc + batches + journal + grpc + http + secrets + running

    private static let databases: [Variable] = [
        Variable(
            name: "DATABASE_URL",
            section: .databases,
            fallback: .required,
            expected: "the master database, such as postgresql://user:password@host:5432/database",
            summary: "The master database: its table tenants says who the tenants are and where their databases are.",
            isSecret: true,
            example: "postgresql://scada:change-me@localhost:5432/scada_master"
        ) { (text, draft) throws(Unacceptable) in
            do throws(StoreError) {
                draft.databaseURL = try DatabaseURL(text)
            } catch {
                throw Unacceptable(error.message)
            }
        },
        .integer(
            "DB_MAX_CONNECTIONS",
            .databases,
            \.database.maxConnections,
            1...1_000,
            "Database connections over all tenants, writers and queries together."
        ),
        .integer(
            "DB_COPY_STREAMS",
            .databases,
            \.database.copyStreams,
            1...16,
            """
            COPY streams one tenant may use at the same time, for large flushes and backlogs, while connections are free; they \
            are committed in order. 1 for one at a time. Streams beyond the first have a quarter of DB_MAX_CONNECTIONS in all.
            """
        ),
        .choice(
            "STORAGE_DIRECT_COMPRESS",
            .databases,
            .value("auto"),
            ["auto": DirectCompress.automatic, "on": .on, "off": .off],
            """
            Whether flushes go straight to TimescaleDB's columnstore, where the server can do that: auto for backlogs that \
            are large enough to compress well (100,000 readings and more, 100 and more of each tag).
            """
        ) { $0.database.directCompress = $1 },
        .integer(
            "STORAGE_CHUNK_HOURS",
            .databases,
            \.storage.chunkHours,
            1...8_760,
            "TimescaleDB: width of a chunk of readings, in hours. For chunks made from now on."
        ),
        .integer(
            "STORAGE_COMPRESS_AFTER_HOURS",
            .databases,
            \.storage.compressAfterHours,
            1...876_000,
            "TimescaleDB: age at which chunks are compressed, in hours."
        ),
        .integer(
            "STORAGE_RETENTION_DAYS",
            .databases,
            \.storage.retentionDays,
            StorageSettings.shortestRetentionDays...36_500,
            "Age at which readings are dropped, in days. With TimescaleDB the roll-ups stay."
        ),
        .integer(
            "STORAGE_REFRESH_HOURLY_MINUTES",
            .databases,
            \.storage.hourlyRefreshMinutes,
            1...43_200,
            "TimescaleDB: how often the hourly roll-up is brought up to date, in minutes."
        ),
        .integer(
            "STORAGE_REFRESH_DAILY_MINUTES",
            .databases,
            \.storage.dailyRefreshMinutes,
            1...43_200,
            "TimescaleDB: how often the daily roll-up is brought up to date, in minutes."
        ),
        .integer(
            "STORAGE_REFRESH_MONTHLY_MINUTES",
            .databases,
            \.storage.monthlyRefreshMinutes,
            1...43_200,
            "TimescaleDB: how often the monthly roll-up is brought up to date, in minutes."
        ),
    ]

    private static let opc: [Variable] = [
        .milliseconds(
            "OPC_CONNECTION_TIMEOUT_MS",
            .opc,
            \.opc.connectionTimeout,
            100...600_000,
            "Patience for one attempt to connect to an OPC UA server: TCP, Hello, secure channel and session together."
        ),
        .milliseconds(
            "OPC_SESSION_TIMEOUT_MS",
            .opc,
            \.opc.sessionTimeout,
            1_000...86_400_000,
            "Session timeout asked for. A server keeps session and subscriptions that long after a break."
        ),
        .integer(
            "OPC_MAX_RECONNECT_ATTEMPTS",
            .opc,
            \.opc.maxReconnectAttempts,
            1...1_000_000,
            "Failures in a row before a connection is reported down. Attempts go on, at the longest delay."
        ),
        .milliseconds(
            "OPC_RECONNECT_DELAY_MS",
            .opc,
            \.opc.reconnectDelay,
            10...60_000,
            "First delay between attempts; doubles to 60 s. The first attempt after a break is immediate."
        ),
        .path(
            "OPC_PKI_DIR",
            .opc,
            \.opc.pkiDirectory,
            "Folder of certificates: own/, trusted/, issuers/, rejected/, users/. Made when it is missing."
        ),
        .flag(
            "OPC_ALLOW_DEPRECATED_POLICIES",
            .opc,
            \.opc.allowDeprecatedPolicies,
            "Also use the security policies Basic128Rsa15 and Basic256, which are broken: for old servers only."
        ),
        .flag(
            "OPC_ALLOW_PLAINTEXT_PASSWORD",
            .opc,
            \.opc.allowPlaintextPassword,
            "Also send user passwords to servers that offer no encryption for them. Anybody on the network can read them."
        ),
        Variable(
            name: "OPC_REVERSE_LISTEN",
            section: .opc,
            fallback: .unset("no server can dial in"),
            expected: "HOST:PORT of this machine, such as 0.0.0.0:4843 or [::]:4843",
            summary: """
                Address that OPC UA servers dial for reverse connect, as HOST:PORT: for connections whose endpoint_url \
                begins with reverse+opc.tcp://.
                """,
            example: "0.0.0.0:4843"
        ) { (text, draft) throws(Unacceptable) in draft.settings.opc.reverseListen = try listenAddress(text) },
        .milliseconds(
            "SILENT_TAG_AFTER_MS",
            .opc,
            \.opc.silentTagAfter,
            0...86_400_000,
            """
            A tag is told as silent when it was quiet this long, and five times longer than ever in the last one to two \
            weeks. 0: tags are not watched for silence.
            """
        ),
    ]

    private static let batches: [Variable] = [
        .milliseconds(
            "AGGREGATION_BUFFER_MS",
            .batches,
            \.aggregation.interval,
            10...600_000,
            "Readings are written to the database at least this often."
        ),
        .integer(
            "MAX_BUFFER_SIZE",
            .batches,
            \.aggregation.maxReadings,
            1...1_000_000,
            "Readings of one tenant that are written at once, without waiting for AGGREGATION_BUFFER_MS."
        ),
    ]

    private static let journal: [Variable] = [
        .path(
            "JOURNAL_DIR",
            .journal,
            \.journal.directory,
            "Folder where readings are kept safe until the database has them: on a local disk, one process only."
        ),
        .milliseconds(
            "JOURNAL_SYNC_MS",
            .journal,
            \.journal.syncInterval,
            1...60_000,
            "How often new readings are synced to the disk; only then are they acknowledged to the OPC UA server."
        ),
        .size(
            "JOURNAL_MAX_BYTES",
            .journal,
            \.journal.maxBytesPerTenant,
            1 << 20...1 << 44,
            "Most that one tenant's journal takes while its database is away. A reading is about 100 bytes."
        ),
        .size(
            "JOURNAL_MAX_TOTAL_BYTES",
            .journal,
            .unset("the disk is the bound"),
            1 << 20...1 << 50,
            "Most that all journals together take; half of it is guaranteed to the tenants in equal shares."
        ) { $0.journal.maxTotalBytes = $1 },
        .choice(
            "JOURNAL_FULL_POLICY",
            .journal,
            .value("stop"),
            ["stop": JournalFullPolicy.stopReading, "drop-oldest": .dropOldest],
            """
            What a full journal does: stop reading, so that the OPC UA servers queue, or drop-oldest, so that the newest \
            readings go on. Whatever is lost is recorded as a gap.
            """
        ) { $0.journal.fullPolicy = $1 },
    ]

    private static let grpc: [Variable] = [
        Variable(
            name: "GRPC_HOST",
            section: .grpc,
            fallback: .unset("127.0.0.1; with TLS or GRPC_ALLOW_INSECURE=true 0.0.0.0"),
            expected: "an IP address or host name of this machine",
            summary:
                "Address the management API listens on. Without TLS only loopback, unless GRPC_ALLOW_INSECURE=true.",
            example: "0.0.0.0"
        ) { (text, draft) throws(Unacceptable) in draft.settings.grpc.host = try hostText(text) },
        .port("GRPC_PORT", .grpc, \.grpc.port, "Port of the management API."),
        .optionalPath(
            "GRPC_TLS_CERT",
            .grpc,
            \.grpc.certificateFile,
            unset: "no TLS",
            example: "/etc/scada-ingestion/tls.crt",
            "The API's certificate with its chain, PEM. Read again when it changes."
        ),
        .optionalPath(
            "GRPC_TLS_KEY",
            .grpc,
            \.grpc.keyFile,
            unset: "no TLS",
            example: "/etc/scada-ingestion/tls.key",
            "The private key of GRPC_TLS_CERT, PEM, not encrypted."
        ),
        .optionalPath(
            "GRPC_TLS_CLIENT_CA",
            .grpc,
            \.grpc.clientCAFile,
            unset: "clients need no certificate",
            example: "/etc/scada-ingestion/client-ca.crt",
            "Authorities of client certificates, PEM. Set: every client must present one."
        ),
        .optionalPath(
            "GRPC_TOKENS_FILE",
            .grpc,
            \.grpc.tokensFile,
            unset: "no bearer tokens are asked for",
            example: "/etc/scada-ingestion/tokens",
            "Bearer tokens, one a line: sha256:<hash of the token>, white space, tenant id or * for all."
        ),
        .flag(
            "GRPC_ALLOW_INSECURE",
            .grpc,
            \.grpc.allowInsecure,
            "Listen on other addresses than loopback without TLS: only in a network where everybody is trusted."
        ),
    ]

    private static let http: [Variable] = [
        Variable(
            name: "METRICS_HOST",
            section: .http,
            fallback: .value(Settings().http.host),
            expected: "an IP address or host name of this machine",
            summary: "Address that /metrics, /healthz, /readyz and the status page listen on."
        ) { (text, draft) throws(Unacceptable) in draft.settings.http.host = try hostText(text) },
        .port("METRICS_PORT", .http, \.http.port, "Port of /metrics, /healthz, /readyz and the status page."),
        .choice(
            "METRICS_TAG_LABELS",
            .http,
            .value("tag"),
            ["tag": Settings.TagLabels.tag, "well": .well, "tenant": .tenant],
            "Finest label of scada_readings_ingested_total: well or tenant for a Prometheus that 100,000 series are too many for."
        ) { $0.http.tagLabels = $1 },
        .flag("STATUS_PAGE", .http, \.http.statusPage, "Whether / and /status.json answer."),
    ]

    private static let secrets: [Variable] = [
        Variable(
            name: "ENCRYPTION_KEY",
            section: .secrets,
            fallback: .unset("stored passwords cannot be decrypted"),
            expected: "base64 of 32 bytes, made by: openssl rand -base64 32",
            summary: "Key of the OPC UA passwords stored in the tenants' databases (AES-256-GCM), base64 of 32 bytes.",
            isSecret: true,
            example: "(openssl rand -base64 32)"
        ) { (text, draft) throws(Unacceptable) in
            draft.settings.encryption.key = try EncryptionKey(base64: text)
        },
        Variable(
            name: "ENCRYPTION_KEY_PREVIOUS",
            section: .secrets,
            fallback: .unset("none"),
            expected: "keys like ENCRYPTION_KEY, separated by commas",
            summary: "Former keys, separated by commas: still read, never written. For changing ENCRYPTION_KEY.",
            isSecret: true,
            example: "(the key before)"
        ) { (text, draft) throws(Unacceptable) in
            var keys: [EncryptionKey] = []
            for (index, part) in text.split(separator: ",", omittingEmptySubsequences: false).enumerated() {
                do throws(Unacceptable) {
                    keys.append(try EncryptionKey(base64: String(part)))
                } catch {
                    throw Unacceptable("key number \(index + 1): \(error.reason)")
                }
            }
            draft.settings.encryption.previousKeys = keys
        },
    ]

    private static let running: [Variable] = [
        .milliseconds(
            "CONFIG_POLL_MS",
            .running,
            \.configurationPollInterval,
            100...86_400_000,
            "How often the databases are asked for changed tenants, connections and tags, beside their notifications."
        ),
        .milliseconds(
            "SHUTDOWN_GRACE_MS",
            .running,
            \.shutdownGrace,
            0...600_000,
            "Time for the last flush after SIGTERM. What it does not reach stays in the journal."
        ),
        Variable(
            name: "REPLICA_ID",
            section: .running,
            fallback: .unset("this daemon alone runs every connection"),
            expected: "1 to 200 printable characters without white space",
            summary:
                "Name of this replica among those that share the connections; must differ between them. Not set: one"
                + " daemon runs all connections, and goes on when the master database is away.",
            example: "scada-ingestion-0"
        ) { (text, draft) throws(Unacceptable) in
            let isPrintable = text.unicodeScalars.allSatisfy {
                !$0.properties.isWhitespace && $0.properties.generalCategory != .control
            }
            guard isPrintable, text.count <= 200 else { throw Unacceptable() }
            draft.settings.replica.id = text
        },
        .milliseconds(
            "LEASE_MS",
            .running,
            \.replica.lease,
            1_000...600_000,
            "How long a replica's connections stay its own after it went silent; then another one takes them. A replica that"
                + " cannot reach the master database for so long stops its connections. Only with REPLICA_ID."
        ),
        .choice(
            "LOG_LEVEL",
            .running,
            .value("info"),
            [
                "trace": Logger.Level.trace, "debug": .debug, "info": .info, "notice": .notice, "warning": .warning,
                "error": .error, "critical": .critical,
            ],
            "Least severe messages that are logged."
        ) { $0.log.level = $1 },
        .choice(
            "LOG_FORMAT",
            .running,
            .unset("json, or text when stderr is a terminal"),
            ["json": Settings.LogFormat.json, "text": .text],
            "Logs on stderr: one JSON object a line, or text for people."
        ) { $0.log.format = $1 },
    ]

    /// `HOST:PORT`; an IPv6 address stands in brackets.
    private static func listenAddress(_ text: String) throws(Unacceptable) -> Settings.ReverseAddress {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
            throw Unacceptable("the port is missing")
        }
        var host = text[..<colon]
        if host.first == "[", host.last == "]" {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            throw Unacceptable("an IPv6 address must stand in brackets")
        }
        guard !host.isEmpty else { throw Unacceptable("the host is missing") }
        return Settings.ReverseAddress(host: try hostText(String(host)), port: port)
    }

    private static func hostText(_ text: String) throws(Unacceptable) -> String {
        let isPlausible = text.utf8.allSatisfy {
            UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 || UInt8(ascii: "a")...UInt8(ascii: "z") ~= $0 | 0x20
                || [UInt8(ascii: "."), UInt8(ascii: ":"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "%")]
                    .contains($0)
        }
        guard isPlausible, text.utf8.count <= 253 else { throw Unacceptable() }
        return text
    }
}
