"""What the daemon tells: metrics, health, status, logs; and what it never tells."""
import pathlib
import re
import subprocess

import pytest

from support.daemon import ENCRYPTION_KEY
from support.metrics import OPENMETRICS, get, status_json
from support.tools import tool
from support.wait import eventually

ORIGINAL = {
    "scada_readings_ingested_total": {"tenant_id", "well_id", "tag_node_id"},
    "scada_active_connections": {"tenant_id"},
    "scada_db_write_duration_seconds_bucket": {"tenant_id", "le"},
    "scada_batch_size_bucket": {"tenant_id", "le"},
    "scada_buffer_size": {"tenant_id"},
}


@pytest.fixture
def flowing(tenant, daemon, make_server):
    """A daemon with one live connection of 10 tags and one that finds nobody."""
    server = make_server(10)
    tenant.add_connection(server)
    tenant.add_connection(server, names=[], url="opc.tcp://127.0.0.1:1/nobody")
    daemon.start()
    tenant.wait_for_count(10, watch=daemon.must_live)
    server.write(rounds=10, interval=0.1)
    tenant.wait_for_count(server.wait_until_written(), watch=daemon.must_live)
    return daemon


@pytest.mark.parametrize("accept", [None, OPENMETRICS], ids=["text", "openmetrics"])
def test_metrics_are_what_prometheus_parses(flowing, tenant, accept):
    # The store's counters move after the rows are visible: waited for.
    scrape = eventually(
        lambda: (each := flowing.scrape(accept)).total("scada_readings_stored_total", tenant_id=tenant.id) == 110 and each,
        "110 readings are counted as stored",
    )
    kind = scrape.headers["Content-Type"]
    assert kind.startswith("application/openmetrics-text; version=1.0.0" if accept else "text/plain; version=0.0.4"), kind
    for name, labels in ORIGINAL.items():
        samples = [sample for sample in scrape.samples if sample.name == name]
        assert samples, f"{name} is missing"
        assert all(set(sample.labels) == labels for sample in samples), f"{name}: {samples[0].labels}"
    ingested = [each for each in scrape.samples if each.name == "scada_readings_ingested_total"]
    assert len(ingested) == 10 and all(each.value == 11 for each in ingested)
    assert scrape.total("scada_active_connections", tenant_id=tenant.id) == 1
    assert scrape.total("scada_batch_size_sum", tenant_id=tenant.id) == 110
    assert scrape.total("scada_buffer_size", tenant_id=tenant.id) == 0
    assert scrape.total("scada_backlog_readings", tenant_id=tenant.id) == 0
    assert scrape.total("scada_ingest_delay_seconds_count", tenant_id=tenant.id) > 0
    errors = [each for each in scrape.samples if each.name == "scada_connection_errors_total"]
    assert errors and all(set(each.labels) == {"tenant_id", "connection_id", "error_type"} for each in errors)
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"):
        assert scrape.total(name) > 0, name
    assert scrape.total("scada_build_info") == 1


def test_metrics_pass_promtool(flowing):
    promtool = tool("promtool")
    text = get(f"{flowing.http_base}/metrics")[2]
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stdout + done.stderr, done.stdout + done.stderr


def test_every_metric_is_documented_with_its_type(flowing):
    scrape = flowing.scrape()
    for family in scrape.families.values():
        assert family.documentation, f"{family.name} has no HELP"
        assert family.type != "unknown", f"{family.name} has no TYPE"


def test_http_paths(flowing):
    base = flowing.http_base
    assert get(f"{base}/healthz")[0] == 200
    assert get(f"{base}/readyz")[0] == 200
    assert get(f"{base}/nothing-here")[0] == 404
    status, headers, _ = get(f"{base}/metrics", method="DELETE")
    assert status == 405 and "GET" in headers["Allow"]
    status, headers, body = get(f"{base}/")
    assert status == 200 and headers["Content-Type"].startswith("text/html") and "<html" in body.lower()
    assert isinstance(status_json(base), dict)


def test_a_tag_that_falls_silent_is_told_until_it_sends_again(tenant, daemon, make_server):
    server = make_server(10)
    connection = tenant.add_connection(server)
    daemon.start(SILENT_TAG_AFTER_MS=2000)
    server.write(interval=0.2)
    tenant.wait_for_count(200, watch=daemon.must_live)
    assert status_json(daemon.http_base)["silent_tags"] == []
    server.write(interval=0.2, quiet=server.names[:2])

    def silent(expected):
        status = status_json(daemon.http_base)
        told = {each["node_id"] for each in status["silent_tags"]}
        assert told == expected and status["silent_tags_total"] == len(expected), status["silent_tags"]
        gauge = daemon.scrape().total("scada_silent_tags", tenant_id=tenant.id, connection_id=connection)
        assert gauge == len(expected)
        return status

    two = {server.node(name) for name in server.names[:2]}
    status = eventually(lambda: silent(two), "the two quiet tags are silent", watch=daemon.must_live)
    for each in status["silent_tags"]:
        assert each["quiet_micros"] >= 5 * each["longest_quiet_before_micros"] > 0, each
    assert any("2 of 10 tags are quiet" in each["message"] for each in status["problems"]), status["problems"]
    assert server.node(server.names[0]) in daemon.http("/")[1]
    server.write(interval=0.2)
    assert eventually(lambda: silent(set()), "no tag is silent any more", watch=daemon.must_live)["problems"] == []
    told = [line["message"] for line in daemon.log_lines() if "silent" in line["message"]]
    assert told[0].startswith("tags are silent") and told[-1] == "no tag is silent any more", told
    # While the server is away its tags are not silent: the connection is what is told.
    server.stop_server()
    eventually(
        lambda: daemon.scrape().total("scada_connection_up", connection_id=connection) == 0, "the connection is gone",
        watch=daemon.must_live,
    )
    eventually(lambda: silent(set()), "no tag is silent")


