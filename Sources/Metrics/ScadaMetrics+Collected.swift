extension ScadaMetrics {
    /// Metrics computed when somebody asks for them; the daemon registers how.
    package enum Collected {
        package static func readingsIngested(labels: [String]) -> MetricName {
            MetricName(
                "scada_readings_ingested_total",
                "Readings received from OPC UA servers; values that a server sent again are not counted.",
                labels: labels
            )
        }
        package static let activeConnections = MetricName(
            "scada_active_connections",
            "OPC UA connections that are connected now.",
            labels: ["tenant_id"]
        )
        package static let connections = MetricName(
            "scada_connections",
            "OPC UA connections configured, by state.",
            labels: ["tenant_id", "state"]
        )
        package static let connectionUp = MetricName(
            "scada_connection_up",
            "1 while an OPC UA connection is connected, else 0.",
            labels: ["tenant_id", "connection_id"]
        )
        package static let bufferSize = MetricName(
            "scada_buffer_size",
            "Readings in memory that wait for the tenant's next flush.",
            labels: ["tenant_id"]
        )
        package static let backlog = MetricName(
            "scada_backlog_readings",
            "Readings in the journal that are not in the database yet.",
            labels: ["tenant_id"]
        )
        package static let oldestUnstored = MetricName(
            "scada_oldest_unstored_seconds",
            "Age of the oldest reading that is not in the database yet.",
            labels: ["tenant_id"]
        )
        package static let journalBytes = MetricName(
            "scada_journal_bytes",
            "Bytes of a tenant's journal on disk; intake stops at scada_journal_limit_bytes.",
            labels: ["tenant_id"]
        )
        package static let journalLimit = MetricName(
            "scada_journal_limit_bytes",
            "JOURNAL_MAX_BYTES: most a tenant's journal may take."
        )
        package static let tenantUp = MetricName(
            "scada_tenant_up",
            "1 while a tenant's readings can be stored, 0 while its database refuses or is away.",
            labels: ["tenant_id"]
        )
        package static let reconnects = MetricName(
            "scada_reconnects_total",
            "Times a connection was established again after it was lost.",
            labels: ["tenant_id", "connection_id"]
        )
        package static let republished = MetricName(
            "scada_republished_total",
            "Notifications that were lost on the way and fetched again by Republish.",
            labels: ["tenant_id", "connection_id"]
        )
        package static let queueOverflows = MetricName(
            "scada_queue_overflows_total",
            "Values with the overflow bit: the server's queue lost some before them.",
            labels: ["tenant_id", "connection_id"]
        )
        package static let badTags = MetricName(
            "scada_bad_tags",
            "Tags the server refuses or does not know; they are tried again.",
            labels: ["tenant_id", "connection_id"]
        )
        package static let silentTags = MetricName(
            "scada_silent_tags",
            "Tags of a connected server that are quiet far longer than ever before; see SILENT_TAG_AFTER_MS.",
            labels: ["tenant_id", "connection_id"]
        )
        package static let duplicates = MetricName(
            "scada_duplicates_dropped_total",
            "Values a server sent again, recognised as such and not stored twice.",
            labels: ["tenant_id", "connection_id"]
        )
        package static let receiveTimestamps = MetricName(
            "scada_receive_timestamp_used_total",
            "Values without a source or server timestamp, stored with the time they were received.",
            labels: ["tenant_id", "connection_id"]
        )
        package static let recovered = MetricName(
            "scada_history_recovered_total",
            "Readings read from servers' history over holes.",
            labels: ["tenant_id", "connection_id"]
        )
        package static let databaseConnections = MetricName(
            "scada_db_connections",
            "Connections to PostgreSQL over all databases together, by state; at most DB_MAX_CONNECTIONS.",
            labels: ["state"]
        )
        package static let databaseConnects = MetricName(
            "scada_db_connects_total",
            "Connections to PostgreSQL opened. With more databases than connections, each flush of some of them opens one."
        )
        package static let databaseWaiting = MetricName(
            "scada_db_waiting",
            "Flushes, queries and other work that wait for a connection to PostgreSQL now."
        )
        package static let databaseJobs = MetricName(
            "scada_db_jobs_total",
            "Flushes, queries and other work that got a connection to PostgreSQL."
        )
        package static let databaseWait = MetricName(
            "scada_db_wait_seconds_total",
            "Time that flushes, queries and other work waited for a connection to PostgreSQL, all together."
        )
        package static let buildInfo = MetricName(
            "scada_build_info",
            "Version of the daemon and of the Swift compiler.",
            labels: ["version", "swift"]
        )
        package static let certificateExpiry = MetricName(
            "scada_certificate_expiry_seconds",
            "Time until a certificate expires, negative when it has: own, grpc, or of a trusted server or issuer by thumbprint.",
            labels: ["certificate"]
        )
        package static let logLinesDropped = MetricName(
            "scada_log_lines_dropped_total",
            "Log lines lost because standard error did not take them in time."
        )
        package static let ready = MetricName(
            "scada_ready",
            "1 while /readyz answers 200, else 0."
        )
        package static let leasesHeld = MetricName(
            "scada_leases_held",
            "Connections this replica holds a lease of; only where replicas share them."
        )
        package static let replicasLive = MetricName(
            "scada_replicas_live",
            "Replicas that share the connections and are alive, as this one sees them."
        )
        package static let takeovers = MetricName(
            "scada_lease_takeovers_total",
            "Connections taken over from replicas that were lost."
        )
        package static let handovers = MetricName(
            "scada_lease_handovers_total",
            "Connections handed over in order, to and from other replicas.",
            labels: ["direction"]
        )
        package static let fencings = MetricName(
            "scada_lease_fencings_total",
            "Times this replica stopped its connections because its leases could not be renewed."
        )

        /// All of them, with the type to register them as.
        package static let all: [(name: MetricName, type: MetricType)] =
            [
                readingsIngested(labels: ["tenant_id", "well_id", "tag_node_id"]),
                reconnects, republished, queueOverflows, duplicates, receiveTimestamps, recovered, logLinesDropped,
                takeovers, handovers, fencings,
            ].map { ($0, .counter) }
            + [
                activeConnections, connections, connectionUp, bufferSize, backlog, oldestUnstored, journalBytes,
                journalLimit, tenantUp, badTags, silentTags, databaseConnections, certificateExpiry, ready,
                leasesHeld, replicasLive,
            ].map { ($0, .gauge) }
            + [(buildInfo, .info)]
    }
}
