"""The schema that runs itself: what TimescaleDB keeps, what answers from where, and that two may make it at once."""
import datetime
import os
import subprocess
import uuid

import pytest

from support.daemon import clean_environment
from support.paths import DAEMON
from support.tenancy import Platform, connect, migrate
from support.wait import eventually

from private_postgres import PLAIN, TIMESCALE

timescale = pytest.mark.parametrize("postgres", [TIMESCALE], indirect=True)
HOURLY, DAILY, MONTHLY = 1, 2, 3


def plan(tenant, query, *parameters):
    return "\n".join(row[0] for row in tenant.sql.execute(f"EXPLAIN {query}", parameters).fetchall())


def month_of_readings(tenant, well):
    """A reading a minute of one tag through a whole month, so long ago that every roll-up holds it. Returns its bounds."""
    start = datetime.datetime.now(datetime.timezone.utc).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    start = (start - datetime.timedelta(days=70)).replace(day=1)
    end = (start + datetime.timedelta(days=32)).replace(day=1)
    tenant.sql.execute(
        """
        INSERT INTO scada_readings (timestamp, well_id, tag_node_id, value, quality)
        SELECT at, %s, 'ns=2;s=A', extract(epoch FROM at)::bigint %% 1000,
               CASE WHEN extract(minute FROM at) = 7 THEN 'Bad' ELSE 'Good' END
        FROM generate_series(%s::timestamptz, %s::timestamptz - interval '1 minute', interval '1 minute') AS at
        """,
        [well, start, end],
    )
    return int(start.timestamp()), int(end.timestamp())


@timescale
def test_everything_that_runs_by_itself_is_there(tenant):
    def column(query):
        return [row[0] for row in tenant.sql.execute(query).fetchall()]

    assert column("SELECT hypertable_name FROM timescaledb_information.hypertables WHERE compression_enabled"
                  " AND hypertable_name = 'scada_readings'")
    assert column("SELECT time_interval FROM timescaledb_information.dimensions"
                  " WHERE hypertable_name = 'scada_readings'") == [datetime.timedelta(hours=24)]
    settings = tenant.sql.execute(
        "SELECT attname, segmentby_column_index, orderby_column_index, orderby_asc"
        " FROM timescaledb_information.compression_settings WHERE hypertable_name = 'scada_readings' ORDER BY 1"
    ).fetchall()
    assert settings == [("tag_node_id", 2, None, None), ("timestamp", None, 1, False), ("well_id", 1, None, None)]
    jobs = dict(tenant.sql.execute(
        "SELECT proc_name, config FROM timescaledb_information.jobs WHERE hypertable_name = 'scada_readings'"
    ).fetchall())
    assert jobs["policy_compression"]["compress_after"] == "7 days"
    assert jobs["policy_retention"]["drop_after"] == "2 years"
    views = dict(tenant.sql.execute(
        "SELECT view_name, materialized_only FROM timescaledb_information.continuous_aggregates"
    ).fetchall())
    assert views == dict.fromkeys(["scada_readings_hourly", "scada_readings_daily", "scada_readings_monthly"], False)
    refreshed = tenant.value(
        "SELECT count(*) FROM timescaledb_information.jobs WHERE proc_name = 'policy_refresh_continuous_aggregate'"
    )
    assert refreshed == 3
    # Either would make the server leave its direct way into the columnstore without a word.
    assert tenant.value(
        "SELECT count(*) FROM pg_constraint WHERE conrelid = 'scada_readings'::regclass AND contype IN ('u', 'p', 'x')"
    ) == 0
    assert tenant.value(
        "SELECT count(*) FROM pg_index WHERE indrelid = 'scada_readings'::regclass AND indisunique"
    ) == 0
    assert column("SELECT tgname FROM pg_trigger WHERE tgrelid = 'scada_readings'::regclass AND NOT tgisinternal"
                  " AND tgname <> 'ts_cagg_invalidation_trigger' AND tgname <> 'ts_insert_blocker'") == []