def test_logs_are_json_lines_with_the_agreed_fields(flowing):
    assert flowing.terminate() == 0
    lines = flowing.log_lines()
    assert lines
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"]), line
        assert line["level"] in {"trace", "debug", "info", "notice", "warning", "error", "critical"}, line
        assert line["message"], line
    assert any("tenant_id" in line for line in lines)
    assert any("connection_id" in line for line in lines)


def test_a_repeating_failure_is_not_logged_at_every_attempt(flowing, tenant):
    """The connection that finds nobody fails several times; its failure is told once (a minute)."""
    failing = tenant.value("SELECT id::text FROM scada_connections WHERE endpoint_url LIKE '%%nobody'")
    eventually(
        lambda: (flowing.scrape().total("scada_connection_errors_total", connection_id=failing) or 0) >= 5,
        "the connection failed five times", timeout=90,
    )
    told = [line for line in flowing.log_lines() if line.get("connection_id") == failing and line["level"] != "debug"]
    warnings = [line for line in told if line["level"] in {"warning", "error"}]
    assert 1 <= len(warnings) <= 3, warnings


@pytest.mark.timeout(480)
def test_a_failure_is_told_at_its_start_once_a_minute_and_at_its_end(own_postgres, platform, make_daemon, make_server):
    """A database and a server are away for longer than a minute, at once."""
    own_postgres.start()
    tenant = platform.add_tenant("south", url=own_postgres.create_database("south"))
    daemon = make_daemon(platform.master_url).start()
    eventually(lambda: tenant.value("SELECT to_regclass('tag_mappings') IS NOT NULL"), "the schema is there")
    server, staying = make_server(5), make_server(5)
    connection = tenant.add_connection(server)
    # Something has to be stored while the database is away.
    tenant.add_connection(staying)
    tenant.wait_for_count(10, watch=daemon.must_live)
    staying.write(interval=0.5)
    tenant.close()
    own_postgres.stop()
    server.stop_server()

    def told(message, **fields):
        return [
            line for line in daemon.log_lines()
            if line["message"] == message and all(line.get(key) == value for key, value in fields.items())
        ]

    again = eventually(lambda: told("still cannot store readings"), "the database's failure is told again", 150, daemon.must_live)
    first, = told("cannot store readings; they wait in the journal")
    assert first["tenant_id"] == tenant.id and first["error"], first
    assert int(again[0]["count"]) > 1 and int(again[0]["backlog"]) > 0, again
    attempts = eventually(
        lambda: len(each := told("connection attempt failed", connection_id=connection)) > 1 and each,
        "the server's failure is told again", 150, daemon.must_live,
    )
    assert int(attempts[0]["attempt"]) == 1 and int(attempts[1]["attempt"]) > 5, attempts
    assert all(each["tenant_id"] == tenant.id and each["error"] and each["error_type"] for each in attempts)
    own_postgres.start()
    server.start_server()
    end, = eventually(lambda: told("readings are stored again"), "the end is told", 90, daemon.must_live)
    assert int(end["duration_ms"]) > 60_000 and end["tenant_id"] == tenant.id, end
    eventually(
        lambda: daemon.scrape().total("scada_connection_up", connection_id=connection) == 1, "the server is back", 150,
        daemon.must_live,
    )
    back = told("connected", connection_id=connection)
    assert back, [line["message"] for line in daemon.log_lines()][-5:]


def test_no_secret_is_told_anywhere(platform, tenant, make_daemon, make_server):
    """Passwords of databases and OPC UA servers and the key, through a start, failures, calls and an end."""
    secret = "correct-horse-battery-staple"
    server = make_server(3, users={"operator": secret})
    tenant.add_connection(server, username="operator", password=secret)
    tenant.add_connection(server, names=server.names[:1], username="operator", password=f"wrong-{secret}")
    platform.add_tenant("away", url=f"postgresql://postgres:{secret}@127.0.0.1:1/none")
    daemon = make_daemon(platform.master_url, OPC_ALLOW_PLAINTEXT_PASSWORD="true", LOG_LEVEL="trace").start(ready=False)
    tenant.wait_for_count(3, watch=daemon.must_live)
    eventually(lambda: daemon.scrape().total("scada_connection_errors_total"), "an error happened", watch=daemon.must_live)
    told = "".join(get(f"{daemon.http_base}{path}")[2] for path in ("/metrics", "/readyz", "/status.json", "/"))
    told += str(daemon.api.HealthCheck()) + str(daemon.api.ListConnections(tenant_id=tenant.id))
    assert daemon.terminate() == 0
    told += daemon.log_text()
    for hidden in (secret, platform.server.password, ENCRYPTION_KEY):
        assert hidden not in told, "a secret is told, near: " + told[max(0, told.index(hidden) - 200):told.index(hidden)]
    assert pathlib.Path(daemon.variables["JOURNAL_DIR"]).stat().st_mode & 0o077 == 0, "the journal is private"
