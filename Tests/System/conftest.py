"""Fixtures of the system tests. Everything runs on loopback ports and in temporary folders and ends with the test."""
import os
import shutil
import tempfile

# grpcio would otherwise hook every start of a process; nothing here forks without exec.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"

import pytest

from support.daemon import Daemon
from support.opcua import CounterServer
from support.paths import DAEMON
from support.tenancy import Platform
from support.proxy import Proxy
from support.simulator import Simulator

from private_postgres import PLAIN, TIMESCALE, PrivatePostgres, Unavailable



def pytest_configure(config):
    config.addinivalue_line("markers", "both_databases: runs on plain PostgreSQL and on TimescaleDB")


def pytest_generate_tests(metafunc):
    if metafunc.definition.get_closest_marker("both_databases"):
        metafunc.parametrize("postgres", [PLAIN, TIMESCALE], indirect=True)


def pytest_sessionstart(session):
    if not session.config.option.collectonly and not DAEMON.exists():
        raise pytest.UsageError(f"{DAEMON} is not there: run scripts/test, or swift build, or set SCADA_BINARY_DIR")


@pytest.fixture(scope="session")
def postgres_servers():
    """One private server of each kind for the whole run, started on first use."""
    servers, folders = {}, []

    def server(flavour):
        if flavour not in servers:
            folder = tempfile.mkdtemp(prefix=f"scada-system-{flavour}-")
            folders.append(folder)
            servers[flavour] = PrivatePostgres(folder, flavour, durable=False).start()
        return servers[flavour]

    yield server
    for each in servers.values():
        each.stop()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(request, postgres_servers):
    """The server of the test: plain PostgreSQL unless it is marked both_databases."""
    try:
        return postgres_servers(getattr(request, "param", PLAIN))
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture
def own_postgres(tmp_path_factory):
    """A server that only this test uses, so that it may be stopped. Not started yet."""
    folder = tempfile.mkdtemp(prefix="scada-system-own-")
    server = PrivatePostgres(folder, PLAIN, durable=False)
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def platform(postgres):
    platform = Platform(postgres)
    yield platform
    platform.close()


@pytest.fixture
def tenant(platform):
    return platform.add_tenant()


@pytest.fixture
def make_daemon(tmp_path):
    """Makes daemons in tmp_path/daemon (or another folder name); whatever still runs is ended with the test."""
    made = []

    def make(database_url, folder="daemon", **variables):
        daemon = Daemon(tmp_path / folder, database_url, **variables)
        made.append(daemon)
        return daemon

    yield make
    for daemon in made:
        daemon.close()


@pytest.fixture
def daemon(make_daemon, platform):
    """A daemon on the test's platform, not started yet."""
    return make_daemon(platform.master_url)


@pytest.fixture
def make_server(tmp_path):
    """Starts OPC UA servers of counters."""
    made = []

    def make(tags=20, **options):
        server = CounterServer(tmp_path, tags, **options)
        made.append(server)
        return server

    yield make
    for server in made:
        server.close()


@pytest.fixture
def make_simulator(tmp_path):
    """Starts scada-simulator processes."""
    made = []

    def make(*options, **more):
        simulator = Simulator(tmp_path, *options, **more)
        made.append(simulator)
        return simulator

    yield make
    for simulator in made:
        simulator.close()


@pytest.fixture
def make_proxy():
    made = []

    def make(port):
        proxy = Proxy(port)
        made.append(proxy)
        return proxy

    yield make
    for proxy in made:
        proxy.close()


@pytest.fixture(autouse=True)
def _forget_daemons():
    Daemon.running.clear()
    yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Shows the end of every daemon's log under a failed test."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        for daemon in Daemon.running:
            state = "never started" if daemon.process is None else f"exit code {daemon.process.poll()}"
            report.sections.append((f"daemon {daemon.folder.name} ({state})", daemon.log_tail()))
