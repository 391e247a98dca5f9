"""The platform's side: the master database, tenants, their connections and tag mappings, all by plain SQL."""
import collections
import uuid

import psycopg

from . import daemon
from .wait import eventually

ANY_UUID = "00000000-0000-4000-8000-000000000001"


def connect(url):
    return psycopg.connect(url, autocommit=True, connect_timeout=10)


def migrate(master_url, *arguments):
    """Runs `scada-ingestion migrate`, which must succeed; returns its output."""
    done = daemon.run("migrate", *arguments, DATABASE_URL=master_url, timeout=180)
    assert done.returncode == 0, f"migrate: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


class Tenant:
    def __init__(self, identifier, slug, url):
        self.id = str(identifier)
        self.slug = slug
        self.url = url
        self._connection = None

    @property
    def sql(self):
        """A connection with autocommit, opened on first use and again when it broke."""
        if self._connection is None or self._connection.closed:
            self._connection = connect(self.url)
        return self._connection

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def value(self, query, *parameters):
        return self.sql.execute(query, parameters).fetchone()[0]

    # Configuration

    def add_connection(self, server, names=None, url=None, queue_size=None, **columns):
        """A connection to a CounterServer with one mapping for each of its tags; returns the connection's id.

        `queue_size` is how many values of a tag the server keeps while nobody fetches them; None leaves it to the daemon.
        """
        connection = str(uuid.uuid4())
        columns = {
            "id": connection, "name": "counters", "endpoint_url": url or server.url, "security_mode": "None",
            "security_policy": "None", "publishing_interval_ms": 250,
        } | columns
        with self.sql.transaction():
            self.sql.execute(
                f"INSERT INTO scada_connections ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))})",
                list(columns.values()),
            )
            for name in server.names if names is None else names:
                self.add_mapping(connection, server.node(name), server.well(name), name, queue_size)
        return connection

    def add_mapping(self, connection, node, well, name=None, queue_size=None):
        mapping = str(uuid.uuid4())
        self.sql.execute(
            "INSERT INTO tag_mappings (id, connection_id, well_id, opc_node_id, data_type, name, queue_size)"
            " VALUES (%s, %s, %s, %s, 'Double', %s, %s)",
            (mapping, connection, well, node, name, queue_size),
        )
        return mapping

    # What is stored

    def count(self):
        return self.value("SELECT count(*) FROM scada_readings")

    def wait_for_count(self, at_least, timeout=60, watch=None):
        def enough():
            stored = self.count()
            assert stored >= at_least, f"{stored} of {at_least} readings are stored"
            return True

        eventually(enough, f"{at_least} readings are stored in tenant {self.slug}", timeout, watch)

    def readings(self):
        """Every stored row: a list of (tag node id, microseconds since 1970, value)."""
        return self.sql.execute(
            "SELECT tag_node_id, (extract(epoch FROM timestamp) * 1000000)::bigint, value FROM scada_readings"
        ).fetchall()

    def differences(self, server, ignore=lambda row: False):
        """(missing, doubled or foreign): what the server recorded and the table lacks, and the other way round."""
        written = collections.Counter((server.node(name), micros, value) for name, micros, value in server.record())
        stored = collections.Counter(row for row in self.readings() if not ignore(row))
        return written - stored, stored - written

    def assert_stored_once(self, server):
        """Every value the server ever wrote is in the table exactly once, and nothing else is."""
        missing, surplus = self.differences(server)
        assert not missing, f"{missing.total()} values are missing, for example {missing.most_common(5)}; {self.holes()}"
        assert not surplus, f"{surplus.total()} rows too many, for example {surplus.most_common(5)}"

    def assert_no_silent_hole(self, server):
        """Nothing is doubled or invented, and every value that is missing lies in a gap of its tag, or of all tags, that
        nobody claims to have filled. Returns how many are missing.
        """
        missing, surplus = self.differences(server)
        assert not surplus, f"{surplus.total()} rows too many, for example {surplus.most_common(5)}"
        spans = self.sql.execute(
            "SELECT tag_node_id, (extract(epoch FROM started_at) * 1000000)::bigint,"
            " (extract(epoch FROM ended_at) * 1000000)::bigint FROM scada_gaps WHERE healed_at IS NULL"
        ).fetchall()
        for node, micros, value in missing:
            assert any(
                tag in (None, node) and start <= micros and (end is None or micros <= end) for tag, start, end in spans
            ), f"{node} {micros} {value} is missing and in no open gap; {self.holes()}"
        return missing.total()

    def wait_until_complete(self, server, timeout=120, watch=None):
        """Until everything the server wrote is stored; what lacks at the deadline is told with the gaps that were recorded."""
        try:
            self.wait_for_count(server.status()["recorded"], timeout, watch)
        except AssertionError as error:
            missing, _ = self.differences(server)
            times = sorted({micros for _, micros, _ in missing})
            tags = {node for node, _, _ in missing}
            raise AssertionError(
                f"{error}; missing: {missing.total()} values of {len(tags)} tags at {len(times)} times, "
                f"{times[:3]} to {times[-3:]}; the server: {server.status()}; {self.holes()}"
            ) from None

    def wait_for_last_values(self, server, watch=None):
        """Until the newest value that the server wrote is stored, for every tag it has."""
        last = {server.node(name): (server.node(name), micros, value) for name, micros, value in server.record()}

        def stored():
            rows = set(self.readings())
            behind = [row for row in last.values() if row not in rows]
            assert not behind, f"{len(behind)} tags are behind, for example {behind[:3]}"
            return True

        eventually(stored, "the last value of every tag is stored", watch=watch)

    def gaps(self):
        return self.sql.execute(
            "SELECT cause, tag_node_id, started_at, ended_at, readings_lost, healed_at FROM scada_gaps ORDER BY started_at"
        ).fetchall()

    def holes(self):
        return f"gaps recorded: {self.gaps()}"


class Platform:
    """A master database of its own on a private server, migrated, with tenants added as a test wants them."""

    def __init__(self, server, migrated=True):
        self.server = server
        self.master_name = f"master_{uuid.uuid4().hex[:12]}"
        self.master_url = server.url(self.master_name)
        self.tenants = []
        if migrated:
            self.create()

    def create(self):
        self.server.create_database(self.master_name)
        migrate(self.master_url)

    def master(self):
        return connect(self.master_url)

    def execute(self, query, *parameters):
        with self.master() as master:
            master.execute(query, parameters)

    def add_tenant(self, slug=None, url=None, migrated=True):
        """Makes a tenant's database, migrates it and registers the tenant. With `url` only registers it."""
        identifier = uuid.uuid4()
        slug = slug or f"tenant-{len(self.tenants) + 1}"
        database = f"tenant_{identifier.hex[:12]}"
        tenant = Tenant(identifier, slug, url or self.server.create_database(database))
        self.tenants.append(tenant)
        with self.master() as master:
            # One that is not to be migrated now is hidden while the others are.
            master.execute(
                "INSERT INTO tenants (id, slug, name, database_url, status) VALUES (%s, %s, %s, %s, %s)",
                (tenant.id, slug, slug.title(), tenant.url, "ACTIVE"),
            )
        if migrated and not url:
            migrate(self.master_url, "--tenant", tenant.id)
        return tenant

    def close(self):
        for tenant in self.tenants:
            tenant.close()
