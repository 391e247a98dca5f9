-- The readings as a hypertable, and their roll-ups as continuous aggregates.
--
-- No unique constraint and no trigger, on purpose: each costs more than all else, and TimescaleDB silently leaves its
-- direct-to-columnstore COPY for tables that have one. Exactly-once comes from ingest_checkpoints.
CREATE TABLE IF NOT EXISTS scada_readings (
    "timestamp" timestamptz NOT NULL,
    well_id uuid NOT NULL,
    tag_node_id text NOT NULL,
    value double precision,
    quality text NOT NULL,
    value_text text,
    status_code bigint
);

ALTER TABLE scada_readings
    ADD COLUMN IF NOT EXISTS value_text text,
    ADD COLUMN IF NOT EXISTS status_code bigint;

SELECT create_hypertable(
    'scada_readings', 'timestamp',
    chunk_time_interval => INTERVAL :'chunk_interval',
    create_default_indexes => false,
    if_not_exists => true,
    migrate_data => true
);

CREATE INDEX IF NOT EXISTS scada_readings_well_id_timestamp_idx ON scada_readings (well_id, "timestamp" DESC);

ALTER TABLE scada_readings SET (
    timescaledb.compress,
    timescaledb.compress_segmentby = 'well_id, tag_node_id',
    timescaledb.compress_orderby = '"timestamp" DESC'
);

-- value_sum and value_count make the levels above exact: an average of averages would not be. first and last skip rows
-- without a number. All buckets are cut in UTC.
CREATE MATERIALIZED VIEW IF NOT EXISTS scada_readings_hourly
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT time_bucket(INTERVAL '1 hour', "timestamp") AS bucket,
       well_id,
       tag_node_id,
       avg(value) AS avg,
       min(value) AS min,
       max(value) AS max,
       first(value, "timestamp") FILTER (WHERE value IS NOT NULL) AS first,
       last(value, "timestamp") FILTER (WHERE value IS NOT NULL) AS last,
       count(*) AS count,
       count(*) FILTER (WHERE quality = 'Good') AS good_count,
       sum(value) AS value_sum,
       count(value) AS value_count
FROM scada_readings
GROUP BY 1, 2, 3
WITH NO DATA;

CREATE MATERIALIZED VIEW IF NOT EXISTS scada_readings_daily
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT time_bucket(INTERVAL '1 day', bucket) AS bucket,
       well_id,
       tag_node_id,
       sum(value_sum) / nullif(sum(value_count), 0)::double precision AS avg,
       min(min) AS min,
       max(max) AS max,
       first(first, bucket) FILTER (WHERE first IS NOT NULL) AS first,
       last(last, bucket) FILTER (WHERE last IS NOT NULL) AS last,
       sum(count)::bigint AS count,
       sum(good_count)::bigint AS good_count,
       sum(value_sum) AS value_sum,
       sum(value_count)::bigint AS value_count
FROM scada_readings_hourly
GROUP BY 1, 2, 3
WITH NO DATA;

CREATE MATERIALIZED VIEW IF NOT EXISTS scada_readings_monthly
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT time_bucket(INTERVAL '1 month', bucket) AS bucket,
       well_id,
       tag_node_id,
       sum(value_sum) / nullif(sum(value_count), 0)::double precision AS avg,
       min(min) AS min,
       max(max) AS max,
       first(first, bucket) FILTER (WHERE first IS NOT NULL) AS first,
       last(last, bucket) FILTER (WHERE last IS NOT NULL) AS last,
       sum(count)::bigint AS count,
       sum(good_count)::bigint AS good_count,
       sum(value_sum) AS value_sum,
       sum(value_count)::bigint AS value_count
FROM scada_readings_daily
GROUP BY 1, 2, 3
WITH NO DATA;