@timescale
def test_roll_ups_equal_the_raw_rows_and_a_month_by_the_hour_reads_no_raw_row(tenant, daemon):
    well = str(uuid.uuid4())
    start, end = month_of_readings(tenant, well)
    for view in ("hourly", "daily", "monthly"):
        tenant.sql.execute(f"CALL refresh_continuous_aggregate('scada_readings_{view}', NULL, now())")
    daemon.start()
    asked = {"tenant_id": tenant.id, "well_id": well, "start_time": start, "end_time": end - 1, "ascending": True}
    for resolution, unit in [(HOURLY, "hour"), (DAILY, "day"), (MONTHLY, "month")]:
        raw = tenant.sql.execute(
            """
            SELECT extract(epoch FROM date_trunc(%s, timestamp, 'UTC'))::bigint, avg(value), min(value), max(value),
                   count(*) FROM scada_readings WHERE well_id = %s GROUP BY 1 ORDER BY 1
            """,
            [unit, well],
        ).fetchall()
        answer = daemon.api.QueryReadings(**asked, resolution=resolution).readings
        assert [
            (each.timestamp, pytest.approx(each.value), each.min, each.max, each.count) for each in answer
        ] == [tuple(row) for row in raw], unit
        assert sum(each.count for each in answer) == (end - start) // 60
    assert tenant.value(
        "SELECT sum(value_sum) FROM scada_readings_monthly WHERE well_id = %s", well
    ) == tenant.value("SELECT sum(value) FROM scada_readings WHERE well_id = %s", well)

    hours = daemon.api.QueryReadings(**asked, resolution=HOURLY).readings
    # The answer does not need the raw rows: they are gone, and not yet computed again.
    tenant.sql.execute("DELETE FROM scada_readings WHERE well_id = %s", [well])
    assert daemon.api.QueryReadings(**asked, resolution=HOURLY).readings == hours
    assert len(daemon.api.QueryReadings(**asked).readings) == 0


def sent_sql(tenant, daemon, request):
    """The statement that a QueryReadings sends, as the server has it: it waits for the table while it is looked at."""
    with connect(tenant.url) as watcher, tenant.sql.transaction():
        tenant.sql.execute("LOCK TABLE scada_readings IN ACCESS EXCLUSIVE MODE")
        future = daemon.channel.unary_unary("/scada.ScadaService/QueryReadings").future(
            request.SerializeToString(), timeout=60
        )
        sql = eventually(
            lambda: [row[0] for row in watcher.execute(
                "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                " AND query ^@ 'SELECT bucket'"
            ).fetchall()],
            "the statement waits", watch=daemon.must_live,
        )
    future.result()
    assert len(sql) == 1 and "LIMIT" in sql[0], sql
    return sql[0]


def tables_read(node):
    """(table, rows read) of every scan in a plan that was carried out; TimescaleDB's own nodes only gather those of others."""
    if node["Actual Loops"] and "Relation Name" in node and node["Node Type"] != "Custom Scan":
        filtered = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        yield node["Relation Name"], (node["Actual Rows"] + filtered) * node["Actual Loops"]
    for each in node.get("Plans", []):
        yield from tables_read(each)


