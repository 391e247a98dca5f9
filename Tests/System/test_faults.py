"""The fault matrix: what goes wrong beyond a clean restart, and that nothing is lost, stored twice or left out silently."""
import os
import random
import shutil
import subprocess
import tempfile
import time

import psycopg
import pytest

from support.paths import SIMULATOR
from support.wait import eventually

from private_postgres import free_port, with_parent

ROUND = 0.1
# Values of a tag that the server keeps for a client that is away.
QUEUE = 1000


def start_flow(tenant, server, daemon, **options):
    tenant.add_connection(server, **options)
    daemon.start()
    tenant.wait_for_count(len(server.names), watch=daemon.must_live)


# A database that is put back to an earlier state


def copy_database(tenant, platform, source, target):
    """What a backup and its restoring do: the database as it is, checkpoint included."""
    name = tenant.url.rsplit("/", 1)[1]
    tenant.close()
    with psycopg.connect(platform.server.url(), autocommit=True) as sql:
        sql.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")

        def copied():
            sql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            try:
                if target == name:
                    sql.execute(f"DROP DATABASE IF EXISTS {name}")
                sql.execute(f"CREATE DATABASE {target} TEMPLATE {source}")
            except psycopg.errors.ObjectInUse as error:
                raise AssertionError(str(error)) from None
            return True

        eventually(copied, f"{source} is copied to {target}")
        sql.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def save_database(tenant, platform):
    name = tenant.url.rsplit("/", 1)[1]
    copy_database(tenant, platform, name, name + "_saved")


def restore_database(tenant, platform):
    name = tenant.url.rsplit("/", 1)[1]
    copy_database(tenant, platform, name + "_saved", name)


@pytest.mark.both_databases
def test_a_restored_database_gets_again_what_the_journal_still_has(tenant, platform, daemon, make_server):
    server = make_server(100)
    start_flow(tenant, server, daemon, queue_size=QUEUE)
    server.write(interval=ROUND)
    tenant.wait_for_count(1000, watch=daemon.must_live)
    save_database(tenant, platform)
    stored = tenant.count()
    tenant.wait_for_count(stored + 2000, watch=daemon.must_live)
    restore_database(tenant, platform)
    server.pause()
    tenant.wait_for_count(server.status()["recorded"], watch=daemon.must_live)
    tenant.assert_stored_once(server)
    assert tenant.gaps() == []


@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "while it is down"])
def test_a_database_restored_to_before_the_journal_has_its_hole_recorded(tenant, platform, daemon, make_server, running):
    server = make_server(200)
    daemon.variables["JOURNAL_MAX_BYTES"] = "1MiB"
    start_flow(tenant, server, daemon, queue_size=QUEUE)
    server.write(interval=ROUND)
    tenant.wait_for_count(2000, watch=daemon.must_live)
    save_database(tenant, platform)
    saved = tenant.value("SELECT position FROM ingest_checkpoints")

    def oldest():
        """Where the journal's first segment begins, which its name tells."""
        return min(int(each.stem.split("-")[1]) for each in (daemon.folder / "journal").rglob("*.segment"))

    eventually(lambda: oldest() > saved + 100_000, "the journal has forgotten", watch=daemon.must_live)
    if running:
        restore_database(tenant, platform)
    else:
        assert daemon.terminate() == 0
        restore_database(tenant, platform)
        daemon.start()
    stored = tenant.count()
    tenant.wait_for_count(stored + 5000, watch=daemon.must_live)
    server.pause()
    tenant.wait_for_last_values(server, watch=daemon.must_live)
    assert tenant.assert_no_silent_hole(server) > 0, "something had to be beyond the journal's reach"
    assert [gap[0] for gap in tenant.gaps()] == ["database_restored"]
    assert daemon.scrape().total("scada_gaps_total", tenant_id=tenant.id, cause="database_restored") == 1


# Queues and journals that are full


