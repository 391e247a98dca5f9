"""Security policies, modes and identities against asyncua and scada-simulator; certificates that must not be taken."""
import itertools
import pathlib
import shutil

import pytest

from support import certificates
from support import daemon as command
from support.wait import eventually

POLICIES = ["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"]
CHANNELS = [("None", "None"), *itertools.product(POLICIES, ["Sign", "SignAndEncrypt"])]
# The names of asyncua's SecurityPolicyType.
ASYNCUA = {
    (policy, mode): "NoSecurity" if policy == "None" else f"{policy.replace('_', '')}_{mode}" for policy, mode in CHANNELS
}
USER, PASSWORD = "operator", "correct-horse"
SERVER_URI = "urn:scada-ingestion:system-tests:server"


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    return {
        "server": certificates.make(folder, "server", uri=SERVER_URI),
        "user": certificates.make(folder, "user"),
    }


def trust(pki, identity):
    """What `scada-ingestion trust` does, done by hand."""
    folder = pki / "trusted" / "certs"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(identity.der, folder / identity.der.name)


def give_user(pki, identity, name):
    folder = pki / "users"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(identity.pem, folder / f"{name}.pem")
    shutil.copy(identity.key, folder / f"{name}.key")


def security_of(identity, policies):
    """The option `security` of a CounterServer."""
    return {"policies": policies, "certificate": str(identity.der), "private_key": str(identity.key), "uri": SERVER_URI}


def state_of(running, tenant, connection):
    return next(
        each for each in running.api.ListConnections(tenant_id=tenant.id).connections if each.connection_id == str(connection)
    )


def errors(running, connection, kind=None):
    labels = {"connection_id": connection} | ({"error_type": kind} if kind else {})
    return running.scrape().total("scada_connection_errors_total", **labels) or 0


def test_every_policy_mode_and_identity_against_asyncua(tenant, daemon, make_server, people):
    """One connection for each combination, all of one daemon, to three servers that differ in whom they let in."""
    security = security_of(people["server"], [ASYNCUA[channel] for channel in CHANNELS])
    everybody = make_server(2, security=security)
    named = make_server(2, security=security, users={USER: PASSWORD})
    certified = make_server(2, security=security | {"users": [str(people["user"].der)]})
    pki = daemon.folder / "pki"
    trust(pki, people["server"])
    give_user(pki, people["user"], "pump-7")
    connections = {}
    for policy, mode in CHANNELS:
        channel = {"security_policy": policy, "security_mode": mode}
        connections[policy, mode, "anonymous"] = tenant.add_connection(everybody, **channel)
        connections[policy, mode, "password"] = tenant.add_connection(named, username=USER, password=PASSWORD, **channel)
        connections[policy, mode, "certificate"] = tenant.add_connection(certified, username="x509:pump-7", **channel)
    daemon.start()

    def all_connected():
        states = {each.connection_id: each for each in daemon.api.ListConnections(tenant_id=tenant.id).connections}
        waiting = {
            key: states[identifier].last_error or states[identifier].state
            for key, identifier in connections.items() if states[identifier].readings_received < 2
        }
        assert not waiting, waiting
        return True

    eventually(all_connected, "every combination delivers", 120, watch=daemon.must_live)
    assert PASSWORD not in daemon.log_text()


def test_every_policy_mode_and_identity_against_the_simulator(tenant, daemon, make_simulator, people):
    simulator = make_simulator(
        "--security", "all", "--security", "deprecated", "--user", f"{USER}:{PASSWORD}", "--user-certificate",
        people["user"].der, "--pki-dir", daemon.folder / "simulator-pki", wells=1,
    )
    pki = daemon.folder / "pki"
    own = pathlib.Path(daemon.folder / "simulator-pki" / "own" / "certs")
    (pki / "trusted" / "certs").mkdir(parents=True)
    for each in own.iterdir():
        shutil.copy(each, pki / "trusted" / "certs" / f"simulator-{each.name}")
    give_user(pki, people["user"], "pump-7")
    simulator.names, simulator.node, simulator.well = ["Tag00000"], lambda _: "ns=2;s=Well-00001.CasingPressure", well
    deprecated = itertools.product(["Basic128Rsa15", "Basic256"], ["Sign", "SignAndEncrypt"])
    connections = {}
    for policy, mode in [*CHANNELS, *deprecated]:
        channel = {"security_policy": policy, "security_mode": mode}
        for user in [{}, {"username": USER, "password": PASSWORD}, {"username": "x509:pump-7"}]:
            connections[policy, mode, str(user)] = tenant.add_connection(simulator, **channel, **user)
    daemon.start(OPC_ALLOW_DEPRECATED_POLICIES="true")

    def all_connected():
        states = {each.connection_id: each for each in daemon.api.ListConnections(tenant_id=tenant.id).connections}
        waiting = {
            key: states[identifier].last_error or states[identifier].state
            for key, identifier in connections.items() if not states[identifier].readings_received
        }
        assert not waiting, waiting
        return True

    eventually(all_connected, "every combination delivers", 120, watch=daemon.must_live)


def well(_):
    return "00000000-0000-4000-8000-000000000007"


def test_an_unknown_server_is_trusted_by_one_command(tenant, daemon, make_server, people):
    server = make_server(2, security=security_of(people["server"], ["Basic256Sha256_SignAndEncrypt"]))
    connection = tenant.add_connection(server, security_policy="Basic256Sha256", security_mode="SignAndEncrypt")
    daemon.start()
    thumbprint = people["server"].thumbprint

    def refused():
        error = state_of(daemon, tenant, connection).last_error
        return thumbprint[:8] in error.lower() and error

    error = eventually(refused, "the connection says whose certificate is not trusted", watch=daemon.must_live)
    assert "scada-ingestion trust" in error, error
    assert errors(daemon, connection, "certificate_untrusted") > 0
    done = command.run("trust", thumbprint, OPC_PKI_DIR=daemon.folder / "pki")
    assert done.returncode == 0, done.stdout + done.stderr
    tenant.wait_for_count(2, watch=daemon.must_live)


