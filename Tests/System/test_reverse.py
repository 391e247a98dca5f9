"""Reverse connect: the simulator dials the daemon, which dials nobody."""
import json
import socket

from private_postgres import free_port
from support.daemon import run
from support.wait import eventually

from test_reconnect import assert_complete, register, times


def reverse(tenant, url):
    tenant.sql.execute("UPDATE scada_connections SET endpoint_url = %s", [url])


def test_a_server_that_dials_in_is_served(tenant, make_daemon, platform, make_simulator):
    port = free_port()
    daemon = make_daemon(platform.master_url, OPC_REVERSE_LISTEN=f"127.0.0.1:{port}")
    # Up before the daemon: it dials until somebody answers.
    simulator = make_simulator("--counters", "--reverse-connect", f"127.0.0.1:{port}", wells=2, rate=50)
    register(tenant, simulator, queue=1000)
    reverse(tenant, "reverse+" + simulator.url)
    daemon.start()
    tenant.wait_for_count(100, watch=daemon.must_live)
    assert simulator.ask("stats")["connections"] >= 1
    # Cut off, it dials again, and the session goes on.
    simulator.ask("drop")
    eventually(lambda: len(times(daemon, "connected")) == 2, "the server has dialled again", watch=daemon.must_live)
    stored = tenant.count()
    tenant.wait_for_count(stored + 100, watch=daemon.must_live)
    assert_complete(tenant)
    assert tenant.gaps() == []


def test_a_server_that_nobody_expects_is_sent_away(tenant, make_daemon, platform, make_simulator):
    port = free_port()
    daemon = make_daemon(platform.master_url, OPC_REVERSE_LISTEN=f"127.0.0.1:{port}").start()
    simulator = make_simulator("--reverse-connect", f"127.0.0.1:{port}", wells=1)
    eventually(lambda: simulator.url in daemon.log_text(), "the log names the stranger", watch=daemon.must_live)
    # Nor does whatever else comes to that port do any harm.
    for bytes_ in (b"GET / HTTP/1.1\r\n\r\n", b"RHEF\xff\xff\xff\xff", b"RHEF\x10\x00\x00\x00\xff\xff\xff\x7f\x00\x00\x00\x00"):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(bytes_)
            connection.settimeout(20)
            while connection.recv(4096):
                pass
    register(tenant, simulator)
    reverse(tenant, "reverse+" + simulator.url)
    tenant.wait_for_count(5, watch=daemon.must_live)


def test_without_a_port_to_dial_the_error_says_so(tenant, daemon, make_simulator):
    simulator = make_simulator(wells=1)
    register(tenant, simulator)
    reverse(tenant, "reverse+" + simulator.url)
    daemon.start()

    def error():
        return next(iter(daemon.api.ListConnections(tenant_id=tenant.id).connections)).last_error

    text = eventually(error, "the connection says what is missing", watch=daemon.must_live)
    assert "OPC_REVERSE_LISTEN" in text, text


def test_commands_wait_for_a_server_that_dials_in(tmp_path, make_simulator):
    port = free_port()
    simulator = make_simulator("--reverse-connect", f"127.0.0.1:{port}", wells=1)
    variables = {"OPC_PKI_DIR": tmp_path / "pki", "OPC_REVERSE_LISTEN": f"127.0.0.1:{port}"}
    found = run("test-connection", "reverse+" + simulator.url, "--json", "--timeout", "60", **variables)
    assert found.returncode == 0, found.stdout + found.stderr
    assert json.loads(found.stdout)["works"] and f"port {port}" in found.stderr
    listed = run("browse", "reverse+" + simulator.url, "--csv", "--timeout", "60", **variables)
    assert listed.returncode == 0 and "Well-00001" in listed.stdout, listed.stdout + listed.stderr
    # The port is another's: said, with the way out.
    with socket.create_server(("127.0.0.1", port)):
        refused = run("browse", "reverse+" + simulator.url, **variables)
    assert refused.returncode == 69 and "OPC_REVERSE_LISTEN" in refused.stderr and "TestConnection" in refused.stderr