def test_what_a_servers_queue_lost_comes_from_its_history(tenant, daemon, make_server, make_proxy):
    server = make_server(50, history=True)
    proxy = make_proxy(server.port)
    start_flow(tenant, server, daemon, url=f"opc.tcp://127.0.0.1:{proxy.port}/counters", queue_size=10)
    server.write(interval=ROUND)
    tenant.wait_for_count(1000, watch=daemon.must_live)
    proxy.freeze()
    before = server.status()["recorded"]
    eventually(lambda: server.status()["recorded"] >= before + 50 * 40, "the queues overflow")
    proxy.thaw()
    stored = tenant.count()
    tenant.wait_for_count(stored + 2000, watch=daemon.must_live)
    server.pause()
    tenant.wait_for_count(server.status()["recorded"], watch=daemon.must_live)
    tenant.assert_stored_once(server)
    gaps = tenant.gaps()
    assert gaps and all(gap[5] for gap in gaps), f"every gap is healed: {gaps}"


def test_a_full_journal_may_give_up_its_oldest_and_says_so(own_postgres, make_daemon, make_server, request):
    from support.tenancy import Platform

    own_postgres.start()
    platform = Platform(own_postgres)
    request.addfinalizer(platform.close)
    tenant = platform.add_tenant()
    server = make_server(200)
    daemon = make_daemon(platform.master_url, JOURNAL_MAX_BYTES="1MiB", JOURNAL_FULL_POLICY="drop-oldest")
    start_flow(tenant, server, daemon)
    tenant.close()
    own_postgres.stop()
    server.write(rounds=120, interval=ROUND)
    server.wait_until_written()

    def given_up():
        return daemon.scrape().total("scada_gaps_total", tenant_id=tenant.id, cause="journal_full")

    eventually(given_up, "the journal gave something up", watch=daemon.must_live)
    own_postgres.start()
    tenant.wait_for_last_values(server, watch=daemon.must_live)
    missing = tenant.assert_no_silent_hole(server)
    assert missing > 0
    gaps = [gap for gap in tenant.gaps() if gap[0] == "journal_full"]
    assert len(gaps) == 1, "one outage is one gap"
    assert gaps[0][4] == missing, "the gap counts what is missing"


# A row that the database refuses


