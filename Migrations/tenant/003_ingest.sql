-- How far each journal has been stored. Moved in the transaction that stores the rows: exactly once.
CREATE TABLE IF NOT EXISTS ingest_checkpoints (
    journal_id uuid PRIMARY KEY,
    "position" bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
)
-- One row, rewritten at every flush: room on the page keeps the updates off the index.
WITH (fillfactor = 50);

-- Every hole in the readings, from when to when, why, and what became of it.
CREATE TABLE IF NOT EXISTS scada_gaps (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    connection_id uuid NOT NULL,
    tag_node_id text,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    cause text NOT NULL,
    readings_lost bigint,
    healed_at timestamptz,
    readings_recovered bigint
);

CREATE INDEX IF NOT EXISTS scada_gaps_started_at_id_idx ON scada_gaps (started_at, id);
CREATE INDEX IF NOT EXISTS scada_gaps_open_idx ON scada_gaps (connection_id) WHERE ended_at IS NULL;

-- Rows the database refused; raw is the row in binary COPY form.
CREATE TABLE IF NOT EXISTS scada_rejected_readings (
    received_at timestamptz NOT NULL DEFAULT now(),
    connection_id uuid,
    well_id uuid,
    tag_node_id text,
    reason text NOT NULL,
    raw bytea
);

CREATE INDEX IF NOT EXISTS scada_rejected_readings_received_at_idx ON scada_rejected_readings (received_at);
