"""Wrong settings, wrong arguments, absent databases, taken ports: one clear line and the right exit code."""
import socket

import pytest

from support.daemon import run
from support.tenancy import Platform
from support.wait import eventually

from private_postgres import free_port

USAGE, UNAVAILABLE, CONFIGURATION = 64, 69, 78


def ends_with(code, done, *mentions):
    text = done.stdout + done.stderr
    assert done.returncode == code, f"exit code {done.returncode}, expected {code}:\n{text}"
    for each in mentions:
        assert each in done.stderr, f"{each!r} is not named in:\n{done.stderr}"
    assert "Fatal error" not in text
    return done


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_without_database_url(command):
    done = ends_with(CONFIGURATION, run(command), "DATABASE_URL")
    assert len(done.stderr.strip().splitlines()) == 1, f"one line, not:\n{done.stderr}"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "mysql://x"), ("DB_MAX_CONNECTIONS", "many"), ("DB_MAX_CONNECTIONS", "0"),
        ("AGGREGATION_BUFFER_MS", "-1"), ("AGGREGATION_BUFFER_MS", "1.5"), ("MAX_BUFFER_SIZE", "0"),
        ("METRICS_PORT", "70000"), ("GRPC_PORT", "http"), ("OPC_CONNECTION_TIMEOUT_MS", "1s"), ("JOURNAL_MAX_BYTES", "1 GB?"),
        ("LOG_LEVEL", "loud"), ("LOG_FORMAT", "xml"), ("METRICS_TAG_LABELS", "everything"), ("CONFIG_POLL_MS", "soon"),
        ("GRPC_ALLOW_INSECURE", "perhaps"),
    ],
)
def test_a_bad_value_is_named(variable, value, tmp_path):
    variables = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "JOURNAL_DIR": tmp_path / "journal"}
    done = ends_with(CONFIGURATION, run("serve", **variables | {variable: value}), variable)
    assert value in done.stderr or variable == "DATABASE_URL", "the value is shown"
    assert len(done.stderr.strip().splitlines()) == 1


def test_secrets_are_not_shown_even_when_wrong(tmp_path):
    done = run("serve", DATABASE_URL="postgresql://u:hunter2@127.0.0.1:1/none", ENCRYPTION_KEY="hunter3",
               JOURNAL_DIR=tmp_path / "journal")
    ends_with(CONFIGURATION, done, "ENCRYPTION_KEY")
    assert "hunter" not in done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [["--no-such-option"], ["no-such-command"], ["migrate", "--tenant", "x"]])
def test_wrong_arguments_are_usage_errors(arguments):
    ends_with(USAGE, run(*arguments, DATABASE_URL="postgresql://nobody@127.0.0.1:1/none"))


def test_help_and_version():
    done = run("--help")
    assert done.returncode == 0 and "migrate" in done.stdout
    done = run("version")
    assert done.returncode == 0 and done.stdout.strip()


def test_migrate_without_a_database_is_unavailable():
    url = f"postgresql://somebody:hunter2@127.0.0.1:{free_port()}/master"
    done = ends_with(UNAVAILABLE, run("migrate", DATABASE_URL=url), "127.0.0.1")
    assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.both_databases