@pytest.mark.both_databases
def test_a_month_by_the_hour_reads_nothing_but_that_month_of_the_roll_up(tenant, daemon):
    well = str(uuid.uuid4())
    start, end = month_of_readings(tenant, well)
    # Readings of the well before and after, and other wells': none of them is to be read.
    tenant.sql.execute(
        "INSERT INTO scada_readings SELECT timestamp + shift * interval '32 days', well_id, tag_node_id, value, quality"
        " FROM scada_readings, unnest(ARRAY[-1, 1]) AS shift WHERE well_id = %s", [well],
    )
    tenant.sql.execute(
        "INSERT INTO scada_readings SELECT timestamp, gen_random_uuid(), tag_node_id, value, quality FROM scada_readings"
    )
    tenant.sql.execute("ANALYZE scada_readings")
    rolled_up = tenant.value("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')")
    if rolled_up:
        tenant.sql.execute("CALL refresh_continuous_aggregate('scada_readings_hourly', NULL, now())")
    daemon.start()
    request = daemon.api.message(
        "QueryReadingsRequest", tenant_id=tenant.id, well_id=well, start_time=start, end_time=end - 1, resolution=HOURLY
    )
    sql = sent_sql(tenant, daemon, request)
    tenant.sql.execute("PREPARE asked AS " + sql)
    explained = tenant.value(
        f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON)"
        f" EXECUTE asked ('{well}', to_timestamp({start}), to_timestamp({end} - 0.000001))"
    )
    tenant.sql.execute("DEALLOCATE asked")
    read = list(tables_read(explained[0]["Plan"]))
    hours = (end - start) // 3600
    if rolled_up:
        kept = tenant.value(
            "SELECT '_hyper_' || h.id || '_' FROM timescaledb_information.continuous_aggregates AS c"
            " JOIN _timescaledb_catalog.hypertable AS h ON h.table_name = c.materialization_hypertable_name"
            " WHERE view_name = 'scada_readings_hourly'"
        )
        assert read and all(table.startswith(kept) for table, _ in read), read
        assert sum(rows for _, rows in read) == hours, read
    else:
        assert read and all(table.startswith("scada_readings") for table, _ in read), read
        assert sum(rows for _, rows in read) == (end - start) // 60, read
    assert len(daemon.api.QueryReadings(request).readings) == hours


@timescale
def test_a_backlog_goes_straight_to_the_columnstore(tenant, make_daemon, platform, make_simulator):
    simulator = make_simulator("--counters", wells=10, rate=int(os.environ.get("SCADA_BACKLOG_RATE", 10_000)))
    tenant.sql.execute(simulator.seed_sql("--publishing-interval", 250))
    tenant.sql.execute("UPDATE tag_mappings SET queue_size = 5000")
    daemon = make_daemon(platform.master_url).start()
    tenant.wait_for_count(1_000, watch=daemon.must_live)
    assert daemon.scrape().total("scada_direct_compressed_total", tenant_id=tenant.id) in (None, 0), "live batches are small"

    # The writer waits for the checkpoint's row: a backlog builds up in the journal.
    with tenant.sql.transaction():
        tenant.sql.execute("LOCK TABLE ingest_checkpoints IN EXCLUSIVE MODE")
        eventually(
            lambda: (daemon.scrape().total("scada_backlog_readings", tenant_id=tenant.id) or 0) > 130_000,
            "a backlog builds up", timeout=120, watch=daemon.must_live,
        )
    eventually(
        lambda: (daemon.scrape().total("scada_direct_compressed_total", tenant_id=tenant.id) or 0) >= 100_000,
        "the backlog was stored straight into the columnstore", timeout=120, watch=daemon.must_live,
    )
    said = [line for line in daemon.log_lines() if "straight to the columnstore" in line["message"]]
    assert len(said) == 1 and said[0]["mode"] == "auto"
    simulator.close()
    assert daemon.terminate() == 0
    compressed = tenant.sql.execute(
        "SELECT c.chunk_schema, c.chunk_name FROM timescaledb_information.chunks c"
        " WHERE hypertable_name = 'scada_readings' AND is_compressed"
    ).fetchall()
    assert compressed, "no chunk is compressed"
    assert "Columnar" in plan(tenant, "SELECT * FROM scada_readings")
    # Each tag's counter is there without a hole and without a double, whichever way its rows went.
    assert tenant.value(
        "SELECT count(*) FROM (SELECT tag_node_id FROM scada_readings GROUP BY well_id, tag_node_id"
        " HAVING count(*) <> count(DISTINCT value) OR count(*) <> max(value) - min(value) + 1) AS wrong"
    ) == 0
    stored = tenant.count()
    # What is late, or out of order, still has a home in the compressed chunk.
    tenant.sql.execute(
        "INSERT INTO scada_readings SELECT timestamp - interval '1 microsecond', well_id, tag_node_id, -1, 'Good'"
        " FROM (SELECT DISTINCT ON (tag_node_id) * FROM scada_readings ORDER BY tag_node_id, timestamp DESC) AS last"
    )
    assert tenant.count() > stored
    assert tenant.value("SELECT min(value) FROM scada_readings") == -1


