-- The tenants and where their databases are. The platform usually created this table already; then only columns that
-- are missing are added.
CREATE TABLE IF NOT EXISTS tenants (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    slug text,
    name text,
    database_url text NOT NULL,
    status text NOT NULL DEFAULT 'ACTIVE',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);

DO $$
DECLARE
    missing record;
BEGIN
    -- Not ADD COLUMN IF NOT EXISTS: that demands ownership of the table even when there is nothing to add.
    FOR missing IN
        SELECT * FROM (VALUES
            ('tenants', 'slug', 'text'),
            ('tenants', 'name', 'text'),
            ('tenants', 'database_url', 'text'),
            ('tenants', 'status', 'text NOT NULL DEFAULT ''ACTIVE'''),
            ('tenants', 'created_at', 'timestamptz NOT NULL DEFAULT now()'),
            ('tenants', 'updated_at', 'timestamptz NOT NULL DEFAULT now()'),
            ('tenants', 'deleted_at', 'timestamptz')
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
