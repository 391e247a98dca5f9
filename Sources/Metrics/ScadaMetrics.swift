/// Every metric of the daemon, declared in one place: names, help texts, labels, buckets.
package struct ScadaMetrics: Sendable {
    package let registry: Registry
    package let connectionErrors: Family<Counter>
    package let writeDuration: Family<Histogram>
    package let batchSize: Family<Histogram>
    package let readingsStored: Family<Counter>
    package let ingestDelay: Family<Histogram>
    package let journalSync: Family<Histogram>
    package let journalErrors: Family<Counter>
    package let gaps: Family<Counter>
    package let rejectedReadings: Family<Counter>
    package let directCompressed: Family<Counter>
    package let checkedFlushes: Family<Counter>
    package let parallelFlushes: Family<Counter>
    package let grpcCalls: Family<Counter>
    package let grpcFailedHandshakes: Family<Counter>

    package init(registry: Registry = Registry()) {
        self.registry = registry
        connectionErrors = registry.counter(
            MetricName(
                "scada_connection_errors_total",
                "Failures of an OPC UA connection, by kind.",
                labels: ["tenant_id", "connection_id", "error_type"]
            )
        )
        writeDuration = registry.histogram(
            MetricName(
                "scada_db_write_duration_seconds",
                "Time a flush took, from reading the journal to COMMIT.",
                labels: ["tenant_id"]
            ),
            bounds: [0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30]
        )
        batchSize = registry.histogram(
            MetricName("scada_batch_size", "Readings stored by one flush.", labels: ["tenant_id"]),
            bounds: [1, 10, 100, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000]
        )
        readingsStored = registry.counter(
            MetricName("scada_readings_stored_total", "Readings committed to the database.", labels: ["tenant_id"])
        )
        ingestDelay = registry.histogram(
            MetricName(
                "scada_ingest_delay_seconds",
                "Time from a reading's source timestamp to its COMMIT; one reading in sixteen is looked at and counts for"
                    + " all sixteen.",
                labels: ["tenant_id"]
            ),
            bounds: [
                0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30, 60, 300, 900, 3600,
            ]
        )
        journalSync = registry.histogram(
            MetricName("scada_journal_sync_seconds", "Time a group sync of the journals took."),
            bounds: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1]
        )
        journalErrors = registry.counter(
            MetricName("scada_journal_errors_total", "Writes or syncs of the journal that failed and were tried again.")
        )
        gaps = registry.counter(
            MetricName("scada_gaps_total", "Gaps recorded in scada_gaps, by cause.", labels: ["tenant_id", "cause"])
        )
        rejectedReadings = registry.counter(
            MetricName(
                "scada_rejected_readings_total",
                "Readings the database refused, by SQLSTATE; see scada_rejected_readings.",
                labels: ["tenant_id", "reason"]
            )
        )
        directCompressed = registry.counter(
            MetricName(
                "scada_direct_compressed_total",
                "Readings stored straight into TimescaleDB's columnstore.",
                labels: ["tenant_id"]
            )
        )
        checkedFlushes = registry.counter(
            MetricName(
                "scada_checked_flushes_total",
                "Flushes compared with what other replicas may have stored, which costs the database more: for half a"
                    + " minute after a connection began, and after takeovers.",
                labels: ["tenant_id"]
            )
        )
        parallelFlushes = registry.counter(
            MetricName(
                "scada_parallel_flushes_total",
                "Flushes made beside another one of the same tenant (DB_COPY_STREAMS).",
                labels: ["tenant_id"]
            )
        )
        grpcCalls = registry.counter(
            MetricName(
                "scada_grpc_calls_total",
                "Calls of the control API, by method and status.",
                labels: ["method", "code"]
            )
        )
        grpcFailedHandshakes = registry.counter(
            MetricName(
                "scada_grpc_failed_handshakes_total",
                "Clients of the control API that did not get through TLS: no certificate, or one that is not trusted or expired."
            )
        )
        ProcessMetrics.register(in: registry)
    }
}
