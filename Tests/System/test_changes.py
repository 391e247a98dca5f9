"""Tenants, connections and tags that change in the databases while the daemon runs, and rows that are wrong."""
import uuid

import pytest

from support.tenancy import ANY_UUID
from support.wait import eventually

HOUR = 3_600_000


def connected(daemon, tenant):
    return daemon.scrape().total("scada_active_connections", tenant_id=tenant.id) or 0


@pytest.fixture(params=["notify", "poll"])
def noticing(request, tenant, make_daemon, platform):
    """A daemon that can hear of changes in the tenant's configuration in one way only."""
    if request.param == "poll":
        for table in ("scada_connections", "tag_mappings"):
            tenant.sql.execute(f"DROP TRIGGER scada_config_changed ON {table}")
        daemon = make_daemon(platform.master_url, CONFIG_POLL_MS=500)
    else:
        daemon = make_daemon(platform.master_url, CONFIG_POLL_MS=HOUR)
    return daemon.start()


def test_connections_changed_by_sql_are_noticed(noticing, tenant, make_server):
    daemon = noticing
    first, second = make_server(5), make_server(5)
    connection = tenant.add_connection(first)
    tenant.wait_for_count(5, watch=daemon.must_live)

    # Another tag
    first.add_node("Tag00005")
    tenant.add_mapping(connection, first.node("Tag00005"), first.well("Tag00005"))
    tenant.wait_for_count(6, watch=daemon.must_live)

    # Disabled
    tenant.sql.execute("UPDATE scada_connections SET is_enabled = false, updated_at = now() WHERE id = %s", [connection])
    eventually(lambda: first.status()["subscriptions"] == 0, "a disabled connection is left", watch=daemon.must_live)
    eventually(lambda: connected(daemon, tenant) == 0, "and not counted", watch=daemon.must_live)

    # Enabled again, at another address
    tenant.sql.execute(
        "UPDATE scada_connections SET is_enabled = true, endpoint_url = %s, updated_at = now() WHERE id = %s",
        [second.url, connection],
    )
    eventually(lambda: second.status()["subscriptions"] == 1, "the new address is used", watch=daemon.must_live)
    assert first.status()["subscriptions"] == 0

    # Deleted, as the platform does it
    tenant.sql.execute("UPDATE scada_connections SET deleted_at = now(), updated_at = now() WHERE id = %s", [connection])
    eventually(lambda: second.status()["clients"] == 0, "a deleted connection is left", watch=daemon.must_live)
    eventually(lambda: connected(daemon, tenant) == 0, "and not counted", watch=daemon.must_live)

    # Deleted for good
    again = tenant.add_connection(second)
    eventually(lambda: second.status()["subscriptions"] == 1, "a new connection is made", watch=daemon.must_live)
    tenant.sql.execute("DELETE FROM tag_mappings WHERE connection_id = %s", [again])
    tenant.sql.execute("DELETE FROM scada_connections WHERE id = %s", [again])
    eventually(lambda: second.status()["clients"] == 0, "a row that is gone is a connection gone", watch=daemon.must_live)


def test_tenants_come_and_go_while_it_runs(platform, tenant, daemon, make_server):
    daemon.start()
    server = make_server(5)
    late = platform.add_tenant("late")
    late.add_connection(server)
    late.wait_for_count(5, watch=daemon.must_live)
    eventually(lambda: daemon.original_api.HealthCheck().active_tenants == 2, "two tenants", watch=daemon.must_live)

    platform.execute("UPDATE tenants SET status = 'SUSPENDED', updated_at = now() WHERE id = %s", late.id)
    eventually(lambda: server.status()["clients"] == 0, "a suspended tenant's servers are left", watch=daemon.must_live)
    eventually(lambda: daemon.original_api.HealthCheck().active_tenants == 1, "one tenant", watch=daemon.must_live)

    platform.execute("UPDATE tenants SET status = 'ACTIVE', updated_at = now() WHERE id = %s", late.id)
    eventually(lambda: server.status()["subscriptions"] == 1, "an active tenant's server is used", watch=daemon.must_live)
    server.write(rounds=5, interval=0.1)
    server.wait_until_written()
    late.wait_for_count(30, watch=daemon.must_live)
    late.assert_stored_once(server)

    platform.execute("UPDATE tenants SET deleted_at = now(), updated_at = now() WHERE id = %s", late.id)
    eventually(lambda: server.status()["clients"] == 0, "a deleted tenant's servers are left", watch=daemon.must_live)

    # Its database may vanish now without a word from anybody else.
    late.close()
    assert daemon.http("/readyz")[0] == 200