@pytest.mark.parametrize("postgres", [PLAIN, TIMESCALE], indirect=True)
def test_a_backlog_is_stored_by_several_streams_in_order(tenant, make_daemon, platform, make_simulator):
    simulator = make_simulator("--counters", wells=10, rate=int(os.environ.get("SCADA_BACKLOG_RATE", 10_000)))
    tenant.sql.execute(simulator.seed_sql("--publishing-interval", 250))
    tenant.sql.execute("UPDATE tag_mappings SET queue_size = 5000")
    daemon = make_daemon(platform.master_url, DB_COPY_STREAMS=3, STORAGE_DIRECT_COMPRESS="off").start()
    tenant.wait_for_count(1_000, watch=daemon.must_live)

    def beside_others():
        return daemon.scrape().total("scada_parallel_flushes_total", tenant_id=tenant.id) or 0

    before = beside_others()
    # Who reads the table meanwhile never sees a hole: a counter's newest value, and as many rows as it says.
    seen = "SELECT count(*) FROM (SELECT FROM scada_readings GROUP BY well_id, tag_node_id" \
        " HAVING count(*) <> max(value) - min(value) + 1) AS wrong"
    with tenant.sql.transaction():
        tenant.sql.execute("LOCK TABLE ingest_checkpoints IN EXCLUSIVE MODE")
        eventually(
            lambda: (daemon.scrape().total("scada_backlog_readings", tenant_id=tenant.id) or 0) > 60_000,
            "a backlog builds up", timeout=120, watch=daemon.must_live,
        )

    def is_stored():
        assert tenant.value(seen) == 0
        return beside_others() > before and daemon.scrape().total("scada_backlog_readings", tenant_id=tenant.id) < 20_000

    eventually(is_stored, "the backlog was stored by several streams", timeout=120, watch=daemon.must_live)
    simulator.close()
    assert daemon.terminate() == 0
    assert tenant.value(seen) == 0
    assert tenant.value("SELECT count(*) FROM scada_readings") == tenant.value(
        "SELECT count(*) FROM (SELECT DISTINCT well_id, tag_node_id, value FROM scada_readings) AS each"
    )


@pytest.mark.parametrize("postgres", [PLAIN], indirect=True)
def test_rows_move_into_a_partition_only_while_nobody_reads(tenant, daemon):
    """A query that had looked up the partitions before would find them in none."""
    tenant.sql.execute(
        "INSERT INTO scada_readings SELECT now() - interval '40 days', gen_random_uuid(), 'i=1', 1, 'Good'"
    )
    day = tenant.value("SELECT to_char((now() - interval '40 days') AT TIME ZONE 'UTC', 'YYYYMMDD')")
    partition = f"scada_readings_p{day}"

    def refused():
        return any(line["message"] == "partition maintenance" for line in daemon.log_lines())

    with connect(tenant.url) as reader, reader.transaction():
        reader.execute("LOCK TABLE ONLY scada_readings IN ACCESS SHARE MODE")
        daemon.start()
        eventually(refused, "the upkeep gave up waiting for the reader", watch=daemon.must_live)
        assert tenant.value("SELECT to_regclass(%s) IS NULL", partition)
        assert tenant.value("SELECT count(*) FROM scada_readings_default") == 1
    assert daemon.terminate() == 0
    daemon.start()
    eventually(
        lambda: tenant.value("SELECT to_regclass(%s) IS NOT NULL", partition), "the partition is made",
        watch=daemon.must_live,
    )
    assert tenant.value(f"SELECT count(*) FROM {partition}") == 1


