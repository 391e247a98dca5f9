"""Every value that a server wrote is in the table, once: undisturbed, and across every way a daemon ends."""
import json

import pytest

from support.opcua import CounterServer
from support.wait import eventually

TAGS = 1000
ROUND = 0.5
# Values of a tag that the server keeps for a client that is away: more than are written while a test's daemon is.
QUEUE = 1000


def start_flow(tenant, server, daemon, **options):
    """Starts the daemon and waits until the initial value of every tag is stored."""
    tenant.add_connection(server, **options)
    daemon.start()
    tenant.wait_for_count(len(server.names), watch=daemon.must_live)


@pytest.mark.both_databases
def test_every_value_of_1000_counters_is_stored_once(tenant, daemon, make_server):
    server = make_server(TAGS)
    start_flow(tenant, server, daemon)
    server.write(rounds=60, interval=ROUND)  # 30 s
    written = server.wait_until_written()
    assert written == TAGS * 61
    tenant.wait_for_count(written, watch=daemon.must_live)
    tenant.assert_stored_once(server)
    assert tenant.gaps() == []
    scrape = daemon.scrape()
    assert scrape.total("scada_readings_ingested_total", tenant_id=tenant.id) == written
    assert scrape.total("scada_readings_stored_total", tenant_id=tenant.id) == written
    assert daemon.terminate() == 0
    assert tenant.count() == written


@pytest.mark.both_databases
def test_stopped_with_sigterm_and_started_again_nothing_is_missing_or_doubled(tenant, daemon, make_server):
    server = make_server(TAGS, history=True)
    start_flow(tenant, server, daemon, queue_size=QUEUE)
    server.write(interval=ROUND)
    tenant.wait_for_count(TAGS * 6, watch=daemon.must_live)
    assert daemon.terminate() == 0
    # The server keeps writing while nobody listens, and while the daemon comes back.
    before = server.status()["recorded"]
    eventually(lambda: server.status()["recorded"] >= before + 2 * TAGS, "the server writes on")
    daemon.start()
    stored = tenant.count()
    tenant.wait_for_count(stored + 6 * TAGS, watch=daemon.must_live)
    server.pause()
    tenant.wait_for_count(server.status()["recorded"], watch=daemon.must_live)
    tenant.assert_stored_once(server)


def test_stopped_with_a_server_without_history_the_hole_is_recorded(tenant, daemon, make_server):
    server = make_server(100)
    start_flow(tenant, server, daemon)
    server.write(interval=0.2)
    tenant.wait_for_count(1000, watch=daemon.must_live)
    assert daemon.terminate() == 0
    before = server.status()["recorded"]
    eventually(lambda: server.status()["recorded"] >= before + 1000, "the server writes on")
    daemon.start()
    stored = tenant.count()
    tenant.wait_for_count(stored + 1000, watch=daemon.must_live)
    server.pause()
    tenant.wait_for_last_values(server, watch=daemon.must_live)
    tenant.assert_no_silent_hole(server)


@pytest.mark.both_databases
def test_killed_mid_stream_nothing_is_missing_or_doubled(tenant, daemon, make_server):
    server = make_server(200, history=True)
    start_flow(tenant, server, daemon, queue_size=QUEUE)
    server.write(interval=0.1)
    goal = 1000
    for _ in range(3):
        tenant.wait_for_count(goal, watch=daemon.must_live)
        daemon.kill()
        daemon.start()
        goal = tenant.count() + 2000
    tenant.wait_for_count(goal, watch=daemon.must_live)
    server.pause()
    tenant.wait_for_count(server.status()["recorded"], watch=daemon.must_live)
    tenant.assert_stored_once(server)


def test_an_opc_ua_server_that_restarts_is_found_again(tenant, daemon, make_server):
    server = make_server(50)
    start_flow(tenant, server, daemon)
    server.write(rounds=5, interval=0.1)
    tenant.wait_for_count(server.wait_until_written(), watch=daemon.must_live)
    server.stop_server()
    eventually(
        lambda: daemon.scrape().total("scada_active_connections", tenant_id=tenant.id) == 0,
        "the lost connection shows", watch=daemon.must_live,
    )
    server.start_server()
    # Only what was written after the subscription stands can be asked for.
    eventually(
        lambda: daemon.scrape().total("scada_active_connections", tenant_id=tenant.id) == 1,
        "the connection is made again", watch=daemon.must_live,
    )
    eventually(lambda: server.status()["subscriptions"] > 0, "there is a subscription again", watch=daemon.must_live)
    server.write(interval=0.1)
    stored = tenant.count()
    tenant.wait_for_count(stored + 500, watch=daemon.must_live)
    server.pause()
    tenant.wait_for_last_values(server, watch=daemon.must_live)
    tenant.assert_no_silent_hole(server)


