import ControlAPI
import Ingestion
import Journal
import Logging
import TimescaleStore

/// Every setting but the master database's URL, with its default. ``Variable/all`` says what each takes and means.
struct Settings: Sendable, Equatable {
    var database = Database()
    /// STORAGE_…: intervals of chunks, compression, retention and roll-ups.
    var storage = StorageSettings()
    var opc = OPC()
    var aggregation = Aggregation()
    var journal = JournalSettings()
    var grpc = GRPC()
    var http = HTTP()
    var encryption = Encryption()
    var replica = Replica()
    var log = Log()
    /// CONFIG_POLL_MS: how often the databases are asked for changed connections and tags.
    var configurationPollInterval: Duration = .milliseconds(30_000)
    /// SHUTDOWN_GRACE_MS: time for an orderly end after SIGTERM.
    var shutdownGrace: Duration = .milliseconds(25_000)

    struct Database: Sendable, Equatable {
        /// DB_MAX_CONNECTIONS: over all databases, writers and queries together.
        var maxConnections = 20
        /// DB_COPY_STREAMS: flushes of one tenant at the same time, at most.
        var copyStreams = 2
        /// STORAGE_DIRECT_COMPRESS.
        var directCompress = DirectCompress.automatic
    }

    struct OPC: Sendable, Equatable {
        /// OPC_CONNECTION_TIMEOUT_MS: TCP, Hello, secure channel and session together.
        var connectionTimeout: Duration = .milliseconds(10_000)
        /// OPC_SESSION_TIMEOUT_MS: requested from servers.
        var sessionTimeout: Duration = .milliseconds(60_000)
        /// OPC_MAX_RECONNECT_ATTEMPTS: failures in a row before a connection is reported down.
        var maxReconnectAttempts = 5
        /// OPC_RECONNECT_DELAY_MS: the first delay, doubling to 60 s.
        var reconnectDelay: Duration = .milliseconds(5_000)
        /// OPC_PKI_DIR: own/, trusted/, issuers/, rejected/.
        var pkiDirectory = "./data/pki"
        /// OPC_ALLOW_DEPRECATED_POLICIES: Basic128Rsa15 and Basic256.
        var allowDeprecatedPolicies = false
        /// OPC_ALLOW_PLAINTEXT_PASSWORD: a password over a channel that does not encrypt it.
        var allowPlaintextPassword = false
        /// OPC_REVERSE_LISTEN: where servers dial in; nil: nowhere.
        var reverseListen: ReverseAddress?
        /// SILENT_TAG_AFTER_MS: least time of quiet after which a tag may count as silent; 0: tags are not watched.
        var silentTagAfter: Duration = .milliseconds(300_000)
    }

    /// Where to listen.
    struct ReverseAddress: Sendable, Equatable {
        /// An IPv6 address without its brackets.
        var host: String
        /// 0: any free one.
        var port: UInt16
    }

    struct Aggregation: Sendable, Equatable {
        /// AGGREGATION_BUFFER_MS: a flush at least this often.
        var interval: Duration = .milliseconds(5_000)
        /// MAX_BUFFER_SIZE: readings that force a flush.
        var maxReadings = 10_000
    }

    struct JournalSettings: Sendable, Equatable {
        /// JOURNAL_DIR.
        var directory = "./data/journal"
        /// JOURNAL_SYNC_MS: interval of the group sync.
        var syncInterval: Duration = .milliseconds(50)
        /// JOURNAL_MAX_BYTES: of one tenant.
        var maxBytesPerTenant = 1 << 30
        /// JOURNAL_MAX_TOTAL_BYTES: of all tenants; nil: the disk is the bound.
        var maxTotalBytes: Int?
        /// JOURNAL_FULL_POLICY.
        var fullPolicy = JournalFullPolicy.stopReading
    }

    struct GRPC: Sendable, Equatable {
        /// GRPC_HOST when set; use ``listenAddress``.
        var host: String?
        /// GRPC_PORT; 0: any free one.
        var port: UInt16 = 50_051
        /// GRPC_TLS_CERT, GRPC_TLS_KEY, GRPC_TLS_CLIENT_CA as set; use ``tls``.
        var certificateFile: String?
        var keyFile: String?
        var clientCAFile: String?
        /// GRPC_TOKENS_FILE.
        var tokensFile: String?
        /// GRPC_ALLOW_INSECURE: other addresses than loopback without TLS.
        var allowInsecure = false

        /// nil without TLS.
        var tls: TLSOptions? {
            guard let certificateFile, let keyFile else { return nil }
            return TLSOptions(certificateFile: certificateFile, keyFile: keyFile, clientCAFile: clientCAFile)
        }

        /// GRPC_HOST, or all addresses when callers are encrypted or need not be, else loopback.
        var listenAddress: ListenAddress {
            let isOpen = tls != nil || allowInsecure
            return ListenAddress(host: host ?? (isOpen ? "0.0.0.0" : "127.0.0.1"), port: port)
        }
    }

    /// The HTTP endpoint of metrics, health and status.
    struct HTTP: Sendable, Equatable {
        /// METRICS_HOST.
        var host = "0.0.0.0"
        /// METRICS_PORT; 0: any free one.
        var port: UInt16 = 9090
        /// METRICS_TAG_LABELS.
        var tagLabels = TagLabels.tag
        /// STATUS_PAGE: whether / and /status.json answer.
        var statusPage = true
    }

    /// The finest label of `scada_readings_ingested_total`.
    enum TagLabels: String, Sendable, CaseIterable {
        case tag, well, tenant
    }

    struct Encryption: Sendable, Equatable {
        /// ENCRYPTION_KEY: encrypts, and is tried first to decrypt.
        var key: EncryptionKey?
        /// ENCRYPTION_KEY_PREVIOUS: tried next, in this order.
        var previousKeys: [EncryptionKey] = []
    }

    struct Replica: Sendable, Equatable {
        /// REPLICA_ID when set; use ``identity``.
        var id: String?
        /// LEASE_MS: how long a connection stays with a replica that went silent.
        var lease: Duration = .milliseconds(10_000)

        /// REPLICA_ID, or the host name.
        var identity: String { id ?? HostName.current }

        /// Replicas share the connections. Only when REPLICA_ID is set: a replica that shares must stop its connections when
        /// it cannot reach the master database, and one that runs alone must go on.
        var isShared: Bool { id != nil }
    }

    struct Log: Sendable, Equatable {
        /// LOG_LEVEL.
        var level = Logger.Level.info
        /// LOG_FORMAT when set; use ``format(isTerminal:)``.
        var format: LogFormat?

        /// LOG_FORMAT, or text for people and JSON for programs.
        func format(isTerminal: Bool) -> LogFormat { format ?? (isTerminal ? .text : .json) }
    }

    enum LogFormat: String, Sendable, CaseIterable {
        /// One JSON object a line.
        case json
        case text
    }
}