@pytest.mark.parametrize("postgres", [PLAIN], indirect=True)
def test_direct_compress_where_there_is_none_says_so_once(tenant, make_daemon, platform, make_server):
    server = make_server(5)
    tenant.add_connection(server)
    daemon = make_daemon(platform.master_url, STORAGE_DIRECT_COMPRESS="on").start()
    tenant.wait_for_count(5, watch=daemon.must_live)
    server.write(rounds=8, interval=0.3)
    tenant.wait_for_count(server.wait_until_written(), watch=daemon.must_live)
    tenant.assert_stored_once(server)
    said = [line for line in daemon.log_lines() if "has no direct compress" in line["message"]]
    assert len(said) == 1 and said[0]["level"] == "warning"


@timescale
def test_direct_compress_always_stores_small_batches_too(tenant, make_daemon, platform, make_server):
    server = make_server(5)
    tenant.add_connection(server)
    daemon = make_daemon(platform.master_url, STORAGE_DIRECT_COMPRESS="on").start()
    tenant.wait_for_count(5, watch=daemon.must_live)
    server.write(rounds=8, interval=0.3)
    tenant.wait_for_count(server.wait_until_written(), watch=daemon.must_live)
    tenant.assert_stored_once(server)
    eventually(
        lambda: daemon.scrape().total("scada_direct_compressed_total", tenant_id=tenant.id) == tenant.count(),
        "every row went that way", watch=daemon.must_live,
    )


@timescale
def test_intervals_are_those_of_the_environment(tenant, platform):
    done = subprocess.run(
        [DAEMON, "migrate", "--tenant", tenant.id], capture_output=True, text=True, timeout=120, check=False,
        env=clean_environment(
            DATABASE_URL=platform.master_url, STORAGE_CHUNK_HOURS=12, STORAGE_COMPRESS_AFTER_HOURS=48,
            STORAGE_RETENTION_DAYS=30,
        ),
    )
    assert done.returncode == 0, done.stderr
    assert tenant.value(
        "SELECT time_interval FROM timescaledb_information.dimensions WHERE hypertable_name = 'scada_readings'"
    ) == datetime.timedelta(hours=12)
    jobs = dict(tenant.sql.execute(
        "SELECT proc_name, config FROM timescaledb_information.jobs WHERE hypertable_name = 'scada_readings'"
    ).fetchall())
    assert jobs["policy_compression"]["compress_after"] == "2 days"
    assert jobs["policy_retention"]["drop_after"] == "30 days"


@pytest.mark.both_databases
def test_two_who_migrate_the_same_empty_databases_at_once_both_succeed(postgres, make_daemon):
    platform = Platform(postgres, migrated=False)
    postgres.create_database(platform.master_name)
    command = [DAEMON, "migrate"]
    environment = clean_environment(DATABASE_URL=platform.master_url)

    def at_once():
        started = [
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for _ in range(2)
        ]
        return [(each.communicate(timeout=180)[0], each.returncode) for each in started]

    for said, code in at_once():
        assert code == 0, said
    tenant = platform.add_tenant(migrated=False)
    # A tenant's empty database, and two daemons that find it.
    daemons = [make_daemon(platform.master_url, folder=f"daemon-{index}").start(ready=False) for index in range(2)]
    for daemon in daemons:
        daemon.wait_until_ready()

    def complete():
        return tenant.value("SELECT to_regclass('ingest_checkpoints') IS NOT NULL")

    eventually(complete, "the tenant's schema is there")
    for daemon in daemons:
        assert daemon.terminate() == 0
        assert not [line for line in daemon.log_lines() if line["level"] == "error"]
    for url, scope in ((platform.master_url, "master"), (tenant.url, "tenant")):
        names = [
            row[0] for row in (platform.master() if scope == "master" else tenant.sql).execute(
                "SELECT name FROM scada_schema_migrations WHERE scope = %s", [scope]
            ).fetchall()
        ]
        assert names and len(names) == len(set(names)), url
    migrate(platform.master_url, "--all-tenants")
    platform.close()
