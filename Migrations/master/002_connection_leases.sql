-- Which replica runs which connection, until when. The epoch grows with every change of owner and fences the former one.
CREATE TABLE IF NOT EXISTS connection_leases (
    connection_id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    owner text NOT NULL,
    epoch bigint NOT NULL DEFAULT 1,
    expires_at timestamptz NOT NULL
);

CREATE INDEX IF NOT EXISTS connection_leases_tenant_id_idx ON connection_leases (tenant_id);
