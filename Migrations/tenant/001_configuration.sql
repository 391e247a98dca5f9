-- What to read from where. The platform usually created both tables already; then only columns that are missing are
-- added, and nothing is dropped or retyped.
CREATE TABLE IF NOT EXISTS scada_connections (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text,
    endpoint_url text NOT NULL,
    security_mode text NOT NULL DEFAULT 'None',
    security_policy text NOT NULL DEFAULT 'None',
    username text,
    password text,
    publishing_interval_ms int,
    is_enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);

CREATE TABLE IF NOT EXISTS tag_mappings (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    connection_id uuid NOT NULL,
    well_id uuid NOT NULL,
    opc_node_id text NOT NULL,
    data_type text,
    name text,
    unit text,
    sampling_interval_ms double precision,
    queue_size int,
    deadband_absolute double precision,
    deadband_percent double precision,
    is_enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);

DO $$
DECLARE
    missing record;
BEGIN
    FOR missing IN
        SELECT * FROM (VALUES
            ('scada_connections', 'name', 'text'),
            ('scada_connections', 'endpoint_url', 'text'),
            ('scada_connections', 'security_mode', 'text NOT NULL DEFAULT ''None'''),
            ('scada_connections', 'security_policy', 'text NOT NULL DEFAULT ''None'''),
            ('scada_connections', 'username', 'text'),
            ('scada_connections', 'password', 'text'),
            ('scada_connections', 'publishing_interval_ms', 'int'),
            ('scada_connections', 'is_enabled', 'boolean NOT NULL DEFAULT true'),
            ('scada_connections', 'created_at', 'timestamptz NOT NULL DEFAULT now()'),
            ('scada_connections', 'updated_at', 'timestamptz NOT NULL DEFAULT now()'),
            ('scada_connections', 'deleted_at', 'timestamptz'),
            ('tag_mappings', 'connection_id', 'uuid'),
            ('tag_mappings', 'well_id', 'uuid'),
            ('tag_mappings', 'opc_node_id', 'text'),
            ('tag_mappings', 'data_type', 'text'),
            ('tag_mappings', 'name', 'text'),
            ('tag_mappings', 'unit', 'text'),
            ('tag_mappings', 'sampling_interval_ms', 'double precision'),
            ('tag_mappings', 'queue_size', 'int'),
            ('tag_mappings', 'deadband_absolute', 'double precision'),
            ('tag_mappings', 'deadband_percent', 'double precision'),
            ('tag_mappings', 'is_enabled', 'boolean NOT NULL DEFAULT true'),
            ('tag_mappings', 'created_at', 'timestamptz NOT NULL DEFAULT now()'),
            ('tag_mappings', 'updated_at', 'timestamptz NOT NULL DEFAULT now()'),
            ('tag_mappings', 'deleted_at', 'timestamptz')
        ) AS wanted (table_name, column_name, definition)
        WHERE NOT EXISTS (
            SELECT FROM pg_attribute
            WHERE attrelid = to_regclass(wanted.table_name) AND attname = wanted.column_name AND NOT attisdropped
        )
    LOOP
        EXECUTE format('ALTER TABLE %I ADD COLUMN %I %s', missing.table_name, missing.column_name, missing.definition);
    END LOOP;
END
$$;

-- On tables of somebody else's an index and triggers may be forbidden: both only make things faster.
DO $$
BEGIN
    CREATE INDEX IF NOT EXISTS tag_mappings_connection_id_idx ON tag_mappings (connection_id);
EXCEPTION WHEN insufficient_privilege THEN
    RAISE WARNING 'no index on tag_mappings (connection_id): %', SQLERRM;
END
$$;

CREATE OR REPLACE FUNCTION scada_notify_config_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('scada_config_changed', TG_TABLE_NAME);
    RETURN NULL;
END
$$;

DO $$
DECLARE
    watched text;
BEGIN
    FOREACH watched IN ARRAY ARRAY['scada_connections', 'tag_mappings'] LOOP
        IF NOT EXISTS (
            SELECT FROM pg_trigger WHERE tgrelid = to_regclass(watched) AND tgname = 'scada_config_changed'
        ) THEN
            BEGIN
                EXECUTE format(
                    'CREATE TRIGGER scada_config_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %I '
                    'FOR EACH STATEMENT EXECUTE FUNCTION scada_notify_config_changed()', watched);
            EXCEPTION WHEN insufficient_privilege THEN
                RAISE WARNING 'changes of % are noticed by polling only: %', watched, SQLERRM;
            END;
        END IF;
    END LOOP;
END
$$;