def flow_through(proxy, tenant, server, daemon, **options):
    tenant.add_connection(server, url=f"opc.tcp://127.0.0.1:{proxy.port}/counters", **options)
    daemon.start()
    tenant.wait_for_count(len(server.names), watch=daemon.must_live)
    server.write(interval=0.1)
    tenant.wait_for_count(10 * len(server.names), watch=daemon.must_live)


def flow_again(tenant, server, daemon):
    stored = tenant.count()
    tenant.wait_for_count(stored + 20 * len(server.names), watch=daemon.must_live)
    server.pause()
    tenant.wait_for_last_values(server, watch=daemon.must_live)


def test_cut_connections_lose_and_double_nothing(tenant, daemon, make_server, make_proxy):
    server = make_server(50)
    proxy = make_proxy(server.port)
    flow_through(proxy, tenant, server, daemon, queue_size=QUEUE)
    for _ in range(5):
        before = proxy.accepted
        proxy.cut()
        eventually(lambda: proxy.accepted > before, "it connects again", watch=daemon.must_live)
        stored = tenant.count()
        tenant.wait_for_count(stored + 500, watch=daemon.must_live)
    flow_again(tenant, server, daemon)
    tenant.assert_stored_once(server)
    assert tenant.gaps() == []


def test_a_network_that_freezes_leaves_no_silent_hole(tenant, daemon, make_server, make_proxy):
    """Half-open: the silence lasts longer than the server's queues are, so values are lost there, and that is recorded."""
    server = make_server(50)
    proxy = make_proxy(server.port)
    flow_through(proxy, tenant, server, daemon)
    proxy.freeze()
    eventually(
        lambda: daemon.scrape().total("scada_active_connections", tenant_id=tenant.id) == 0, "the silence is noticed",
        watch=daemon.must_live,
    )
    proxy.thaw()
    flow_again(tenant, server, daemon)
    assert tenant.assert_no_silent_hole(server) > 0, "the queues were meant to overflow"


def test_a_network_that_freezes_costs_nothing_where_the_server_can_queue(tenant, daemon, make_server, make_proxy):
    server = make_server(50)
    proxy = make_proxy(server.port)
    flow_through(proxy, tenant, server, daemon, queue_size=QUEUE)
    proxy.freeze()
    eventually(
        lambda: daemon.scrape().total("scada_active_connections", tenant_id=tenant.id) == 0, "the silence is noticed",
        watch=daemon.must_live,
    )
    proxy.thaw()
    flow_again(tenant, server, daemon)
    tenant.assert_stored_once(server)


@pytest.mark.parametrize("history", [True, False], ids=["with history", "without history"])
def test_a_server_that_loses_its_subscriptions(tenant, daemon, make_server, history):
    """Transferred subscriptions stay silent, a quirk that servers have: the hole is healed from history, or recorded."""
    server = make_server(50, history=history, transfers=False)
    start_flow(tenant, server, daemon, queue_size=QUEUE)
    server.write(interval=0.2)
    tenant.wait_for_count(500, watch=daemon.must_live)
    assert daemon.terminate() == 0
    before = server.status()["recorded"]
    eventually(lambda: server.status()["recorded"] >= before + 500, "the server writes on")
    daemon.start()
    flow_again(tenant, server, daemon)
    if history:
        tenant.wait_for_count(server.status()["recorded"], watch=daemon.must_live)
        tenant.assert_stored_once(server)
        assert all(gap[-1] is not None for gap in tenant.gaps()), tenant.holes()
    else:
        assert tenant.assert_no_silent_hole(server) > 0, "values were written while nobody was subscribed"


def test_a_server_that_stands_still_is_left_and_found_again(tenant, daemon, make_server):
    server = make_server(20)
    start_flow(tenant, server, daemon)
    server.freeze()
    try:
        eventually(
            lambda: daemon.scrape().total("scada_active_connections", tenant_id=tenant.id) == 0,
            "the silence is noticed", watch=daemon.must_live,
        )
    finally:
        server.thaw()
    eventually(
        lambda: daemon.scrape().total("scada_active_connections", tenant_id=tenant.id) == 1,
        "it connects again", watch=daemon.must_live,
    )
    stored = tenant.count()
    server.write(rounds=3, interval=0.1)
    server.wait_until_written()
    tenant.wait_for_count(stored + 3, watch=daemon.must_live)


