"""Replicas that share the connections: each connection has one owner, whatever happens to the others, and every value is
stored once or lies in a recorded gap.
"""
import json
import os
import signal

import pytest

from support.daemon import run
from support.wait import eventually

LEASE = 5.0
CONNECTIONS = 6
TAGS = 60
# Values of a tag that the server keeps for a client that is away.
QUEUE = 1000


class Replicas:
    """Three daemons of one platform, and a server whose tags are spread over several connections of one tenant."""

    def __init__(self, make_daemon, platform, tenant, server):
        self.platform = platform
        self.tenant = tenant
        self.server = server
        self.make_daemon = make_daemon
        size = TAGS // CONNECTIONS
        self.connections = [
            tenant.add_connection(server, names=server.names[n * size:(n + 1) * size], queue_size=QUEUE)
            for n in range(CONNECTIONS)
        ]
        self.daemons = {}

    def add(self, name, url=None, **variables):
        self.daemons[name] = self.make_daemon(
            url or self.platform.master_url, folder=name, REPLICA_ID=name, LEASE_MS=int(LEASE * 1000), **variables
        )
        return self.daemons[name]

    def start(self, *names, url=None):
        """Those of the names that have not been added, too."""
        for name in names:
            (self.daemons.get(name) or self.add(name, url)).start(ready=False)
        for name in names:
            self.daemons[name].wait_until_ready()

    def watch(self, *names):
        def must_live():
            for name in names or self.daemons:
                self.daemons[name].must_live()

        return must_live

    def leases(self):
        """Live leases: connection -> owner."""
        with self.platform.master() as master:
            rows = master.execute("SELECT connection_id::text, owner FROM connection_leases WHERE expires_at > now()")
            return dict(rows.fetchall())

    def up(self, name):
        """The connections that are connected at a replica, as it says."""
        samples = self.daemons[name].scrape().samples
        return {each.labels["connection_id"] for each in samples if each.name == "scada_connection_up" and each.value == 1}

    def wait_until_owned_by(self, *names, timeout=60.0, at_least=0):
        """Until every connection has a live lease of one of the replicas, within `timeout`; then until it runs there, and
        nowhere else of them, and each has so many, which depends on the OPC UA server too.
        """
        def owned():
            leases = self.leases()
            assert set(leases) == set(self.connections), f"leases: {leases}"
            assert set(leases.values()) <= set(names), f"leases: {leases}"
            return leases

        def running():
            leases = owned()
            for name in names:
                own = {connection for connection, owner in leases.items() if owner == name}
                assert self.up(name) == own, f"{name} runs {self.up(name)} and holds {own}"
                assert len(own) >= at_least, f"leases: {leases}"
            return True

        eventually(owned, f"the connections belong to {', '.join(names)}", timeout, self.watch(*names))
        eventually(running, f"the connections run at {', '.join(names)}", watch=self.watch(*names))

    def flow(self, *names):
        """Until values of every connection that were written from now on are stored."""
        if not self.server.status()["writing"]:
            self.server.write(interval=0.2)
        mark = self.server.status()["recorded"]
        eventually(lambda: self.server.status()["recorded"] >= mark + 5 * TAGS, "the server writes")
        written = self.tenant.count()
        self.tenant.wait_for_count(written + 5 * TAGS, watch=self.watch(*names))

    def settle(self, *names):
        """Stops the writing and waits until everything is stored that will be."""
        self.server.pause()
        self.tenant.wait_for_last_values(self.server, watch=self.watch(*names))
        for name in names:
            eventually(
                lambda name=name: self.daemons[name].scrape().total("scada_backlog_readings") == 0,
                f"{name} has stored its journal", watch=self.watch(*names),
            )

    def assert_everything_once(self):
        """The server keeps a history: every hole can be filled, and nothing is there twice."""
        def complete():
            missing, surplus = self.tenant.differences(self.server)
            assert not surplus, f"{surplus.total()} rows too many, for example {surplus.most_common(5)}"
            assert not missing, f"{missing.total()} missing, for example {missing.most_common(5)}; {self.tenant.holes()}"
            return True

        eventually(complete, "every value is stored once")


@pytest.fixture
def replicas(make_daemon, platform, tenant, make_server):
    return Replicas(make_daemon, platform, tenant, make_server(TAGS, history=True, transfers=True))