def test_migrate_twice_and_two_at_once(postgres):
    import concurrent.futures

    platform = Platform(postgres, migrated=False)
    postgres.create_database(platform.master_name)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda _: run("migrate", DATABASE_URL=platform.master_url, timeout=180), range(2)))
    for done in runs:
        assert done.returncode == 0, done.stdout + done.stderr
    tenant = platform.add_tenant()
    done = run("migrate", DATABASE_URL=platform.master_url, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    tables = {row[0] for row in tenant.sql.execute("SELECT relname FROM pg_class").fetchall()}
    expected = {"scada_connections", "tag_mappings", "scada_readings", "scada_readings_hourly", "ingest_checkpoints",
                "scada_gaps", "scada_rejected_readings"}
    assert expected <= tables
    platform.close()


def test_a_tenant_that_cannot_be_migrated_does_not_stop_the_others(platform):
    good = platform.add_tenant("good", migrated=False)
    platform.add_tenant("away", url=platform.server.url("no_such_database"))
    done = run("migrate", DATABASE_URL=platform.master_url, timeout=180)
    assert done.returncode == UNAVAILABLE
    assert "away" in done.stdout + done.stderr
    assert good.value("SELECT to_regclass('scada_readings') IS NOT NULL")
    assert platform.server.password not in done.stdout + done.stderr


@pytest.mark.parametrize("variable", ["METRICS_PORT", "GRPC_PORT"])
def test_a_port_in_use_is_named(platform, make_daemon, variable):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        daemon = make_daemon(platform.master_url, **{variable: port}).start(ready=False)
        assert daemon.wait_for_end() == UNAVAILABLE
    assert str(port) in daemon.log_text(), f"the port is not named:\n{daemon.log_tail()}"


def test_two_daemons_do_not_share_a_journal(platform, make_daemon, daemon):
    daemon.start()
    second = make_daemon(platform.master_url, JOURNAL_DIR=daemon.variables["JOURNAL_DIR"], folder="second")
    second.start(ready=False)
    assert second.wait_for_end() in (UNAVAILABLE, 75)
    assert str(daemon.variables["JOURNAL_DIR"]) in second.log_text()
    daemon.must_live()


def test_without_its_database_the_daemon_waits_and_says_so(own_postgres, make_daemon, request):
    """Master database away at start: alive, not ready with the reason, then ready by itself."""
    port = free_port()
    own_postgres.port = port
    daemon = make_daemon(f"postgresql://postgres:hunter2@127.0.0.1:{port}/absent").start(ready=False)

    def waits():
        status, text = daemon.http("/readyz")
        assert status == 503, f"/readyz: {status} {text}"
        return text

    text = eventually(waits, "/readyz answers 503", watch=daemon.must_live)
    assert "database" in text.lower(), text
    assert daemon.http("/healthz")[0] == 200
    assert "hunter2" not in daemon.log_text()
    assert daemon.terminate() == 0


def test_told_to_end_while_it_starts(make_daemon):
    """The earliest signal ends it in order too: an orchestrator does not wait until a daemon is ready."""
    for attempt in range(20):
        daemon = make_daemon(f"postgresql://postgres@127.0.0.1:{free_port()}/absent", folder=f"daemon-{attempt}")
        daemon.start(ready=False)
        eventually(lambda: '"starting"' in daemon.log_text(), "it starts", watch=daemon.must_live)
        assert daemon.terminate() == 0


def test_a_master_database_that_comes_later_is_found(own_postgres, make_daemon, request, make_server):
    own_postgres.start()
    platform = Platform(own_postgres, migrated=False)
    request.addfinalizer(platform.close)
    daemon = make_daemon(platform.master_url).start(ready=False)
    eventually(lambda: daemon.http("/readyz")[0] == 503, "/readyz answers 503", watch=daemon.must_live)
    platform.create()
    tenant = platform.add_tenant()
    server = make_server(3)
    tenant.add_connection(server)
    daemon.wait_until_ready()
    tenant.wait_for_count(3, watch=daemon.must_live)


def test_the_master_database_away_later_stops_nothing(own_postgres, postgres, make_daemon, make_server, request):
    """The tenant's database is on another server than the master's: only the master goes away."""
    own_postgres.start()
    platform = Platform(own_postgres)
    request.addfinalizer(platform.close)
    url = postgres.create_database(f"{platform.master_name}_tenant")
    tenant = platform.add_tenant(url=url)
    assert run("migrate", DATABASE_URL=platform.master_url, timeout=180).returncode == 0
    server = make_server(5)
    tenant.add_connection(server)
    daemon = make_daemon(platform.master_url).start()
    tenant.wait_for_count(5, watch=daemon.must_live)
    own_postgres.stop()
    server.write(rounds=20, interval=0.2)
    tenant.wait_for_count(server.wait_until_written(), watch=daemon.must_live)
    tenant.assert_stored_once(server)
