-- The readings in daily range partitions, and their roll-ups as views with the names and columns the continuous
-- aggregates have. The daemon makes partitions ahead and drops them behind; the default partition takes whatever is
-- early, late or absurd, so that no timestamp is ever without a home.
--
-- No unique constraint and no trigger, on purpose: each costs more than all else. Exactly-once comes from
-- ingest_checkpoints.
DO $$
BEGIN
    IF to_regclass('scada_readings') IS NULL THEN
        CREATE TABLE scada_readings (
            "timestamp" timestamptz NOT NULL,
            well_id uuid NOT NULL,
            tag_node_id text NOT NULL,
            value double precision,
            quality text NOT NULL,
            value_text text,
            status_code bigint
        ) PARTITION BY RANGE ("timestamp");
    ELSIF (SELECT relkind FROM pg_class WHERE oid = to_regclass('scada_readings')) <> 'p' THEN
        RAISE WARNING 'scada_readings existed and is not partitioned: it is used as it is, nothing is dropped by age';
    END IF;
    IF (SELECT relkind FROM pg_class WHERE oid = to_regclass('scada_readings')) = 'p'
        AND NOT EXISTS (SELECT FROM pg_partitioned_table
                        WHERE partrelid = to_regclass('scada_readings') AND partdefid <> 0) THEN
        CREATE TABLE scada_readings_default PARTITION OF scada_readings DEFAULT;
    END IF;
END
$$;

ALTER TABLE scada_readings
    ADD COLUMN IF NOT EXISTS value_text text,
    ADD COLUMN IF NOT EXISTS status_code bigint;

CREATE INDEX IF NOT EXISTS scada_readings_well_id_timestamp_idx ON scada_readings (well_id, "timestamp" DESC);

-- All buckets are cut in UTC; first and last skip rows without a number.
CREATE OR REPLACE VIEW scada_readings_hourly AS
SELECT date_trunc('hour', "timestamp", 'UTC') AS bucket,
       well_id,
       tag_node_id,
       avg(value) AS avg,
       min(value) AS min,
       max(value) AS max,
       (array_agg(value ORDER BY "timestamp") FILTER (WHERE value IS NOT NULL))[1] AS first,
       (array_agg(value ORDER BY "timestamp" DESC) FILTER (WHERE value IS NOT NULL))[1] AS last,
       count(*) AS count,
       count(*) FILTER (WHERE quality = 'Good') AS good_count,
       sum(value) AS value_sum,
       count(value) AS value_count
FROM scada_readings
GROUP BY 1, 2, 3;

CREATE OR REPLACE VIEW scada_readings_daily AS
SELECT date_trunc('day', "timestamp", 'UTC') AS bucket,
       well_id,
       tag_node_id,
       avg(value) AS avg,
       min(value) AS min,
       max(value) AS max,
       (array_agg(value ORDER BY "timestamp") FILTER (WHERE value IS NOT NULL))[1] AS first,
       (array_agg(value ORDER BY "timestamp" DESC) FILTER (WHERE value IS NOT NULL))[1] AS last,
       count(*) AS count,
       count(*) FILTER (WHERE quality = 'Good') AS good_count,
       sum(value) AS value_sum,
       count(value) AS value_count
FROM scada_readings
GROUP BY 1, 2, 3;

CREATE OR REPLACE VIEW scada_readings_monthly AS
SELECT date_trunc('month', "timestamp", 'UTC') AS bucket,
       well_id,
       tag_node_id,
       avg(value) AS avg,
       min(value) AS min,
       max(value) AS max,
       (array_agg(value ORDER BY "timestamp") FILTER (WHERE value IS NOT NULL))[1] AS first,
       (array_agg(value ORDER BY "timestamp" DESC) FILTER (WHERE value IS NOT NULL))[1] AS last,
       count(*) AS count,
       count(*) FILTER (WHERE quality = 'Good') AS good_count,
       sum(value) AS value_sum,
       count(value) AS value_count
FROM scada_readings
GROUP BY 1, 2, 3;