def test_a_tenant_without_its_database_harms_nobody(platform, tenant, daemon, make_server):
    away = platform.add_tenant("away", url=platform.server.url(f"later_{platform.master_name}"))
    server, later = make_server(5), make_server(5)
    tenant.add_connection(server)
    daemon.start(ready=False)
    tenant.wait_for_count(5, watch=daemon.must_live)
    server.write(rounds=10, interval=0.1)
    tenant.wait_for_count(server.wait_until_written(), watch=daemon.must_live)
    tenant.assert_stored_once(server)
    eventually(lambda: away.id in daemon.log_text(), "the log names the tenant", watch=daemon.must_live)

    # When it is made, it is used.
    from support.tenancy import migrate

    platform.server.create_database(f"later_{platform.master_name}")
    migrate(platform.master_url)
    away.add_connection(later)
    away.wait_for_count(5, watch=daemon.must_live)


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"security_mode": "Encrypted"}, "Encrypted"),
        ({"security_policy": "Basic999"}, "Basic999"),
        ({"endpoint_url": "http://127.0.0.1/"}, "endpoint"),
        ({"endpoint_url": "opc.tcp://127.0.0.1:99999/"}, "endpoint"),
    ],
)
def test_a_connection_row_that_is_wrong_is_named_and_disturbs_nothing(tenant, daemon, make_server, columns, named):
    server = make_server(5)
    wrong = tenant.add_connection(server, names=server.names[:1], **columns)
    tenant.add_connection(server)
    daemon.start(ready=False)
    tenant.wait_for_count(5, watch=daemon.must_live)
    eventually(
        lambda: any(wrong in str(line) and named in str(line) for line in daemon.log_lines()),
        f"a line of the log names connection {wrong} and {named!r}", watch=daemon.must_live,
    )
    assert tenant.count() == 5
    # Mended, it runs.
    tenant.sql.execute(
        "UPDATE scada_connections SET security_mode = 'None', security_policy = 'None', endpoint_url = %s,"
        " updated_at = now() WHERE id = %s",
        [server.url, wrong],
    )
    eventually(lambda: server.status()["subscriptions"] == 2, "mended, it runs", watch=daemon.must_live)


@pytest.mark.parametrize("node", ["Tag00001", "ns=99999;s=x", "ns=2;q=1", "", "i=-1"])
def test_a_malformed_node_id_is_the_trouble_of_that_tag_only(tenant, daemon, make_server, node):
    server = make_server(5)
    connection = tenant.add_connection(server)
    wrong = tenant.add_mapping(connection, node, ANY_UUID)
    daemon.start()
    server_count = 5
    tenant.wait_for_count(server_count, watch=daemon.must_live)
    server.write(rounds=5, interval=0.1)
    tenant.wait_for_count(server.wait_until_written(), watch=daemon.must_live)
    tenant.assert_stored_once(server)
    eventually(
        lambda: any(wrong in str(line) for line in daemon.log_lines()), f"a line of the log names tag mapping {wrong}",
        watch=daemon.must_live,
    )


def test_a_server_that_is_not_there_is_reported_and_found_later(tenant, daemon, make_server, make_proxy):
    server = make_server(5)
    proxy = make_proxy(server.port)
    proxy.refuse()
    connection = tenant.add_connection(server, url=f"opc.tcp://127.0.0.1:{proxy.port}/")
    daemon.start()
    eventually(
        lambda: daemon.scrape().total("scada_connection_errors_total", connection_id=connection), "errors are counted",
        watch=daemon.must_live,
    )
    assert connected(daemon, tenant) == 0
    proxy.accept()
    tenant.wait_for_count(5, watch=daemon.must_live)
    assert connected(daemon, tenant) == 1


def test_the_platforms_own_tables_are_completed_not_changed(postgres, make_daemon, make_server, request):
    """The platform made its tables first, with columns of its own; migrate adds what is missing and keeps the rest."""
    from support.tenancy import Platform, connect, migrate

    platform = Platform(postgres, migrated=False)
    request.addfinalizer(platform.close)
    postgres.create_database(platform.master_name)
    with connect(platform.master_url) as master:
        master.execute(
            "CREATE TABLE tenants (id uuid PRIMARY KEY, name text NOT NULL, plan text, database_url text NOT NULL,"
            " status text NOT NULL DEFAULT 'ACTIVE', deleted_at timestamptz)"
        )
        database = postgres.create_database(f"{platform.master_name}_t")
        identifier = uuid.uuid4()
        master.execute("INSERT INTO tenants VALUES (%s, 'First', 'gold', %s)", [identifier, database])
    with connect(database) as first:
        first.execute("CREATE TABLE scada_connections (id uuid PRIMARY KEY, name text NOT NULL, endpoint_url text NOT NULL,"
                      " site text)")
        first.execute("INSERT INTO scada_connections VALUES (gen_random_uuid(), 'old', 'opc.tcp://127.0.0.1:1/', 'Midland')")
    migrate(platform.master_url)
    with connect(platform.master_url) as master:
        assert master.execute("SELECT plan, status FROM tenants").fetchall() == [("gold", "ACTIVE")]
    with connect(database) as first:
        row = first.execute("SELECT name, site, security_mode, is_enabled FROM scada_connections").fetchone()
        assert row == ("old", "Midland", "None", True)
    make_daemon(platform.master_url).start()
