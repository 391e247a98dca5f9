package import Journal
package import OPCUAClient
package import TimescaleStore

/// Everything the environment says about ingestion.
package struct IngestionOptions: Sendable {
    /// DATABASE_URL.
    package var master: DatabaseURL
    /// JOURNAL_DIR and its bounds.
    package var journal: JournalConfiguration
    /// AGGREGATION_BUFFER_MS.
    package var aggregationInterval: Duration = .seconds(5)
    /// MAX_BUFFER_SIZE: readings.
    package var maximumBufferSize = 10_000
    /// STORAGE_DIRECT_COMPRESS.
    package var directCompress = DirectCompress.automatic
    /// DB_COPY_STREAMS: flushes of one tenant at the same time, at most.
    package var copyStreams = 2
    /// CONFIG_POLL_MS.
    package var configurationPoll: Duration = .seconds(30)
    /// SHUTDOWN_GRACE_MS: for everything between the signal and the end.
    package var shutdownGrace: Duration = .seconds(25)
    package var connections = ConnectionDefaults()
    /// Own certificate and trust store; nil: unsecured connections only.
    package var security: ClientSecurity?
    /// Where servers dial in (OPC_REVERSE_LISTEN).
    package var reverse: ReverseListener?
    /// Lets small messages gather on the event loops; nil: each is taken when it comes.
    package var gathering: MessageGathering?
    /// SILENT_TAG_AFTER_MS; nil: tags are not watched for silence.
    package var silentTagAfter: Duration? = .seconds(300)
    package var storage = StorageSettings()
    /// Bring a tenant's schema up to date when it is started. Where the database's user may not, what is missing shows when
    /// it is used.
    package var migratesTenants = true
    /// Tenants whose database is listened to for changed configuration, each on a connection of its own; the others are
    /// polled only.
    package var maximumListeners = 0
    package var openPassword: ConnectionPlan.PasswordOpener = { $0 }

    package init(master: DatabaseURL, journal: JournalConfiguration) {
        self.master = master
        self.journal = journal
    }
}

/// Whether flushes go straight to TimescaleDB's columnstore (STORAGE_DIRECT_COMPRESS).
package enum DirectCompress: String, Sendable, CaseIterable {
    /// For backlog batches that are large enough per tag.
    case automatic = "auto"
    case on
    case off
}