def test_a_tag_that_vanishes_does_not_stop_the_others(tenant, daemon, make_server):
    server = make_server(10)
    tenant.add_connection(server, names=server.names)
    tenant.add_mapping(tenant.value("SELECT id FROM scada_connections"), server.node("Absent"), server.well("Tag00000"))
    daemon.start()
    tenant.wait_for_count(10, watch=daemon.must_live)
    eventually(
        lambda: daemon.scrape().total("scada_bad_tags", tenant_id=tenant.id) == 1, "one tag is reported bad",
        watch=daemon.must_live,
    )
    server.remove_node("Tag00003")
    server.write(rounds=5, interval=0.1)
    server.wait_until_written()

    def others():
        rows = tenant.sql.execute(
            "SELECT count(*) FROM scada_readings WHERE tag_node_id <> %s", [server.node("Tag00003")]
        ).fetchone()[0]
        return rows == 9 * 6

    eventually(others, "the other nine tags are complete", watch=daemon.must_live)


def test_postgresql_away_and_back(own_postgres, make_daemon, make_server, request):
    """A backlog grows in the journal while the database is away and is stored once when it is back."""
    from support.tenancy import Platform

    own_postgres.start()
    platform = Platform(own_postgres)
    request.addfinalizer(platform.close)
    tenant = platform.add_tenant()
    server: CounterServer = make_server(100)
    daemon = make_daemon(platform.master_url)
    start_flow(tenant, server, daemon)
    tenant.close()
    own_postgres.stop()
    server.write(rounds=50, interval=0.1)
    written = server.wait_until_written()
    eventually(
        lambda: daemon.scrape().total("scada_backlog_readings", tenant_id=tenant.id) == 50 * 100,
        "the backlog is in the journal", watch=daemon.must_live,
    )
    own_postgres.start()
    tenant.wait_for_count(written, watch=daemon.must_live)
    tenant.assert_stored_once(server)
    eventually(
        lambda: daemon.scrape().total("scada_backlog_readings", tenant_id=tenant.id) == 0, "the backlog is gone",
        watch=daemon.must_live,
    )
    assert tenant.gaps() == []


def test_the_backlog_survives_a_kill(own_postgres, make_daemon, make_server, request):
    from support.tenancy import Platform

    own_postgres.start()
    platform = Platform(own_postgres)
    request.addfinalizer(platform.close)
    tenant = platform.add_tenant()
    server = make_server(100)
    daemon = make_daemon(platform.master_url)
    start_flow(tenant, server, daemon)
    tenant.close()
    own_postgres.stop()
    server.write(rounds=20, interval=0.1)
    written = server.wait_until_written()
    eventually(
        lambda: daemon.scrape().total("scada_backlog_readings", tenant_id=tenant.id) == 20 * 100,
        "the backlog is in the journal", watch=daemon.must_live,
    )
    # Acknowledged means durable: the server has nothing left that it could send again.
    daemon.kill()
    own_postgres.start()
    daemon.start()
    tenant.wait_for_count(written, watch=daemon.must_live)
    tenant.assert_stored_once(server)


def test_told_to_end_with_a_full_journal_and_no_database(own_postgres, make_daemon, make_server, request):
    """Nothing waits for what cannot come: the daemon ends in order, and the next start stores what the journal has."""
    from support.tenancy import Platform

    own_postgres.start()
    platform = Platform(own_postgres)
    request.addfinalizer(platform.close)
    tenant = platform.add_tenant()
    server = make_server(200)
    daemon = make_daemon(platform.master_url, JOURNAL_MAX_BYTES="1MiB")
    start_flow(tenant, server, daemon)
    tenant.close()
    own_postgres.stop()
    server.write(interval=0.1)
    eventually(
        lambda: any(entry["intake_stopped"] for entry in json.loads(daemon.http("/status.json")[1])["tenants"]),
        "the journal is full",
        watch=daemon.must_live,
    )
    received = daemon.scrape().total("scada_readings_ingested_total", tenant_id=tenant.id)
    assert daemon.terminate() == 0
    server.pause()
    own_postgres.start()
    daemon.start()
    tenant.wait_for_count(received, watch=daemon.must_live)
    _, surplus = tenant.differences(server)
    assert not surplus, f"rows too many, for example {surplus.most_common(5)}"