def test_connections_are_shared_and_handed_over_in_order(replicas):
    replicas.start("a", "b", "c")
    replicas.wait_until_owned_by("a", "b", "c", at_least=2)
    replicas.flow("a", "b", "c")
    # First values are compared with what others may have stored.
    assert sum(each.scrape().total("scada_checked_flushes_total") or 0 for each in replicas.daemons.values()) > 0
    # Whoever is asked knows all of them, and who runs them.
    owners = replicas.leases()
    for daemon in replicas.daemons.values():
        def listed(daemon=daemon):
            answer = daemon.api.ListConnections(tenant_id=replicas.tenant.id)
            assert {each.connection_id: each.owner for each in answer.connections} == owners, answer
            assert {each.state for each in answer.connections} == {"connected"}, answer
            return True

        eventually(listed, "every replica lists every connection")
    status = json.loads(replicas.daemons["a"].http("/status.json")[1])
    assert status["replicas"] == ["a", "b", "c"] and status["leases_held"] == 2
    check_says_who_holds_what(replicas)
    # One ends in order: the others go on where it stopped.
    assert replicas.daemons["b"].terminate() == 0
    replicas.wait_until_owned_by("a", "c", timeout=2 * LEASE)
    replicas.flow("a", "c")
    # It comes back and gets its part again.
    replicas.start("b")
    replicas.wait_until_owned_by("a", "b", "c", at_least=2)
    replicas.flow("a", "b", "c")
    replicas.settle("a", "b", "c")
    replicas.assert_everything_once()
    for daemon in replicas.daemons.values():
        assert daemon.scrape().total("scada_lease_takeovers_total") == 0
        assert daemon.scrape().total("scada_lease_fencings_total") == 0


def check_says_who_holds_what(replicas):
    folder = replicas.daemons["a"].folder
    settings = {
        "DATABASE_URL": replicas.platform.master_url, "JOURNAL_DIR": folder / "other", "OPC_PKI_DIR": folder / "pki",
        "METRICS_PORT": 0, "GRPC_PORT": 0, "ENCRYPTION_KEY": replicas.daemons["a"].variables["ENCRYPTION_KEY"],
    }
    text = run("check", REPLICA_ID="d", LEASE_MS=int(LEASE * 1000), **settings).stdout
    for name in "abc":
        assert f"{name} holds 2 connections with 20 tags" in text, text
    # A daemon that does not share would run everything a second time.
    alone = run("check", **settings)
    assert alone.returncode != 0 and "REPLICA_ID is not set" in alone.stdout, alone.stdout


@pytest.mark.both_databases
def test_killed_the_others_take_over_and_nothing_is_doubled(replicas):
    replicas.start("a", "b", "c")
    replicas.wait_until_owned_by("a", "b", "c", at_least=1)
    replicas.flow("a", "b", "c")
    lost = list(replicas.leases().values()).count("b")
    replicas.daemons["b"].kill()
    replicas.wait_until_owned_by("a", "c", timeout=2 * LEASE)
    replicas.flow("a", "c")
    assert sum(replicas.daemons[name].scrape().total("scada_lease_takeovers_total") for name in "ac") == lost
    # What it had received and not stored comes late, from its journal.
    replicas.start("b")
    replicas.wait_until_owned_by("a", "b", "c")
    replicas.settle("a", "b", "c")
    replicas.assert_everything_once()
    causes = {cause for cause, *_ in replicas.tenant.gaps()}
    assert "owner_lost" in causes, replicas.tenant.gaps()


def test_frozen_and_cut_off_they_stop_and_nothing_is_doubled(replicas, make_proxy, postgres):
    """One stands still, another cannot reach the master database: it stops its own, and its journal drains."""
    proxy = make_proxy(postgres.port)
    url = replicas.platform.master_url.replace(f":{postgres.port}/", f":{proxy.port}/")
    assert url != replicas.platform.master_url
    replicas.add("b", url=url)
    replicas.start("a", "b", "c")
    replicas.wait_until_owned_by("a", "b", "c", at_least=1)
    replicas.flow("a", "b", "c")
    frozen = replicas.daemons["c"].process.pid
    proxy.freeze()
    os.kill(frozen, signal.SIGSTOP)
    try:
        replicas.wait_until_owned_by("a", timeout=2 * LEASE)

        def stopped():
            assert not replicas.up("b")
            return True

        eventually(stopped, "the replica that is cut off has stopped", watch=replicas.watch())
        replicas.flow("a")
        eventually(
            lambda: replicas.daemons["b"].scrape().total("scada_backlog_readings") == 0, "its journal has drained",
            watch=replicas.watch(),
        )
        assert replicas.daemons["b"].http("/healthz")[0] == 200
    finally:
        os.kill(frozen, signal.SIGCONT)
    proxy.thaw()
    for name in "bc":
        eventually(
            lambda name=name: replicas.daemons[name].scrape().total("scada_lease_fencings_total") == 1,
            f"{name} has noticed", watch=replicas.watch(),
        )
    replicas.wait_until_owned_by("a", "b", "c", at_least=1)
    replicas.flow("a", "b", "c")
    replicas.settle("a", "b", "c")
    replicas.assert_everything_once()


def test_without_a_master_database_all_stop_and_go_on_later(replicas, make_proxy, postgres):
    proxy = make_proxy(postgres.port)
    url = replicas.platform.master_url.replace(f":{postgres.port}/", f":{proxy.port}/")
    replicas.start("a", "b", url=url)
    replicas.wait_until_owned_by("a", "b", at_least=1)
    replicas.flow("a", "b")
    proxy.refuse()
    proxy.cut()

    def stopped():
        assert not replicas.up("a") | replicas.up("b")
        return True

    eventually(stopped, "both have stopped", watch=replicas.watch())
    proxy.accept()
    replicas.wait_until_owned_by("a", "b")
    replicas.flow("a", "b")
    replicas.settle("a", "b")
    replicas.assert_everything_once()