# What is wrong, how the server's certificate is made, what the error has to say, and its error_type.
BAD = {
    "expired": ({"days": (-400, -2)}, "expired", "certificate_expired"),
    "not yet valid": ({"days": (2, 400)}, "not valid", "certificate_not_yet_valid"),
    "wrong host": ({"hosts": ["plc.example"]}, "host", "certificate_wrong_host"),
    "wrong ApplicationUri": ({"uri": "urn:somebody:else"}, "ApplicationUri", "certificate_wrong_application_uri"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_certificate_that_is_wrong_is_refused(tenant, daemon, make_server, tmp_path, what):
    """Issued by an authority that is trusted, so that nothing else is wrong with it."""
    changes, words, kind = BAD[what]
    authority = certificates.make(tmp_path / "bad", "authority", authority=True, hosts=())
    bad = certificates.make(tmp_path / "bad", "server", issuer=authority, **({"uri": SERVER_URI} | changes))
    server = make_server(1, security=security_of(bad, ["Basic256Sha256_Sign"]))
    pki = daemon.folder / "pki"
    trust(pki, authority)
    certificates.revocation_list(pki / "trusted" / "crl" / "authority.crl", authority)
    connection = tenant.add_connection(server, security_policy="Basic256Sha256", security_mode="Sign")
    daemon.start()
    error = eventually(
        lambda: state_of(daemon, tenant, connection).last_error, "the connection is refused", watch=daemon.must_live
    )
    assert words.lower() in error.lower(), error
    assert errors(daemon, connection, kind) > 0 and tenant.count() == 0
    told = [line for line in daemon.log_lines() if line.get("connection_id") == connection and "error_type" in line]
    assert told and {line["error_type"] for line in told} == {kind}
    assert words.lower() in daemon.log_text().lower()


def test_who_is_trusted_by_name_may_stand_elsewhere(tenant, daemon, make_server, tmp_path):
    """Many a PLC's certificate names no host, or a wrong one. Whoever trusts it itself has said that this is the one."""
    bad = certificates.make(tmp_path / "bad", "server", uri=SERVER_URI, hosts=["plc.example"])
    server = make_server(1, security=security_of(bad, ["Basic256Sha256_Sign"]))
    trust(daemon.folder / "pki", bad)
    tenant.add_connection(server, security_policy="Basic256Sha256", security_mode="Sign")
    daemon.start()
    tenant.wait_for_count(1, watch=daemon.must_live)


@pytest.mark.parametrize("case", ["trusted issuer", "revoked", "unknown issuer"])
def test_certificates_of_an_authority(tenant, daemon, make_server, tmp_path, case):
    folder = tmp_path / "authority"
    authority = certificates.make(folder, "authority", authority=True, hosts=())
    leaf = certificates.make(folder, "server", uri=SERVER_URI, issuer=authority)
    server = make_server(2, security=security_of(leaf, ["Aes256Sha256RsaPss_SignAndEncrypt"]))
    pki = daemon.folder / "pki"
    if case != "unknown issuer":
        trust(pki, authority)
        certificates.revocation_list(
            pki / "trusted" / "crl" / "authority.crl", authority, [leaf] if case == "revoked" else []
        )
    connection = tenant.add_connection(server, security_policy="Aes256_Sha256_RsaPss", security_mode="SignAndEncrypt")
    daemon.start()
    if case == "trusted issuer":
        tenant.wait_for_count(2, watch=daemon.must_live)
        return
    error = eventually(
        lambda: state_of(daemon, tenant, connection).last_error, "the connection is refused", watch=daemon.must_live
    )
    words = {"revoked": ["revoked"], "unknown issuer": ["not trusted", "issuer"]}[case]
    assert any(each in error.lower() for each in words), error
    kind = {"revoked": "certificate_revoked", "unknown issuer": "certificate_chain_incomplete"}[case]
    assert errors(daemon, connection, kind) > 0
    assert tenant.count() == 0


def test_a_wrong_password_is_reported_once_and_not_hammered(tenant, make_daemon, platform, make_simulator):
    simulator = make_simulator("--user", f"{USER}:{PASSWORD}", wells=1)
    simulator.names, simulator.node, simulator.well = ["Tag00000"], lambda _: "ns=2;s=Well-00001.CasingPressure", well
    connection = tenant.add_connection(simulator, username=USER, password="battery-staple")
    running = make_daemon(
        platform.master_url, OPC_ALLOW_PLAINTEXT_PASSWORD="true", OPC_RECONNECT_DELAY_MS=100
    ).start()
    error = eventually(
        lambda: state_of(running, tenant, connection).last_error, "the server refuses the user", watch=running.must_live
    )
    assert "user" in error.lower() or "password" in error.lower(), error
    # A connection to a server that is away is tried several times meanwhile; this one waits for the longest delay.
    away = tenant.add_connection(simulator, url="opc.tcp://127.0.0.1:9")
    eventually(lambda: errors(running, away) >= 6, "the other is tried again and again", watch=running.must_live)
    assert errors(running, connection) == 1
    assert "battery-staple" not in running.log_text() and running.log_text().count("BadUserAccessDenied") <= 2
    # Corrected, it is used at once.
    tenant.sql.execute("UPDATE scada_connections SET password = %s WHERE id = %s", [PASSWORD, connection])
    tenant.wait_for_count(1, watch=running.must_live)