@pytest.mark.parametrize("streams", [1, 2])
def test_one_poison_row_among_ten_thousand(tenant, daemon, tmp_path, request, streams):
    wells, port, poison = 1000, free_port(), "ns=2;s=Well-00500.Power"
    arguments = [str(each) for each in (
        SIMULATOR, "--wells", wells, "--rate", 0, "--counters", "--port", port, "--seed", 1)]
    log = open(tmp_path / "simulator.log", "wb")
    simulator = subprocess.Popen(
        with_parent(*arguments, "--quiet", ending="KILL"), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    request.addfinalizer(lambda: (simulator.kill(), simulator.wait(10), log.close()))
    tenant.sql.execute(subprocess.run([*arguments, "--seed-sql"], check=True, capture_output=True, text=True).stdout)
    tenant.sql.execute(f"ALTER TABLE scada_readings ADD CONSTRAINT poison CHECK (tag_node_id <> '{poison}')")
    # The initial values of all tags are one batch: nothing else changes, and so many are flushed at once.
    daemon.start(MAX_BUFFER_SIZE=10_000, AGGREGATION_BUFFER_MS=60_000, DB_COPY_STREAMS=streams)
    tenant.wait_for_count(9_999, watch=daemon.must_live)
    assert tenant.count() == 9_999
    rejected = tenant.sql.execute("SELECT tag_node_id, reason, length(raw) > 0 FROM scada_rejected_readings").fetchall()
    assert len(rejected) == 1 and rejected[0][0] == poison and "23514" in rejected[0][1] and rejected[0][2]
    assert tenant.value("SELECT connection_id IS NOT NULL FROM scada_rejected_readings")

    def counted():
        scrape = daemon.scrape()
        return (
            scrape.total("scada_rejected_readings_total", tenant_id=tenant.id) == 1
            and scrape.total("scada_readings_stored_total", tenant_id=tenant.id) == 9_999
            and (streams > 1 or scrape.total("scada_batch_size_count", tenant_id=tenant.id) == 1)
        )

    eventually(counted, "the metrics count the batch and the row", watch=daemon.must_live)
    lines = [line for line in daemon.log_lines() if "rejected" in line["message"]]
    assert len(lines) == 1 and lines[0]["level"] == "error" and lines[0]["tenant_id"] == tenant.id


# Ends at any moment


KILLS = int(os.environ.get("SCADA_TEST_KILLS", "20"))


@pytest.mark.timeout(300 + 5 * KILLS)
def test_killed_again_and_again_at_random_moments(tenant, daemon, make_server):
    """SCADA_TEST_KILLS sets how often; SCADA_TEST_SEED repeats a run's moments."""
    seed = int(os.environ.get("SCADA_TEST_SEED") or random.randrange(1 << 31))
    print(f"SCADA_TEST_SEED={seed}")
    moments = random.Random(seed)
    server = make_server(50, history=True)
    tenant.add_connection(server, queue_size=QUEUE)
    # Flushes and syncs come thick: many moments are in the midst of one.
    daemon.start(AGGREGATION_BUFFER_MS=100, JOURNAL_SYNC_MS=10)
    tenant.wait_for_count(50, watch=daemon.must_live)
    server.write(interval=0.05)
    for _ in range(KILLS):
        # A moment that no event marks is what this is about.
        time.sleep(moments.uniform(0, 1.5))
        daemon.must_live()
        daemon.kill()
        daemon.start(ready=False)
    daemon.wait_until_ready()
    server.pause()
    tenant.wait_until_complete(server, watch=daemon.must_live)
    tenant.assert_stored_once(server)
    print(f"{KILLS} kills, {tenant.count()} readings, each stored once")


@pytest.mark.parametrize("frozen", ["tenant", "master"])
def test_told_to_end_while_a_database_does_not_answer(platform, tenant, make_daemon, make_server, make_proxy, frozen):
    """Half-open: a question was sent and the answer never comes. The daemon ends within its grace all the same."""
    proxy = make_proxy(platform.server.port)

    def behind(url):
        return url.replace(f":{platform.server.port}/", f":{proxy.port}/")

    if frozen == "tenant":
        platform.execute("UPDATE tenants SET database_url = %s", behind(tenant.url))
    daemon = make_daemon(platform.master_url if frozen == "tenant" else behind(platform.master_url))
    daemon.variables |= {"SHUTDOWN_GRACE_MS": 3000, "CONFIG_POLL_MS": 1000}
    server = make_server(20)
    start_flow(tenant, server, daemon, queue_size=QUEUE)
    server.write(interval=ROUND)
    tenant.wait_for_count(500, watch=daemon.must_live)
    proxy.freeze()
    # A few polls later a question is on its way for certain.
    before = server.status()["recorded"]
    eventually(lambda: server.status()["recorded"] >= before + 20 * 40, "the server writes on")
    assert daemon.terminate(timeout=15) == 0, "well within what an orchestrator waits"
    proxy.thaw()
    daemon.start()
    tenant.wait_for_count(before, watch=daemon.must_live)
    server.pause()
    tenant.wait_for_count(server.status()["recorded"], watch=daemon.must_live)
    tenant.assert_stored_once(server)


# PgBouncer


@pytest.fixture
def bouncer(postgres, request):
    from support import pgbouncer

    if not pgbouncer.executable():
        pytest.skip("PgBouncer is not here (package pgbouncer): scripts/test unpacks it")
    folder = tempfile.mkdtemp(prefix="scada-system-pgbouncer-")
    request.addfinalizer(lambda: shutil.rmtree(folder, ignore_errors=True))
    bouncer = pgbouncer.PgBouncer(folder, postgres)
    request.addfinalizer(bouncer.stop)
    return bouncer


@pytest.mark.both_databases
def test_through_pgbouncer_in_transaction_mode(bouncer, platform, make_daemon, make_server):
    """Migrations, configuration, flushes, changes and queries, and a PgBouncer that is restarted in between."""
    tenant = platform.add_tenant(migrated=False)
    platform.execute("UPDATE tenants SET database_url = %s", bouncer.url(tenant.url.rsplit("/", 1)[1]))
    daemon = make_daemon(bouncer.url(platform.master_name))
    daemon.start()
    server = make_server(50)
    tenant.add_connection(server, names=server.names[:40], queue_size=QUEUE)
    tenant.wait_for_count(40, watch=daemon.must_live)
    server.write(interval=ROUND)
    tenant.wait_for_count(1000, watch=daemon.must_live)
    bouncer.stop()
    before = server.status()["recorded"]
    eventually(lambda: server.status()["recorded"] >= before + 1000, "the server writes on")
    bouncer.start()
    stored = tenant.count()
    tenant.wait_for_count(stored + 2000, watch=daemon.must_live)
    # Nobody tells through a transaction's pool that something changed: it is polled for.
    connection = tenant.value("SELECT id FROM scada_connections")
    for name in server.names[40:]:
        tenant.add_mapping(connection, server.node(name), server.well(name), name, QUEUE)
    server.pause()

    def watched():
        return tenant.value("SELECT count(DISTINCT tag_node_id) FROM scada_readings") == 50

    eventually(watched, "the added tags are watched", watch=daemon.must_live)
    tenant.wait_for_last_values(server, watch=daemon.must_live)
    missing, surplus = tenant.differences(server)
    assert not surplus
    added = {server.node(name) for name in server.names[40:]}
    assert not [each for each in missing if each[0] not in added], "what was watched all the time is all there"
    page = daemon.api.QueryReadings(
        tenant_id=tenant.id, well_id=str(server.well(server.names[0])), start_time=int(time.time()) - 3600,
        end_time=int(time.time()) + 60,
    )
    assert len(page.readings) > 100
    assert daemon.terminate() == 0


# Many tenants


def test_many_tenants_share_two_connections(platform, make_daemon, make_server):
    """Twelve databases and the master's, and each flush has to open its connection: all are prepared and stored, none is forgotten."""
    tenants = [platform.add_tenant(migrated=False) for _ in range(12)]
    daemon = make_daemon(platform.master_url, DB_MAX_CONNECTIONS=2)
    daemon.start()
    server = make_server(4)
    for tenant in tenants:
        eventually(lambda: tenant.value("SELECT to_regclass('scada_connections')"), "the tables are there", watch=daemon.must_live)
        tenant.add_connection(server, queue_size=QUEUE)
    for tenant in tenants:
        tenant.wait_for_count(4, watch=daemon.must_live)
    server.write(interval=ROUND)
    for tenant in tenants:
        tenant.wait_for_count(400, watch=daemon.must_live)
    scrape = daemon.scrape()
    assert scrape.total("scada_db_connections") <= 2
    assert scrape.total("scada_db_connects_total") > 4 * len(tenants)
    assert scrape.total("scada_db_wait_seconds_total") > 0
    server.pause()
    for tenant in tenants:
        tenant.wait_for_last_values(server, watch=daemon.must_live)
        tenant.assert_stored_once(server)
    assert daemon.terminate() == 0


# A journal that is not what was written


def test_damaged_and_foreign_journal_files(own_postgres, make_daemon, make_server, request):
    """A flipped byte costs what lies behind it in its segment, which is recorded; what is not the journal's is left alone."""
    from support.tenancy import Platform

    own_postgres.start()
    platform = Platform(own_postgres)
    request.addfinalizer(platform.close)
    tenant = platform.add_tenant()
    server = make_server(200)
    # Segments of a quarter of that.
    daemon = make_daemon(platform.master_url, JOURNAL_MAX_BYTES="2MiB")
    start_flow(tenant, server, daemon)
    tenant.close()
    own_postgres.stop()
    server.write(rounds=60, interval=ROUND)
    server.wait_until_written()
    journal = daemon.folder / "journal"

    def segments():
        return sorted(journal.rglob("*.segment"))

    eventually(
        lambda: daemon.scrape().total("scada_backlog_readings", tenant_id=tenant.id) >= 60 * 200,
        "all is in the journal", watch=daemon.must_live,
    )
    assert len(segments()) > 1
    daemon.kill()
    first = segments()[0]
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 0x10
    first.write_bytes(content)
    foreign = first.with_name("holiday.jpg")
    foreign.write_bytes(b"not a journal")
    own_postgres.start()
    daemon.start()
    tenant.wait_for_last_values(server, watch=daemon.must_live)
    missing = tenant.assert_no_silent_hole(server)
    assert 0 < missing < 30 * 200, "what lay behind the damage in its segment, no more"
    assert {gap[0] for gap in tenant.gaps()} == {"journal_damaged"}
    assert any("damaged" in line["message"] or "journal:" in line["message"] for line in daemon.log_lines())
    assert list(journal.rglob("holiday.jpg*")), "what is not the journal's is not deleted"

    def kept():
        return [each for each in journal.rglob(first.name + "*") if each.name != first.name]

    eventually(lambda: kept() or first.exists(), "the damaged file is set aside, not deleted", watch=daemon.must_live)
    assert daemon.terminate() == 0
    assert kept() or first.exists()
