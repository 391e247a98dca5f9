-- Replicas that share the connections tell here that they live: one row each, renewed together with their leases.
CREATE TABLE IF NOT EXISTS scada_replicas (
    replica_id text PRIMARY KEY,
    version text NOT NULL DEFAULT '',
    started_at timestamptz NOT NULL DEFAULT now(),
    renewed_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);

-- What the owner last said of a connection, so that every replica can tell. All times but last_reading_at and state_since
-- are this database's.
ALTER TABLE connection_leases
    ADD COLUMN IF NOT EXISTS journal_id uuid,
    -- What the owner still has to take over: the epoch of the owner before, and when that one was last heard of. NULL: it has
    -- all in its journal, and goes on from there after a restart.
    ADD COLUMN IF NOT EXISTS inherits bigint,
    ADD COLUMN IF NOT EXISTS former_renewed_at timestamptz,
    ADD COLUMN IF NOT EXISTS tags int NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS renewed_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS state text NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS state_since timestamptz,
    ADD COLUMN IF NOT EXISTS last_error text NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS tags_bad int NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS readings_received bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS last_reading_at timestamptz,
    ADD COLUMN IF NOT EXISTS reconnects bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS publishing_interval_ms double precision NOT NULL DEFAULT 0;

-- What the next owner must know: the tags' last readings and the subscriptions at the server. Only good for the owner that
-- follows the epoch it was written in; an owner that ends without writing it has been lost.
CREATE TABLE IF NOT EXISTS connection_handovers (
    connection_id uuid PRIMARY KEY,
    epoch bigint NOT NULL,
    memory bytea NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now()
);
